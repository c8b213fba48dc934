"""All species of Xeno-canto, as ``dawnchorus download xeno-canto`` brings them."""

CONFIG = {
    "data": [
        {
            "audio_dir": "data/xeno_canto",
            "recordings": "data/xeno_canto.csv",
            "features_dir": "data/xeno_canto_features",
        },
    ],
    # Thousands of species, many with a handful of recordings; only few are needed to choose an epoch.
    "folds": {"n_folds": 20, "every_class_in_training": True, "rare_up_to": 10},
}
