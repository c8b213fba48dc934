"""EfficientNetV2-S of the ensemble that came second in 2025: two rounds of pseudo-labels."""

SOUNDSCAPES = {"audio_dir": "data/train_soundscapes", "features_dir": "data/train_features_soundscapes"}
PSEUDO = "data/birdclef_2025_pseudo"
PRETRAINED = "data/birdclef_2025_all_pretrained_models"
ROUNDS = [
    "eca_124__eca_117__eca_112__eca_118__eca_113__ebs_123__eca_120__eca_121/v0_0.csv",
    "double_eca_nfnet_l0_AllFPseudoI1/v0_0.csv",
]

CONFIG = {
    "base": ["winning.py", "parts/birdclef_2025.py", "parts/network_ebs.py"],
    "exp_name": "selected_ebs",
    # Species of a handful of recordings are learnt by all models; a score over so few would say little.
    "folds": {"rare_up_to": 10},
    "nn_model_config": {
        "weights": f"{PRETRAINED}/models_2024/tf_efficientnetv2_s_in21k_Pretrainversion1.pth"
    },
    "train_function_args": {
        "train_dataset_config": {
            "soundscape_pseudo_config": {
                "tables": [{"table": f"{PSEUDO}/{table}", **SOUNDSCAPES} for table in ROUNDS],
            },
        },
    },
}
