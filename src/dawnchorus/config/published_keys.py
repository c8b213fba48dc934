"""The keys of the published system's configs, and what corresponds to each.

These are the keys of the configs that its repository ships for training (``selected_…``, ``best_…``,
``pretrain_…_2025…``) and for inference. Its functions have further parameters, which none of these uses.
"""

from __future__ import annotations

from typing import NamedTuple


class Counterpart(NamedTuple):
    """What corresponds to a published key.

    Attributes
    ----------
    ours
        Key of a config of dawnchorus; empty where there is none.
    remark
        How the value changes, or what does the work of a key without counterpart.

    Examples
    --------
    >>> PUBLISHED_KEYS["seed"].ours
    'seed'
    """

    ours: str
    remark: str = ""


_ARGS = "train_function_args"
_TRAIN, _VAL, _MODEL = (
    f"{_ARGS}.train_dataset_config",
    f"{_ARGS}.val_dataset_config",
    f"{_ARGS}.nn_model_config",
)
_FILES = "the loader looks for the HDF5 file of each recording, and decodes those without one"
_LOADER = "the loader decides it"
_OF_RUN = "the run knows it"

PUBLISHED_KEYS: dict[str, Counterpart] = {
    "seed": Counterpart("seed", "a list has none: all folds have one seed"),
    "df_path": Counterpart("data.recordings", "faulty rows and missing files are left out and listed"),
    "split_path": Counterpart(
        "data.folds_array", "a .npy file with the rows of each fold, of which nothing is run"
    ),
    "exp_name": Counterpart("exp_name", "the folder of its run is logdirs/NAME there too"),
    "files_to_save": Counterpart("", "a run keeps its config and the state of git"),
    "folds": Counterpart(
        "folds.trained", "0 to n − 1 is n_folds; None is n_folds 1; train_valid is fold_column subset"
    ),
    "train_function": Counterpart("train_function", "lightning_training"),
    f"{_ARGS}.train_dataset_class": Counterpart(f"{_ARGS}.train_dataset_class", "WaveDataset"),
    f"{_TRAIN}.root": Counterpart("data.audio_dir"),
    f"{_TRAIN}.label_str2int_mapping_path": Counterpart("labels", "a JSON file of label and number is read"),
    f"{_TRAIN}.precompute": Counterpart(f"{_TRAIN}.precompute"),
    f"{_TRAIN}.n_cores": Counterpart("", "only precompute there; dawnchorus precompute --n-cores"),
    f"{_TRAIN}.debug": Counterpart(f"{_ARGS}.debug", "dawnchorus train --debug"),
    f"{_TRAIN}.do_mixup": Counterpart(f"{_TRAIN}.mixup", "False is None"),
    f"{_TRAIN}.mixup_params.prob": Counterpart(f"{_TRAIN}.mixup.probability"),
    f"{_TRAIN}.mixup_params.alpha": Counterpart(f"{_TRAIN}.mixup.alpha"),
    f"{_TRAIN}.segment_len": Counterpart(f"{_TRAIN}.segment_len"),
    f"{_TRAIN}.late_normalize": Counterpart(f"{_TRAIN}.late_normalize"),
    f"{_TRAIN}.sampler_col": Counterpart("", "classes are balanced by primary_label"),
    f"{_TRAIN}.use_sampler": Counterpart("", f"{_ARGS}.use_sampler says it"),
    f"{_TRAIN}.shuffle": Counterpart("", "training clips are drawn in random order"),
    f"{_TRAIN}.use_h5py": Counterpart(f"{_TRAIN}.use_h5py"),
    f"{_TRAIN}.replace_pathes": Counterpart(
        "data.features_dir", "the same replacement in each folder's name"
    ),
    f"{_TRAIN}.filename_change_mapping": Counterpart(
        "data", "one dataset root for each folder, with its rows by the column data_root_id"
    ),
    f"{_TRAIN}.ignore_setting_dataset_value": Counterpart("", "data names the roots"),
    f"{_TRAIN}.check_all_files_exist": Counterpart("", "missing files are left out and listed"),
    f"{_TRAIN}.late_aug": Counterpart(
        f"{_TRAIN}.background", "BackgroundNoise is a row; OneOf of them is background_choice one_of"
    ),
    f"{_TRAIN}.late_aug.precompute": Counterpart("", "noise is read when it is drawn"),
    f"{_TRAIN}.soundscape_pseudo_df_path": Counterpart(
        f"{_TRAIN}.soundscape_pseudo_config.tables", "audio_dir is train_soundscapes beside the root"
    ),
    f"{_TRAIN}.soundscape_pseudo_config": Counterpart(
        f"{_TRAIN}.soundscape_pseudo_config", "primary_label_min_prob, trim_min_prob, sampling_prob"
    ),
    f"{_TRAIN}.label_smoothing": Counterpart(f"{_TRAIN}.label_smoothing"),
    f"{_TRAIN}.oversample_classes_dict": Counterpart(
        f"{_ARGS}.extra_recordings", "recordings that a class gets beside its own"
    ),
    f"{_TRAIN}.oof_df_path": Counterpart(f"{_TRAIN}.out_of_fold_targets.table"),
    f"{_TRAIN}.oof_sampling_config": Counterpart(
        "", "out_of_fold_targets replaces every target above its min_prob"
    ),
    f"{_ARGS}.val_dataset_class": Counterpart(f"{_ARGS}.val_dataset_class", "WaveAllFileDataset"),
    f"{_VAL}.root": Counterpart("", "of the training"),
    f"{_VAL}.label_str2int_mapping_path": Counterpart("", "of the training"),
    f"{_VAL}.precompute": Counterpart("", _FILES),
    f"{_VAL}.n_cores": Counterpart("", "as for the training"),
    f"{_VAL}.debug": Counterpart("", "of the training"),
    f"{_VAL}.segment_len": Counterpart(f"{_VAL}.segment_len"),
    f"{_VAL}.sample_id": Counterpart("", "the table of recordings names each"),
    f"{_VAL}.late_normalize": Counterpart(f"{_VAL}.late_normalize"),
    f"{_VAL}.use_h5py": Counterpart(f"{_VAL}.use_h5py"),
    f"{_VAL}.replace_pathes": Counterpart("", "of the training"),
    f"{_VAL}.filename_change_mapping": Counterpart("", "of the training"),
    f"{_VAL}.ignore_setting_dataset_value": Counterpart("", "data names the roots"),
    f"{_VAL}.check_all_files_exist": Counterpart("", "missing files are left out and listed"),
    f"{_VAL}.duration_col": Counterpart("", "durations are read from the files"),
    f"{_ARGS}.train_dataloader_config.batch_size": Counterpart(f"{_ARGS}.train_loader.batch_size"),
    f"{_ARGS}.train_dataloader_config.num_workers": Counterpart(f"{_ARGS}.train_loader.num_workers"),
    f"{_ARGS}.train_dataloader_config.shuffle": Counterpart("", _LOADER),
    f"{_ARGS}.train_dataloader_config.drop_last": Counterpart("", _LOADER),
    f"{_ARGS}.train_dataloader_config.pin_memory": Counterpart("", _LOADER),
    f"{_ARGS}.val_dataloader_config.batch_size": Counterpart(f"{_ARGS}.val_loader.batch_size"),
    f"{_ARGS}.val_dataloader_config.num_workers": Counterpart(f"{_ARGS}.val_loader.num_workers"),
    f"{_ARGS}.val_dataloader_config.shuffle": Counterpart("", _LOADER),
    f"{_ARGS}.val_dataloader_config.drop_last": Counterpart("", _LOADER),
    f"{_ARGS}.val_dataloader_config.pin_memory": Counterpart("", _LOADER),
    f"{_ARGS}.nn_model_class": Counterpart("nn_model_class", "WaveCNNAttenClasifier"),
    f"{_MODEL}.backbone": Counterpart("nn_model_config.backbone", "a name of timm, old or new"),
    f"{_MODEL}.mel_spec_paramms": Counterpart(
        "nn_model_config.frontend", "f_min is f_min_hz; normalized must be True, as ours is"
    ),
    f"{_MODEL}.spec_augment_config": Counterpart(
        f"{_ARGS}.batch_augmentations.spectrogram_masks", "widths end one below mask_max_length"
    ),
    f"{_MODEL}.head_config.p": Counterpart("nn_model_config.dropout"),
    f"{_MODEL}.head_config.hidden_chans": Counterpart(
        "nn_model_config.hidden_features", "512 where it is missing"
    ),
    f"{_MODEL}.head_config.num_class": Counterpart("", "as many as labels"),
    f"{_MODEL}.head_config.train_period": Counterpart("", "segment_len says it"),
    f"{_MODEL}.head_config.infer_period": Counterpart("", "segment_len says it"),
    f"{_MODEL}.add_backbone_config": Counterpart(
        "nn_model_config.backbone_config", "drop_path_rate is nn_model_config.drop_path_rate"
    ),
    f"{_MODEL}.exportable": Counterpart("", "every network can be exported"),
    f"{_MODEL}.fixed_amplitude_to_db": Counterpart("", "decibels are cut off clip by clip, as with True"),
    f"{_ARGS}.optimizer_init": Counterpart(f"{_ARGS}.optimizer", "classes of torch.optim"),
    f"{_ARGS}.scheduler_init": Counterpart(
        f"{_ARGS}.scheduler", "CosineAnnealingWarmRestarts is cosine, its eta_min min_lr, T_0 restarts"
    ),
    f"{_ARGS}.scheduler_params": Counterpart("", "schedules step with the optimiser"),
    f"{_ARGS}.forward": Counterpart(
        f"{_ARGS}.loss", "MultilabelClsForwardLongShort: bce_focal or bce; batch_aug is random_filtering"
    ),
    f"{_ARGS}.callbacks": Counterpart("", "ROC_AUC_Score is computed anyway, over all classes"),
    f"{_ARGS}.n_epochs": Counterpart(f"{_ARGS}.n_epochs"),
    f"{_ARGS}.main_metric": Counterpart(f"{_ARGS}.main_metric", "valid_roc_auc or valid_avg_loss"),
    f"{_ARGS}.metric_mode": Counterpart("", "follows from main_metric"),
    f"{_ARGS}.checkpoint_callback_params": Counterpart("", "the best and the last are kept"),
    f"{_ARGS}.wandb_logger_params": Counterpart("", "nothing is sent unasked; loggers has wandb"),
    f"{_ARGS}.precision_mode": Counterpart(f"{_ARGS}.precision_mode", "all but 64-true"),
    f"{_ARGS}.train_strategy": Counterpart("", "several devices are DDP"),
    f"{_ARGS}.n_checkpoints_to_save": Counterpart(f"{_ARGS}.n_checkpoints"),
    f"{_ARGS}.log_every_n_steps": Counterpart("", "the logs have every epoch"),
    f"{_ARGS}.debug": Counterpart(f"{_ARGS}.debug"),
    f"{_ARGS}.label_str2int_path": Counterpart("", "labels says it"),
    f"{_ARGS}.class_weights_path": Counterpart(
        f"{_ARGS}.class_balance", "balanced is inverse, sqrt is inverse_sqrt"
    ),
    f"{_ARGS}.use_sampler": Counterpart(f"{_ARGS}.class_balance", "False is none"),
    f"{_ARGS}.pretrain_config": Counterpart("nn_model_config.weights", "its backbone_path"),
}
"""By the key of a training config, dots between the keys of dicts."""

PUBLISHED_INFERENCE_KEYS: dict[str, Counterpart] = {
    "exp_name": Counterpart("run, exp_name", "the run in logdirs"),
    "folds_to_onnx": Counterpart("folds"),
    "n_folds": Counterpart("", _OF_RUN),
    "model_class": Counterpart("", _OF_RUN),
    "model_config": Counterpart("", _OF_RUN),
    "segment_len": Counterpart("", _OF_RUN),
    "lookback": Counterpart("", _OF_RUN),
    "lookahead": Counterpart("", _OF_RUN),
    "late_normalize": Counterpart("", _OF_RUN),
    "train_df_path": Counterpart("", _OF_RUN),
    "split_path": Counterpart("", _OF_RUN),
    "train_data_root": Counterpart("", _OF_RUN),
    "label_map_data_path": Counterpart("", _OF_RUN),
    "add_dataset_config": Counterpart("", _OF_RUN),
    "scored_birds_path": Counterpart("", "all classes with a leak-free score are scored"),
    "step": Counterpart("", "evaluate has windows without overlap; overlap_s is for predictions"),
    "use_sigmoid": Counterpart("", "the outputs are probabilities"),
    "aggregate_preds": Counterpart("", "a recording's score is the maximum over its windows"),
    "chkp_name": Counterpart("", "the best checkpoint is taken; dawnchorus choose-checkpoints takes another"),
    "swa_checkpoint_regex": Counterpart("", "dawnchorus choose-checkpoints"),
    "swa_sort_rule": Counterpart("", "dawnchorus choose-checkpoints"),
    "n_swa_models": Counterpart("", "dawnchorus choose-checkpoints --average"),
    "delete_prefix": Counterpart("", "the prefix is known"),
    "model_output_key": Counterpart("", "the outputs are probabilities"),
    "use_openvino": Counterpart("", "exports are made for both engines"),
    "use_fp16": Counterpart("", "OpenVINO's weights are in fp16; onnx_fp16 is for ONNX"),
    "final_activation": Counterpart("", "the outputs are probabilities"),
}
"""By the key of an inference config."""


def counterparts_table(keys: dict[str, Counterpart]) -> str:
    """Return a Markdown table of published keys and their counterparts.

    Examples
    --------
    >>> print(counterparts_table({"seed": Counterpart("seed", "a number")}))
    | published | ours | |
    |---|---|---|
    | `seed` | `seed` | a number |
    """
    rows = [
        f"| `{key}` | {f'`{one.ours}`' if one.ours else '—'} | {one.remark} |" for key, one in keys.items()
    ]
    return "\n".join(["| published | ours | |", "|---|---|---|", *rows])
