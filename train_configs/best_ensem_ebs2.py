"""Second EfficientNetV2-S of the best ensemble that was not selected: from the larger pretraining."""

CONFIG = {
    "base": "best_solo_ebs.py",
    "exp_name": "best_ensem_ebs2",
    "nn_model_config": {
        "weights": "data/birdclef_2025_all_pretrained_models/models_2025"
        "/tf_efficientnetv2_s_in21k_pretrain_from_bigXCV2Ext_swa.ckpt"
    },
}
