"""What ``dawnchorus download birdclef-2025`` brings: the competition's recordings and more of its species."""

CONFIG = {
    "data": [
        {
            "audio_dir": "data/train_audio",
            "recordings": "data/train.csv",
            "features_dir": "data/train_features",
        },
        {
            "audio_dir": "data/add_train_audio_from_prev_comps",
            "features_dir": "data/add_train_features_from_prev_comps",
        },
        {
            "audio_dir": "data/add_train_audio_from_xeno_canto_28032025",
            "features_dir": "data/add_train_features_from_xeno_canto_28032025",
        },
    ],
    "labels": "data/taxonomy.csv",
    "folds": {"every_class_in_training": True},
}
