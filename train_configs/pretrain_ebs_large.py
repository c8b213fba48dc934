"""Pretraining of the winning EfficientNetV2-S on the larger set: Xeno-canto and iNaturalist."""

CONFIG = {
    "base": "pretrain_ebs.py",
    "exp_name": "pretrain_ebs_large",
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
