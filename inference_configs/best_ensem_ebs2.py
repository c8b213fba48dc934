"""Out-of-fold score and export of the experiment ``best_ensem_ebs2``."""

CONFIG = {
    "train_config": "../train_configs/best_ensem_ebs2.py",
    "exp_name": "best_ensem_ebs2",
}
