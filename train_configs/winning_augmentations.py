"""The augmentations that both winning experiments share, on top of the base.

The two noise folders come with the competition's extra data: soundscapes without a call, and
environmental sounds (ESC-50's dog, rain, insects, wind, engine ...).
"""

CONFIG = {
    "base": "base.py",
    # Species of a handful of recordings are learnt by all models; a score over so few would say little.
    "folds": {"every_class_in_training": True, "rare_up_to": 10},
    "train_function_args": {
        "train_dataset_config": {
            "background": [
                {"folder": "data/nocall_soundscapes", "probability": 0.5},
                {"folder": "data/esc50_background", "probability": 0.5},
            ],
        },
        "batch_augmentations": {
            "random_filtering": {"min_db": -20.0, "max_db": 0.0},
            "spectrogram_masks": {},
        },
    },
}
