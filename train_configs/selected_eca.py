"""eca_nfnet_l0 of the ensemble that came second in 2025: three rounds of pseudo-labels."""

SOUNDSCAPES = {"audio_dir": "data/train_soundscapes", "features_dir": "data/train_features_soundscapes"}
PSEUDO = "data/birdclef_2025_pseudo"
PRETRAINED = "data/birdclef_2025_all_pretrained_models"
ROUNDS = [
    "eca_124__eca_117__eca_112__eca_118__eca_113__ebs_123__eca_120__eca_121/v0_0.csv",
    "double_eca_nfnet_l0_AllFPseudoI1/v0_0.csv",
    "best_ensem_19052025/v0.csv",
]

CONFIG = {
    "base": ["winning.py", "parts/birdclef_2025.py", "parts/network_eca.py"],
    "exp_name": "selected_eca",
    "nn_model_config": {"weights": f"{PRETRAINED}/models_2025/eca_nfnet_l0_pretrain_from_bigXCV2_best.ckpt"},
    "train_function_args": {
        "train_dataset_config": {
            "soundscape_pseudo_config": {
                "tables": [{"table": f"{PSEUDO}/{table}", **SOUNDSCAPES} for table in ROUNDS],
            },
        },
    },
}
