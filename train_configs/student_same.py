"""A student with the network of its teachers: one in place of all their folds.

`dawnchorus distill RUN --student student_same --soundscapes DIR`.
"""

CONFIG = {
    "base": "base.py",
    "exp_name": "student_same",
    "train_function_args": {
        "train_dataset_config": {"soundscape_pseudo_config": {"how": "mixup", "target_rule": "maximum"}},
        "n_epochs": 30,
    },
}
