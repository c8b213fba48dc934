"""Pretraining of the winning eca_nfnet_l0: all species of Xeno-canto, from ImageNet weights.

Its backbone is what ``selected_eca`` starts from: train one fold, take its backbone with
``dawnchorus extract-backbone``, and name the file as ``weights`` in ``nn_model_config``.
"""

CONFIG = {
    "base": "selected_eca.py",
    "exp_name": "pretrain_eca",
    "data": {
        "audio_dir": "data/xeno_canto",
        "recordings": "data/xeno_canto.csv",
        "features_dir": "data/xeno_canto_features",
    },
    # Thousands of species, many with a handful of recordings; only few are needed to choose an epoch.
    "folds": {"n_folds": 20},
}
