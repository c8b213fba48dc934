"""Pretraining of eca_nfnet_l0 on the larger set: Xeno-canto and iNaturalist."""

CONFIG = {
    "base": ["pretrain_eca.py", "parts/xeno_canto_inaturalist.py"],
    "exp_name": "pretrain_eca_large",
    "train_function_args": {"scheduler": {"min_lr": 1e-5}},
}
