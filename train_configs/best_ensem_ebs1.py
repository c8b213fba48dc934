"""First EfficientNetV2-S of the best ensemble that was not selected: out-of-fold predictions as targets.

Rare species are validated too. The table of the recordings' own out-of-fold predictions is not among the
published data; an earlier run makes it::

    dawnchorus pseudo-label logdirs/best_solo_ebs data/train_audio --out-of-fold \
        --out data/out_of_fold_targets.parquet
"""

CONFIG = {
    "base": "selected_ebs.py",
    "exp_name": "best_ensem_ebs1",
    "folds": {"rare_up_to": 0},
    "train_function_args": {
        "train_dataset_config": {"out_of_fold_targets": {"table": "data/out_of_fold_targets.parquet"}},
    },
}
