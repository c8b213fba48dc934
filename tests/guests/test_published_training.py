"""What a user of the published system has on disk, in miniature, from its config to a trained run."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest

from dawnchorus.cli import main
from dawnchorus.datasets.out_of_fold_targets import OutOfFoldTargets, OutOfFoldTargetSettings
from dawnchorus.recordings.labels import LabelMap
from dawnchorus.runs import Run

LABELS = ("owl", "wren")
ROOTS = (
    "train_audio",
    "train_audio",
    "more",
    "elsewhere",
)  # of each species and author; the last is not there
CONFIG = """
import torch
from code_base.models import WaveCNNAttenClasifier

ROOTS = {"base": "train_audio", "train_audio": "train_audio", "more": "add_train_audio"}

CONFIG = {
    "df_path": "data/all.csv",
    "split_path": "data/split.npy",
    "exp_name": "miniature",
    "folds": [0, 1],
    "train_function": lightning_training,
    "train_function_args": {
        "train_dataset_class": WaveDataset,
        "train_dataset_config": {
            "root": "data/train_audio",
            "label_str2int_mapping_path": "data/bird2int.json",
            "segment_len": 1,
            "late_normalize": True,
            "use_h5py": True,
            "replace_pathes": ("train_audio", "train_features"),
            "filename_change_mapping": {**ROOTS, "soundscape_0": "train_features_soundscapes"},
            "soundscape_pseudo_df_path": ["data/pseudo.csv"],
            "soundscape_pseudo_config": {
                "primary_label_min_prob": 0.5, "trim_min_prob": 0.1, "sampling_prob": 0.9,
            },
            "oversample_classes_dict": {"owl": 6},
            "oof_df_path": "data/oof.csv",
        },
        "val_dataset_class": WaveAllFileDataset,
        "val_dataset_config": {"segment_len": 1, "late_normalize": True, "use_h5py": True},
        "train_dataloader_config": {"batch_size": 4, "num_workers": 0},
        "val_dataloader_config": {"batch_size": 4, "num_workers": 0},
        "nn_model_class": WaveCNNAttenClasifier,
        "nn_model_config": dict(
            backbone="test_resnet.r160_in1k",
            mel_spec_paramms={
                "sample_rate": 16000, "n_mels": 64, "f_min": 20, "n_fft": 512, "hop_length": 256,
                "normalized": True,
            },
            head_config={"p": 0.5, "num_class": 2, "train_period": 1, "infer_period": 1},
        ),
        "optimizer_init": lambda model: torch.optim.RAdam(model.parameters(), lr=1e-3),
        "n_epochs": 1,
        "main_metric": "valid_roc_auc",
        "use_sampler": True,
        "class_weights_path": "sqrt",
    },
}
"""


@pytest.fixture
def published(
    tmp_path: Path, data_factory_in: Callable[[Path], Any], monkeypatch: pytest.MonkeyPatch
) -> Path:
    """The working directory of the published system: main table, folds, label map, pseudo-labels, config."""
    monkeypatch.chdir(tmp_path)
    data = tmp_path / "data"
    folders = {"train_audio": "train_audio", "more": "add_train_audio"}
    rows = []
    for number in range(16):
        label, root = LABELS[number % 2], ROOTS[number // 2 % 4]
        rows.append((f"{label}/XC{number}.wav", label, f"author {number // 2}", root))
        if root in folders:
            factory = data_factory_in(data / folders[root])
            factory.tone(rows[-1][0], 1.5, 1000.0 * (1 + number % 2), noise=0.1)
    columns = ["filename", "primary_label", "author", "data_root_id"]
    pd.DataFrame(rows, columns=columns).assign(secondary_labels="[]").to_csv(data / "all.csv", index=False)
    # The last two pairs of the table are validated by no fold.
    validated = [np.array([0, 1, 4, 5, 6, 7]), np.array([2, 3, 8, 9, 10, 11])]
    split = np.empty((2, 2), dtype=object)
    for fold, valid in enumerate(validated):
        split[fold] = [np.setdiff1d(np.arange(16), valid), valid]
    np.save(data / "split.npy", split)
    (data / "bird2int.json").write_text(json.dumps({label: number for number, label in enumerate(LABELS)}))
    data_factory_in(data / "train_soundscapes").tone("H1_1.wav", 10.0, 1500.0, noise=0.1)
    pseudo = {"row_id": ["H1_1_5", "H1_1_10"], "owl": [0.9, 0.0], "wren": [0.0, 0.8], "fold_id": [0, 1]}
    pd.DataFrame(pseudo).to_csv(data / "pseudo.csv", index=False)
    own = {"row_id": ["XC0_5", "XC2_5"], "owl": [0.7, 0.95], "wren": [0.2, 0.1], "fold_id": [0, 1]}
    pd.DataFrame(own).to_csv(data / "oof.csv", index=False)
    (tmp_path / "published.py").write_text(CONFIG)
    return tmp_path


def command(*arguments: str, code: int = 0) -> None:
    with pytest.raises(SystemExit) as ended:
        main(list(arguments))
    assert ended.value.code == code


def test_a_published_config_trains_on_its_tables_folds_and_pseudo_labels(
    published: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    command("adopt-config", "published.py", "--out", "ours.py")
    # The weights of ImageNet would be fetched; the small network's are not there.
    command("train", "ours.py", "--set", "nn_model_config.pretrained=False")
    run = Run.open("logdirs/miniature")
    assert run.finished_folds() == [0, 1]
    folds = run.folds().set_index("filename")["fold"]
    expected = {
        f"train_audio/{LABELS[n % 2]}/XC{n}.wav": f
        for n, f in zip([0, 1, 2, 3, 8, 9, 10, 11], [0, 0, 1, 1] + [1] * 4, strict=True)
    }
    expected |= {
        f"more/{LABELS[n % 2]}/XC{n}.wav": f for n, f in zip([4, 5, 12, 13], [0, 0, -1, -1], strict=True)
    }
    assert folds.to_dict() == expected
    args = run.config().train_function_args
    assert args.extra_recordings == {"owl": 6}
    (table,) = args.train_dataset_config["soundscape_pseudo_config"]["tables"]
    assert Path(table["audio_dir"]).name == "train_soundscapes"
    capsys.readouterr()
    command("evaluate", "logdirs/miniature")
    assert "out-of-fold macro ROC-AUC" in capsys.readouterr().out


def test_pseudo_labels_with_fold_id_are_used_without_those_of_the_own_fold(published: Path) -> None:
    recordings = pd.DataFrame({"filename": ["owl/XC0.wav", "owl/XC2.wav"]})
    settings = OutOfFoldTargetSettings(table=published / "data" / "oof.csv")
    targets = OutOfFoldTargets(settings, recordings, LabelMap(LABELS), fold=0)
    assert targets.target(0, 0.0, 1.0) is None  # fold 0 made it
    np.testing.assert_allclose(targets.target(1, 0.0, 1.0), [0.95, 0.1], rtol=1e-6)


def test_extra_recordings_of_an_unknown_class_are_refused(
    published: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    text = (published / "published.py").read_text()
    (published / "published.py").write_text(text.replace('{"owl": 6}', '{"turvul": 6}'))
    command("adopt-config", "published.py", "--out", "ours.py")
    command("train", "ours.py", "--set", "nn_model_config.pretrained=False", code=1)
    assert (
        "extra_recordings names turvul, and the classes are owl, wren; take it out" in capsys.readouterr().err
    )
