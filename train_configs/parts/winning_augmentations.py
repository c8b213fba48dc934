"""The augmentations that all winning experiments share: an equaliser on the batch, masks on the picture."""

CONFIG = {
    "train_function_args": {
        "batch_augmentations": {
            "random_filtering": {"min_db": -20.0, "max_db": 0.0, "flat_ends": True},
            "spectrogram_masks": {"min_width": 0, "max_mels": 9, "max_frames": 19},
        },
    },
}
