"""The best single experiment of 2025's second place: out-of-fold pseudo-labels before the others."""

SOUNDSCAPES = {"audio_dir": "data/train_soundscapes", "features_dir": "data/train_features_soundscapes"}
PSEUDO = "data/birdclef_2025_pseudo"
ROUNDS = [
    "ensem_25052025_fromVer1OOF/v0_0_filteredProb05_grouped_cv_split5.csv",
    "eca_124__eca_117__eca_112__eca_118__eca_113__ebs_123__eca_120__eca_121/v0_0.csv",
    "double_eca_nfnet_l0_AllFPseudoI1/v0_0.csv",
]

CONFIG = {
    "base": "selected_ebs.py",
    "exp_name": "best_solo_ebs",
    "train_function_args": {
        "train_dataset_config": {
            "soundscape_pseudo_config": {
                "tables": [{"table": f"{PSEUDO}/{table}", **SOUNDSCAPES} for table in ROUNDS],
            },
        },
    },
}
