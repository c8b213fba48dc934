"""The winning EfficientNetV2-S: AdamW at 1e-4, classes drawn alike."""

CONFIG = {
    "base": "winning_augmentations.py",
    "exp_name": "selected_ebs",
    "nn_model_config": {"backbone": "tf_efficientnetv2_s_in21k"},
    "train_function_args": {
        "class_balance": "inverse",
        "optimizer": {"name": "AdamW", "lr": 1e-4},
    },
}
