"""Pretraining of EfficientNetV2-S: all species of Xeno-canto, from ImageNet weights.

Train one fold, take its backbone with ``dawnchorus extract-backbone``, and name the file as ``weights`` in
the ``nn_model_config`` of a config such as ``selected_ebs``.
"""

CONFIG = {
    "base": ["winning.py", "parts/xeno_canto.py", "parts/network_ebs.py"],
    "exp_name": "pretrain_ebs",
}
