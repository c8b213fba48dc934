"""What the winning experiments have in common, whatever they are trained on."""

CONFIG = {"base": ["base.py", "parts/winning_augmentations.py", "parts/noise.py"]}
