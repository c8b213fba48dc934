"""A student for two cores or a Raspberry Pi: a small network on half as fine a spectrogram.

`dawnchorus distill RUN --student student_fast --soundscapes DIR --int8`.
"""

CONFIG = {
    "base": "base.py",
    "exp_name": "student_fast",
    "nn_model_config": {
        "backbone": "mobilenetv4_conv_small.e2400_r224_in1k",
        "dropout": 0.2,
        "frontend": {"hop_length": 1024, "n_mels": 64},
    },
    "train_function_args": {
        "train_dataset_config": {"soundscape_pseudo_config": {"how": "mixup", "target_rule": "maximum"}},
        "optimizer": {"name": "AdamW", "lr": 1e-3},
        "scheduler": {"name": "one_cycle"},
        "n_epochs": 30,
    },
}
