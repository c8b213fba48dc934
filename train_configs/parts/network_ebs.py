"""EfficientNetV2-S as it won: AdamW at 1e-4, all classes drawn alike."""

CONFIG = {
    "nn_model_config": {"backbone": "tf_efficientnetv2_s_in21k"},
    "train_function_args": {
        "class_balance": "inverse",
        "optimizer": {"name": "AdamW", "lr": 1e-4},
    },
}
