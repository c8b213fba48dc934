"""Out-of-fold score and export of the experiment ``smoke``."""

CONFIG = {
    "train_config": "../train_configs/smoke.py",
    "exp_name": "smoke",
}
