"""Out-of-fold score and export of the experiment ``best_solo_ebs``."""

CONFIG = {
    "train_config": "../train_configs/best_solo_ebs.py",
    "exp_name": "best_solo_ebs",
}
