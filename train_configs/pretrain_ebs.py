"""Pretraining of EfficientNetV2-S: all species of Xeno-canto, from ImageNet weights.

One of twenty folds is trained. Take its backbone with ``dawnchorus extract-backbone``, and name the file as
``weights`` in the ``nn_model_config`` of a config such as ``selected_ebs``.
"""

CONFIG = {
    "base": ["winning.py", "parts/xeno_canto.py", "parts/network_ebs.py", "parts/pretraining.py"],
    "exp_name": "pretrain_ebs",
    "train_function_args": {"optimizer": {"lr": 2.5e-4}},
}
