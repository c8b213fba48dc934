"""The larger set: Xeno-canto and iNaturalist, as ``dawnchorus download`` brings them."""

CONFIG = {
    "base": "xeno_canto.py",
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
