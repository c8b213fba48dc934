"""Pretraining of eca_nfnet_l0: all species of Xeno-canto, from ImageNet weights.

One of twenty folds is trained. Take its backbone with ``dawnchorus extract-backbone``, and name the file as
``weights`` in the ``nn_model_config`` of a config such as ``selected_eca``.
"""

CONFIG = {
    "base": ["winning.py", "parts/xeno_canto.py", "parts/network_eca.py", "parts/pretraining.py"],
    "exp_name": "pretrain_eca",
    "nn_model_config": {"drop_path_rate": 0.2},
    "train_function_args": {"train_dataset_config": {"background": []}},
}
