"""What the winning experiments have in common, whatever they are trained on."""

CONFIG = {
    "base": ["base.py", "parts/winning_augmentations.py", "parts/noise.py"],
    "train_function_args": {"train_dataset_config": {"use_rating": False}},
}
