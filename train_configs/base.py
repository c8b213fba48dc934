"""What every experiment shares: the recipe's clip, targets, folds and model.

A config names this file as its ``base`` and states only what differs.
"""

from dawnchorus import WaveAllFileDataset, WaveCNNAttenClassifier, WaveDataset, lightning_training

CONFIG = {
    "seed": 42,
    "data": {"audio_dir": "data/train_audio", "features_dir": "data/train_features"},
    "folds": {"n_folds": 5},
    "train_function": lightning_training,
    "nn_model_class": WaveCNNAttenClassifier,
    # ImageNet weights by the backbone's name. The recipe starts from a backbone pretrained on Xeno-canto:
    # with that file at hand, "weights": "backbone.pth", and nothing is fetched.
    "nn_model_config": {"pretrained": True, "dropout": 0.5},
    "train_function_args": {
        "train_dataset_class": WaveDataset,
        "train_dataset_config": {
            "segment_len": 5.0,
            "sample_rate": 32_000,
            "late_normalize": True,
            "use_h5py": True,
            "label_smoothing": 0.05,
            "mixup": {"probability": 0.5},
        },
        "val_dataset_class": WaveAllFileDataset,
        "val_dataset_config": {
            "segment_len": 5.0,
            "sample_rate": 32_000,
            "late_normalize": True,
            "use_h5py": True,
        },
        "train_loader": {"batch_size": 64, "num_workers": 8},
        "val_loader": {"batch_size": 64, "num_workers": 8},
        "loss": "bce_focal",
        "scheduler": {"name": "cosine", "min_lr": 1e-6},
        "n_epochs": 50,
        "main_metric": "val_macro_roc_auc",
        "n_checkpoints": 3,
        "precision_mode": "32-true",
    },
}
