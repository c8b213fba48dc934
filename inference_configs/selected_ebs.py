"""Out-of-fold score and export of the experiment ``selected_ebs``."""

CONFIG = {
    "train_config": "../train_configs/selected_ebs.py",
    "exp_name": "selected_ebs",
}
