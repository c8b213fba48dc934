"""Second small experiment of ``rock_that_bird.sh --sample``: a round of pseudo-labels from the first."""

CONFIG = {
    "base": "parts/sample.py",
    "exp_name": "sample_b",
    "seed": 43,
    "train_function_args": {
        "train_dataset_config": {
            "soundscape_pseudo_config": {
                "tables": [
                    {
                        "table": "data/pseudo_labels.parquet",
                        "audio_dir": "data/train_soundscapes",
                        "features_dir": "data/train_features_soundscapes",
                    },
                ],
            },
        },
    },
}
