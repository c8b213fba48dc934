"""First EfficientNetV2-S of the best ensemble that was not selected: rare species are validated too.

The published one also drew the recordings' own out-of-fold predictions as targets, from a table that is not
among the published data.
"""

CONFIG = {
    "base": "selected_ebs.py",
    "exp_name": "best_ensem_ebs1",
    "folds": {"rare_up_to": 0},
}
