"""Pretraining of either network: no class balance, no smoothing, a wide head, one of the folds."""

CONFIG = {
    "folds": {"trained": [0]},
    "nn_model_config": {"hidden_features": 1024},
    "train_function_args": {
        "class_balance": "none",
        "repeat_rare_to": 0,
        "train_dataset_config": {"label_smoothing": 0.0},
    },
}
