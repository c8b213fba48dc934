"""What ``dawnchorus download birdclef-2025`` brings: the competition's recordings and more of its species."""

# One faulty row or file stops nothing: it is left out and listed. What the additional folders repeat of the
# competition's recordings is left out too, by the numbers in the file names. Their recordists are not known.
CONFIG = {
    "data": [
        {
            "audio_dir": "data/train_audio",
            "recordings": "data/train.csv",
            "features_dir": "data/train_features",
            "faulty": "leave_out",
        },
        {
            "audio_dir": "data/add_train_audio_from_prev_comps",
            "features_dir": "data/add_train_features_from_prev_comps",
            "faulty": "leave_out",
        },
        {
            "audio_dir": "data/add_train_audio_from_xeno_canto_28032025",
            "features_dir": "data/add_train_features_from_xeno_canto_28032025",
            "faulty": "leave_out",
        },
    ],
    "labels": "data/taxonomy.csv",
    "folds": {"every_class_in_training": True},
}
