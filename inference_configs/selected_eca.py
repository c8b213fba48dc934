"""Out-of-fold score and export of the experiment ``selected_eca``."""

CONFIG = {
    "train_config": "../train_configs/selected_eca.py",
    "exp_name": "selected_eca",
}
