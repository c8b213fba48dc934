"""Out-of-fold score and export of the experiment ``sample_a``."""

CONFIG = {
    "train_config": "../train_configs/sample_a.py",
    "exp_name": "sample_a",
}
