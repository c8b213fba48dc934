"""The whole of training in about a minute on a CPU: a small network, two folds, four epochs."""

CONFIG = {
    "base": "base.py",
    "exp_name": "smoke",
    "folds": {"n_folds": 2, "fewer_if_needed": True},
    "nn_model_config": {"backbone": "test_resnet.r160_in1k", "pretrained": False, "dropout": 0.2},
    "train_function_args": {
        "train_loader": {"batch_size": 16, "num_workers": 0},
        "val_loader": {"batch_size": 16, "num_workers": 0},
        "class_balance": "inverse",
        "clips_per_epoch": 192,
        "optimizer": {"name": "AdamW", "lr": 2e-3},
        "scheduler": {"name": "one_cycle"},
        "n_epochs": 4,
    },
}
