"""Pretraining of EfficientNetV2-S on the larger set: Xeno-canto and iNaturalist."""

CONFIG = {
    "base": ["pretrain_ebs.py", "parts/xeno_canto_inaturalist.py"],
    "exp_name": "pretrain_ebs_large",
    "train_function_args": {"main_metric": "val_loss"},
}
