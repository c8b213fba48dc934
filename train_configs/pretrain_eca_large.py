"""Pretraining of the winning eca_nfnet_l0 on the larger set: Xeno-canto and iNaturalist."""

CONFIG = {
    "base": "pretrain_eca.py",
    "exp_name": "pretrain_eca_large",
    "data": [
        {
            "audio_dir": "data/xeno_canto",
            "recordings": "data/xeno_canto.csv",
            "features_dir": "data/xeno_canto_features",
        },
        {
            "audio_dir": "data/inaturalist",
            "recordings": "data/inaturalist.csv",
            "features_dir": "data/inaturalist_features",
        },
    ],
}
