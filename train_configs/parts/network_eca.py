"""eca_nfnet_l0 as it won: RAdam at 1e-3, classes drawn by count^-0.5, rare ones repeated to 100."""

CONFIG = {
    "nn_model_config": {"backbone": "eca_nfnet_l0"},
    "train_function_args": {
        "class_balance": "inverse_sqrt",
        "repeat_rare_to": 100,
        "optimizer": {"name": "RAdam", "lr": 1e-3, "weight_decay": 0.0},
    },
}
