"""A miniature competition, and a network that learns it in a minute on a CPU."""

CONFIG = {
    "base": ["../base.py", "winning_augmentations.py"],
    "data": {
        "audio_dir": "data/train_audio",
        "recordings": "data/train.csv",
        "features_dir": "data/train_features",
    },
    "labels": "data/taxonomy.csv",
    "folds": {"n_folds": 2, "fewer_if_needed": True},
    "nn_model_config": {
        "backbone": "test_resnet.r160_in1k",
        "pretrained": False,
        "dropout": 0.3,
        # A quarter of the recipe's picture.
        "frontend": {"n_mels": 64, "hop_length": 1024},
    },
    "train_function_args": {
        "train_dataset_config": {"background": [{"folder": "data/soundscapes_nocall", "probability": 0.3}]},
        "train_loader": {"batch_size": 16, "num_workers": 0},
        "val_loader": {"batch_size": 16, "num_workers": 0},
        "class_balance": "inverse",
        "clips_per_epoch": 384,
        "optimizer": {"name": "AdamW", "lr": 5e-3},
        "scheduler": {"name": "one_cycle", "warmup_share": 0.25},
        "n_epochs": 3,
    },
}
