"""A config of the published system, in miniature, read as data and written in the keys of dawnchorus."""

from __future__ import annotations

import json
import re
from pathlib import Path
from typing import Any

import pytest

from dawnchorus.cli import main
from dawnchorus.config import load_inference_config, load_train_config
from dawnchorus.config.published_config import adopt_config, read_published_config
from dawnchorus.config.published_keys import PUBLISHED_INFERENCE_KEYS, PUBLISHED_KEYS, counterparts_table
from dawnchorus.config.published_network import read_published_network
from dawnchorus.config.published_section import LeftOut
from dawnchorus.config.python_literals import LiteralPart, Unread, read_config_literal, read_expression
from dawnchorus.errors import ConfigError, OverwriteError

REPOSITORY = Path(__file__).resolve().parents[2]
NAME = f"tf_efficientnetv2_s_in21k_{'Exp_noamp_64bs_5sec_' * 8}"[:195]
TRAINING = """
from glob import glob

import torch
from code_base.augmentations.transforms import BackgroundNoise, OneOf
from code_base.models import RandomFiltering, WaveCNNAttenClasifier

raise SystemExit("the config was run")

N_EPOCHS = 50
NORMALIZE = True
MAXIMIZE = True
METRIC = "valid_roc_auc"
LABELS = "data/bird2int.json"
ROOTS = {"base": "train_audio", "train_audio": "train_audio", "more": "add_train_audio"}

CONFIG = {
    "seed": 1243,
    "df_path": "data/all.csv",
    "split_path": "data/split.npy",
    "exp_name": "@NAME@",
    "files_to_save": glob("code_base/**/*.py") + [__file__],
    "folds": [0, 1, 2, 3, 4],
    "train_function": lightning_training,
    "train_function_args": {
        "train_dataset_class": WaveDataset,
        "train_dataset_config": {
            "root": "data/train_audio",
            "label_str2int_mapping_path": LABELS,
            "precompute": False,
            "n_cores": 12,
            "debug": False,
            "do_mixup": True,
            "mixup_params": {"prob": 0.5, "alpha": None},
            "segment_len": 5.0,
            "late_normalize": NORMALIZE,
            "sampler_col": "primary_label",
            "use_sampler": True,
            "shuffle": True,
            "use_h5py": True,
            "replace_pathes": ("train_audio", "train_features"),
            "filename_change_mapping": {**ROOTS, "soundscape_0": "train_features_soundscapes"},
            "ignore_setting_dataset_value": True,
            "check_all_files_exist": False,
            "late_aug": OneOf(
                [
                    BackgroundNoise(
                        p=0.5, esc50_root="data/nocall", esc50_df_path="data/nocall.csv",
                        normalize=NORMALIZE, precompute=False,
                    ),
                    BackgroundNoise(
                        p=0.5, esc50_root="data/esc50/audio", esc50_df_path="data/esc50.csv",
                        esc50_cats_to_include=["rain", "wind"], normalize=NORMALIZE,
                    ),
                ]
            ),
            "soundscape_pseudo_df_path": ["data/pseudo/first.csv", "data/pseudo/second.csv"],
            "soundscape_pseudo_config": {
                "primary_label_min_prob": 0.5, "trim_min_prob": 0.1, "sampling_prob": 0.4,
            },
            "label_smoothing": 0.05,
            "oversample_classes_dict": {"turvul": 96},
            "oof_df_path": "data/oof.csv",
            "oof_sampling_config": {"trim_min_prob": 0.1, "sampling_prob": 0.4},
        },
        "val_dataset_class": WaveAllFileDataset,
        "val_dataset_config": {
            "root": "data/train_audio",
            "label_str2int_mapping_path": LABELS,
            "precompute": False,
            "n_cores": 12,
            "debug": False,
            "segment_len": 5,
            "sample_id": None,
            "late_normalize": NORMALIZE,
            "use_h5py": True,
            "replace_pathes": ("train_audio", "train_features"),
            "filename_change_mapping": ROOTS,
            "ignore_setting_dataset_value": True,
            "check_all_files_exist": False,
            "duration_col": "duration_s",
        },
        "train_dataloader_config": {
            "batch_size": 64, "shuffle": False, "drop_last": True, "num_workers": 12, "pin_memory": True,
        },
        "val_dataloader_config": {
            "batch_size": 32, "shuffle": False, "drop_last": False, "num_workers": 12, "pin_memory": True,
        },
        "nn_model_class": WaveCNNAttenClasifier,
        "nn_model_config": dict(
            backbone="tf_efficientnetv2_s_in21k",
            add_backbone_config={"drop_path_rate": 0.2},
            mel_spec_paramms={
                "sample_rate": 32000, "n_mels": 128, "f_min": 20, "n_fft": 2048, "hop_length": 512,
                "normalized": True,
            },
            spec_augment_config={
                "freq_mask": {"mask_max_length": 10, "mask_max_masks": 3, "p": 0.3, "inplace": True},
                "time_mask": {"mask_max_length": 20, "mask_max_masks": 3, "p": 0.3, "inplace": True},
            },
            head_config={
                "p": 0.5, "hidden_chans": 1024, "num_class": 206, "train_period": 5.0, "infer_period": 5.0,
            },
            exportable=True,
            fixed_amplitude_to_db=True,
        ),
        "optimizer_init": lambda model: torch.optim.RAdam(model.parameters(), lr=1e-3, eps=1e-8),
        "scheduler_init": lambda optimizer, len_train: torch.optim.lr_scheduler.CosineAnnealingWarmRestarts(
            optimizer, T_0=N_EPOCHS * len_train, T_mult=1, eta_min=1e-6, last_epoch=-1
        ),
        "scheduler_params": {"interval": "step", "monitor": METRIC},
        "forward": lambda: MultilabelClsForwardLongShort(
            loss_type="baseline",
            use_weights=False,
            batch_aug=RandomFiltering(min_db=-20, is_wave=True, normalize_wave=NORMALIZE),
            use_bce_focal_loss=True,
        ),
        "callbacks": lambda: [ROC_AUC_Score(loader_names=("valid",))],
        "n_epochs": N_EPOCHS,
        "main_metric": METRIC,
        "metric_mode": "max" if MAXIMIZE else "min",
        "checkpoint_callback_params": dict(save_last=True),
        "wandb_logger_params": {"project": "birds"},
        "precision_mode": "32-true",
        "train_strategy": "ddp_find_unused_parameters_true",
        "n_checkpoints_to_save": 3,
        "log_every_n_steps": None,
        "debug": False,
        "label_str2int_path": LABELS,
        "class_weights_path": "sqrt",
        "use_sampler": True,
        "pretrain_config": {"backbone_path": "data/backbone.pth"},
    },
}
""".replace("@NAME@", NAME)
INFERENCE = f"""
EXP_NAME = "{NAME}"
CONFIG = {{
    "use_sigmoid": False, "aggregate_preds": True, "train_df_path": "data/all.csv", "split_path": "s.npy",
    "n_folds": 5, "train_data_root": "data/train_audio", "label_map_data_path": "data/bird2int.json",
    "scored_birds_path": "data/sb.json", "lookback": None, "lookahead": None, "segment_len": 5, "step": None,
    "late_normalize": True, "add_dataset_config": {{"duration_col": "d"}}, "exp_name": EXP_NAME,
    "model_class": WaveCNNAttenClasifier, "model_config": dict(backbone="eca_nfnet_l0"),
    "chkp_name": "last.ckpt", "swa_checkpoint_regex": r"(?P<key>\\w+)", "delete_prefix": "model.",
    "swa_sort_rule": lambda x: -float(x["valid_roc_auc"]), "n_swa_models": 1, "model_output_key": None,
    "use_openvino": True, "use_fp16": True, "folds_to_onnx": [0, 1, 2], "final_activation": None,
}}
"""


def keys_in(values: dict[str, Any], prefix: str = "") -> set[str]:
    """Return the dotted keys of a dict and of those in it."""
    found = {f"{prefix}{key}" for key in values}
    return found.union(
        *(keys_in(v, f"{prefix}{k}.") for k, v in values.items() if isinstance(v, dict)), set()
    )


def adopted(tmp_path: Path, text: str) -> tuple[Any, list[LeftOut]]:
    """Return the training config that a published text becomes, and what has no counterpart."""
    source, out = tmp_path / "published.py", tmp_path / "ours.py"
    source.write_text(text)
    left_out = adopt_config(source, out, force=True)
    return load_train_config(out), left_out


def test_a_published_config_is_written_in_our_keys(tmp_path: Path) -> None:
    config, _ = adopted(tmp_path, TRAINING)
    assert (config.exp_name, config.seed, config.folds.n_folds, config.folds.trained) == (
        NAME,
        1243,
        5,
        (0, 1, 2, 3, 4),
    )
    assert [(root.audio_dir.name, root.features_dir.name) for root in config.data] == [
        ("train_audio", "train_features"),
        ("add_train_audio", "add_train_features"),
    ]
    assert all(root.recordings.name == "all.csv" for root in config.data)
    assert [(root.root_column, root.name, root.folds_array.name) for root in config.data] == [
        ("data_root_id", None, "split.npy"),
        ("data_root_id", "more", "split.npy"),
    ]
    assert config.labels == Path("data/bird2int.json")
    assert config.nn_model_class.__name__ == "WaveCNNAttenClassifier"
    network = config.nn_model_config
    assert (network["backbone"], network["hidden_features"]) == ("tf_efficientnetv2_s_in21k", 1024)
    assert (network["drop_path_rate"], network["weights"]) == (0.2, "data/backbone.pth")
    frontend = {"sample_rate": 32_000, "n_fft": 2048, "hop_length": 512, "n_mels": 128}
    assert network["frontend"] == {**frontend, "f_min_hz": 20, "f_max_hz": 16_000}
    args = config.train_function_args
    assert (args.class_balance, args.loss, args.n_epochs) == ("inverse_sqrt", "bce_focal", 50)
    assert args.extra_recordings == {"turvul": 96}
    assert (args.optimizer.name, args.optimizer.lr, args.optimizer.weight_decay) == ("RAdam", 1e-3, 0)
    assert args.optimizer.args == {"eps": 1e-8}
    assert (args.scheduler.name, args.scheduler.min_lr, args.scheduler.restarts) == ("cosine", 1e-6, 0)
    assert (args.train_loader.batch_size, args.val_loader.batch_size) == (64, 32)
    assert (args.main_metric, args.n_checkpoints, args.precision_mode) == ("val_macro_roc_auc", 3, "32-true")
    masks = args.batch_augmentations.spectrogram_masks
    assert (masks["min_width"], masks["max_mels"], masks["max_frames"], masks["max_masks"]) == (0, 9, 19, 3)
    assert args.batch_augmentations.random_filtering == {"min_db": -20, "flat_ends": True}
    clips = args.train_dataset_config
    assert (clips["use_rating"], clips["label_smoothing"], clips["background_choice"]) == (
        False,
        0.05,
        "one_of",
    )
    assert clips["mixup"] == {"probability": 0.5, "alpha": None}
    assert clips["background"][1] == {
        "folder": "data/esc50/audio",
        "table": "data/esc50.csv",
        "labels": ["rain", "wind"],
        "probability": 0.5,
        "peak_of": "file",
    }
    pseudo = clips["soundscape_pseudo_config"]
    assert [table["table"] for table in pseudo["tables"]] == [
        "data/pseudo/first.csv",
        "data/pseudo/second.csv",
    ]
    assert pseudo["tables"][0]["features_dir"] == "data/train_features_soundscapes"
    assert clips["out_of_fold_targets"] == {"table": "data/oof.csv"}
    assert args.val_dataset_config["segment_len"] == 5


def test_the_settings_are_those_of_the_shipped_config(tmp_path: Path) -> None:
    config, _ = adopted(tmp_path, TRAINING)
    ours = load_train_config(REPOSITORY / "train_configs" / "selected_eca.py").train_function_args
    args = config.train_function_args
    for name in (
        "optimizer",
        "scheduler",
        "loss",
        "class_balance",
        "n_epochs",
        "main_metric",
        "precision_mode",
    ):
        if name != "optimizer":
            assert getattr(args, name) == getattr(ours, name), name
    assert args.optimizer.model_copy(update={"args": {}}) == ours.optimizer
    for name in ("mixup", "label_smoothing", "use_rating", "background_choice", "segment_len"):
        theirs = args.train_dataset_config[name]
        expected = ours.train_dataset_config[name]
        assert (
            (theirs["probability"], expected["probability"]) == (0.5, 0.5)
            if name == "mixup"
            else theirs == expected
        )


def test_every_key_is_taken_or_listed_with_its_reason(tmp_path: Path) -> None:
    _, left_out = adopted(tmp_path, TRAINING)
    reasons = {one.key: one.reason for one in left_out}
    without = {key for key, one in PUBLISHED_KEYS.items() if not one.ours}
    assert without - set(reasons) == {"train_function_args.nn_model_config.fixed_amplitude_to_db"}  # as ours
    assert set(reasons) <= without
    for key in keys_in(read_config_literal(tmp_path / "published.py")):
        above = [key[:end] for end in range(len(key) + 1) if key[:end] in PUBLISHED_KEYS]
        below = [known for known in PUBLISHED_KEYS if known.startswith(f"{key}.")]
        assert above or below, key
    text = (tmp_path / "ours.py").read_text()
    assert "#   train_function_args.metric_mode = 'max': follows from main_metric\n" in text


def test_an_unknown_key_and_value_are_listed(tmp_path: Path) -> None:
    text = TRAINING.replace('"debug": False,\n        "label_str', '"power_value": -0.3,\n        "label_str')
    text = text.replace('"class_weights_path": "sqrt"', '"class_weights_path": "weights.json"')
    text = text.replace("MultilabelClsForwardLongShort(", "OtherForward(").replace(
        "torch.optim.RAdam", "lib.Lion"
    )
    config, left_out = adopted(tmp_path, text)
    reasons = {one.key.removeprefix("train_function_args."): one.reason for one in left_out}
    assert reasons["power_value"] == "dawnchorus does not know this key"
    for key in ("class_weights_path", "forward", "optimizer_init"):
        assert reasons[key].startswith("this value has no counterpart; "), key
    assert config.train_function_args.class_balance == "none"


@pytest.mark.parametrize(
    ("whole", "positional", "listed"),
    [
        ("model.parameters(), lr=1e-3, eps=1e-8", "model.parameters(), 1e-3, (0.8, 0.9)", {"argument 3"}),
        ("model.parameters(), lr", "[{'params': model.head.parameters()}], lr", {"params"}),
        ("optimizer, T_0=N_EPOCHS * len_train, T_mult=1, eta_min", "optimizer, N_EPOCHS, 1, eta_min", set()),
        ("eta_min=1e-6, last_epoch=-1", "eta_min=1e-6, last_epoch=20", {"last_epoch"}),
        ("RandomFiltering(min", "RandomFiltering(0.7, min", {"argument 1"}),
        ("MultilabelClsForwardLongShort(", "MultilabelClsForwardLongShort(0.1, ", {"argument 1"}),
        ("BackgroundNoise(", "BackgroundNoise('esc', ", {"argument 1"}),
        ("                ]\n            ),", "                ], 0.7\n            ),", {"argument 2"}),
        ("OneOf(\n                [", "OneOf(\n                transforms=[", set()),
    ],
)
def test_arguments_of_calls_are_carried_by_position_too_or_listed(
    tmp_path: Path, whole: str, positional: str, listed: set[str]
) -> None:
    config, before = adopted(tmp_path, TRAINING)
    assert whole in TRAINING
    changed, left_out = adopted(tmp_path, TRAINING.replace(whole, positional))
    new = {one.key.rpartition(".")[2] for one in left_out} - {one.key.rpartition(".")[2] for one in before}
    assert new == listed
    args, theirs = config.train_function_args, changed.train_function_args
    assert (args.optimizer.lr, args.scheduler) == (theirs.optimizer.lr, theirs.scheduler)
    assert args.train_dataset_config["background_choice"] == theirs.train_dataset_config["background_choice"]
    assert args.batch_augmentations == theirs.batch_augmentations


@pytest.mark.parametrize(
    ("folds", "n_folds", "trained"),
    [
        ("[0, 1, 2]", 5, (0, 1, 2)),
        ("[6]", 7, (6,)),
        ("2", 5, (2,)),
        ("None", 1, None),
        ("'train_valid'", 5, None),
    ],
)
def test_folds_are_those_that_are_trained(
    tmp_path: Path, folds: str, n_folds: int, trained: tuple[int, ...] | None
) -> None:
    config, _ = adopted(tmp_path, TRAINING.replace('"folds": [0, 1, 2, 3, 4]', f'"folds": {folds}'))
    assert (config.folds.n_folds, config.folds.trained) == (n_folds, trained)
    assert config.folds.fold_column == ("subset" if "valid" in folds else "fold")
    assert {root.folds_array is None for root in config.data} == {trained is None}


def test_a_published_inference_config_names_its_run(tmp_path: Path) -> None:
    source, out = tmp_path / "published.py", tmp_path / "ours.py"
    source.write_text(INFERENCE)
    left_out = adopt_config(source, out)
    config = load_inference_config(out)
    assert (config.exp_name, config.folds) == (NAME, [0, 1, 2])
    assert config.run.parts[-2:] == ("logdirs", NAME)
    assert {one.key for one in left_out} == {
        key for key, one in PUBLISHED_INFERENCE_KEYS.items() if not one.ours
    }


def test_the_command_lists_what_has_no_counterpart(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.chdir(tmp_path)
    Path("published").mkdir()
    Path("published/ebs.py").write_text(TRAINING)
    with pytest.raises(SystemExit) as ended:
        main(["adopt-config", "published/ebs.py"])
    assert ended.value.code == 0
    printed = capsys.readouterr().out
    assert "ebs.py: written; " in printed
    assert "  files_to_save = " in printed
    assert load_train_config("ebs.py").exp_name == NAME
    with pytest.raises(OverwriteError, match="exists; choose another name"):
        adopt_config(Path("published/ebs.py"), Path("ebs.py"))


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("x = 1", "CONFIG must be a dict .* it has none"),
        ("CONFIG = open('x')", r"CONFIG must be a dict .* it is .*open\("),
        ("CONFIG = {", "is no Python file"),
        ("CONFIG = {'exp_name': 'a'}", "is no config of the published system"),
        ("CONFIG = " + "(" * 5000, "is no Python file"),
        ("#" * 1_000_001, "has 1,000,001 bytes"),
    ],
)
def test_what_is_no_published_config_is_told(tmp_path: Path, text: str, message: str) -> None:
    (tmp_path / "other.py").write_text(text)
    with pytest.raises(ConfigError, match=message):
        adopt_config(tmp_path / "other.py", tmp_path / "ours.py")
    assert not (tmp_path / "ours.py").exists()


def test_a_missing_file_and_an_illegal_value_are_told(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match="cannot be read: No such file"):
        adopt_config(tmp_path / "none.py", tmp_path / "ours.py")
    with pytest.raises(ConfigError, match=r"published\.py: .*n_epochs is 0; legal: 1 or more"):
        adopted(tmp_path, TRAINING.replace("N_EPOCHS = 50", "N_EPOCHS = 0"))


def test_text_of_a_config_never_becomes_code(tmp_path: Path) -> None:
    (tmp_path / "mine.py").write_text("raise SystemExit('imported')")
    text = TRAINING.replace('backbone="tf_efficientnetv2_s_in21k"', 'backbone="mine:net"')
    text = text.replace('"project": "birds"', '"project": "x\\n\\nraise SystemExit(1)"')
    text = text.replace("data/nocall.csv", "'''+exit()+'''").replace(NAME, "x\\nraise SystemExit")
    config, left_out = adopted(tmp_path, text)
    assert "backbone" not in config.nn_model_config
    assert config.exp_name == "x_raise_SystemExit"
    assert {"exp_name", "train_function_args.nn_model_config.backbone"} <= {one.key for one in left_out}


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("2.5 * 4 - 1", 9.0),
        ("-3", -3),
        ("[1] + [2]", [1, 2]),
        ("'a' + 'b'", "ab"),
        ("{**{'a': 1}, 'b': (2,)}", {"a": 1, "b": [2]}),
        ("1 if True else f()", 1),
        ("{'a': {'b': 5}}['a']['b']", 5),
        ("[4, 5][-1]", 5),
        ("f'fold_{3}.csv'", "fold_3.csv"),
        ("partial(torch.optim.SGD, lr=0.1)", LiteralPart("torch.optim.SGD", (), {"lr": 0.1})),
        ("'a' * 10**9", Unread("'a' * 10 ** 9")),
        ("1 / 0", Unread("1 / 0")),
        ("__import__('os').getcwd()", Unread("__import__('os').getcwd()")),
        ("[x for x in y]", Unread("[x for x in y]")),
        ("f(*a)", Unread("f(*a)")),
        ("{f: 1}", Unread("{f: 1}")),
        ("f'{3:04d}'", Unread("f'{3:04d}'")),
    ],
)
def test_expressions_are_read_and_never_run(text: str, expected: Any) -> None:
    assert read_expression(text) == expected


def test_names_and_items_are_filled_in(tmp_path: Path) -> None:
    lines = ["N: int = 5", "CONFIG = dict({'a': N}, b=N)", "CONFIG['c'] = [N]", "def f(): ..."]
    (tmp_path / "small.py").write_text("\n".join(lines))
    assert read_config_literal(tmp_path / "small.py") == {"a": 5, "b": 5, "c": [5]}


def test_the_page_shows_the_counterpart_of_every_key() -> None:
    page = (REPOSITORY / "docs" / "explanation" / "published.md").read_text(encoding="utf-8")
    assert counterparts_table(PUBLISHED_KEYS) in page
    assert counterparts_table(PUBLISHED_INFERENCE_KEYS) in page


def test_a_published_label_map_gives_the_classes(tmp_path: Path) -> None:
    from dawnchorus.errors import DataError
    from dawnchorus.recordings.labels import read_labels

    file = tmp_path / "bird2int.json"
    file.write_text(json.dumps({"wren": 1, "compau": 0}, indent=1))
    assert read_labels(file).labels == ("compau", "wren")
    file.rename(file.with_suffix(".txt"))  # by its content, whatever its name
    assert read_labels(file.with_suffix(".txt")).labels == ("compau", "wren")
    file.write_text('["owl", "wren"]')
    assert read_labels(file).labels == ("owl", "wren")
    file.write_text('{"wren": 1, "owl": 3}')
    with pytest.raises(
        DataError, match=r"bird2int\.json: the numbers must be 0 to 1, each once; give a list"
    ):
        read_labels(file)
    file.write_text('{"wren": "one"}')
    with pytest.raises(DataError, match="wren is 'one'; legal: a whole number"):
        read_labels(file)


def test_the_whole_of_published_config_values_is_plain(tmp_path: Path) -> None:
    (tmp_path / "published.py").write_text(TRAINING)
    values = read_published_config(tmp_path / "published.py").values
    assert json.loads(json.dumps(values))["exp_name"] == NAME


@pytest.mark.parametrize("lines", ["N = 10**400\nM = N * 1.5", "S = 'ab'" + "\nS = S + S" * 40])
def test_numbers_and_texts_without_end_are_passed_over(tmp_path: Path, lines: str) -> None:
    (tmp_path / "large.py").write_text(f"{lines}\nCONFIG = {{'a': 1}}\n")
    assert read_config_literal(tmp_path / "large.py") == {"a": 1}


def test_a_spectrogram_is_adopted_whole_or_refused(tmp_path: Path) -> None:
    mel = {"n_fft": 1024, "win_length": 400, "mel_scale": "slaney", "norm": "slaney", "normalized": True}
    model = {"backbone": "tf_efficientnet_b0_ns", "mel_spec_paramms": mel, "top_db": 60}
    path = tmp_path / "theirs.py"
    path.write_text(f"CONFIG = {{'train_function_args': {{'nn_model_config': {model}}}}}\n")
    frontend = read_published_network(path).keywords["frontend"]
    assert frontend == {
        **{"n_fft": 1024, "win_length": 400, "mel_scale": "slaney", "mel_norm": "slaney"},
        **{"top_db": 60.0, "f_max_hz": 16_000.0},
    }
    path.write_text(path.read_text().replace("'normalized': True", "'normalized': False"))
    with pytest.raises(ConfigError, match="normalized False, which has no counterpart"):
        read_published_network(path)


@pytest.mark.parametrize(
    "lines",
    [
        "CONFIG['self'] = CONFIG",
        "A = {}\nA['b'] = {'c': [A]}\nCONFIG['self'] = A",
        "A = Net(1)\n" + "A = [A, A, A, A]\n" * 40 + "CONFIG['self'] = A",
        "A = {}\n" + "A = Net(A, other=A)\n" * 400 + "CONFIG['self'] = A",
    ],
    ids=["of itself", "of itself below", "of many", "deep"],
)
def test_a_value_that_holds_itself_or_is_huge_is_listed(tmp_path: Path, lines: str) -> None:
    (tmp_path / "published.py").write_text(f"{TRAINING}\n{lines}\n")
    left_out = {one.key: one for one in adopt_config(tmp_path / "published.py", tmp_path / "ours.py")}
    assert len(left_out["self"].value) < 200_000
    assert "..." in left_out["self"].value
    assert load_train_config(tmp_path / "ours.py").seed == 1243


def test_every_test_that_the_page_names_is_there() -> None:
    page = (REPOSITORY / "docs" / "explanation" / "published.md").read_text(encoding="utf-8")
    named = set(re.findall(r"`(tests/[\w/.]+)`", page))
    assert len(named) > 15
    assert [name for name in named if not (REPOSITORY / name).is_file()] == []
