"""Pretraining of eca_nfnet_l0: all species of Xeno-canto, from ImageNet weights.

Train one fold, take its backbone with ``dawnchorus extract-backbone``, and name the file as ``weights`` in
the ``nn_model_config`` of a config such as ``selected_eca``.
"""

CONFIG = {
    "base": ["winning.py", "parts/xeno_canto.py", "parts/network_eca.py"],
    "exp_name": "pretrain_eca",
}
