"""Out-of-fold score and export of the experiment ``sample_b``."""

CONFIG = {
    "train_config": "../train_configs/sample_b.py",
    "exp_name": "sample_b",
}
