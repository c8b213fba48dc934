"""``dawnchorus distill``: one student of several folds."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pandas as pd
import pytest
import typer
from typer.testing import CliRunner

import dawnchorus as dc
from dawnchorus.cli.distill_command import distill as command
from dawnchorus.config import find_config
from dawnchorus.errors import DataError
from dawnchorus.pipelines import run_evaluation, run_score_calibration
from dawnchorus.pipelines.experiment import whole_config
from dawnchorus.self_training.distillation import distill, student_config
from dawnchorus.training import lightning_training, trainer

FRONTEND = {"sample_rate": 16_000, "n_fft": 512, "hop_length": 256, "n_mels": 32, "f_max_hz": 8000.0}
CLIP = {"segment_len": 1.0, "sample_rate": 16_000, "use_h5py": False}


@pytest.fixture(autouse=True)
def _without_pictures(monkeypatch: pytest.MonkeyPatch) -> None:
    """Leave out the pages on each run, which take longer than such networks."""
    for module in (lightning_training, trainer, run_score_calibration, run_evaluation):
        monkeypatch.setattr(module, "write_run_page", lambda run, **_: None)


@pytest.fixture
def teachers(data_factory: Any, tmp_path: Path) -> Any:
    lines = ["filename,primary_label,author"]
    for label, pitch_hz in (("owl", 700.0), ("wren", 4000.0)):
        for number in range(4):
            data_factory.tone(f"{label}/XC{1000 + len(lines)}.wav", 1.0, pitch_hz + number, 16_000)
            lines.append(f"{label}/XC{1000 + len(lines)}.wav,{label},recordist {number}")
    (data_factory.root / "recordings.csv").write_text("\n".join(lines) + "\n")
    small = {"n_folds": 2, "clips_per_epoch": 8, "n_epochs": 1, "batch_size": 4, "frontend": FRONTEND, **CLIP}
    return dc.train(data_factory.root, base="smoke", exp_name="teachers", logdir=tmp_path / "logs", **small)


@pytest.fixture
def nights(data_factory_in: Any, tmp_path: Path) -> Path:
    nights = data_factory_in(tmp_path / "nights")
    nights.tone("N0.wav", 3.0, 700.0, 16_000)
    nights.tone("N1.wav", 3.0, 4000.0, 16_000)
    return nights.root


@pytest.mark.stress
def test_a_student_learns_from_folds_and_soundscapes_is_exported_and_names_its_teachers(
    teachers: Any, nights: Path, tmp_path: Path, data_factory_in: Any
) -> None:
    known = data_factory_in(tmp_path / "known")
    known.tone("K0.wav", 2.0, 720.0, 16_000)
    known.tone("K1.wav", 2.0, 4020.0, 16_000)
    (known.root / "annotations.csv").write_text(
        "filename,start_s,end_s,label\nK0.wav,0,2,owl\nK1.wav,0,2,wren\n"
    )
    student = tmp_path / "student.py"
    soft = {"how": "mixup", "primary_label_min_prob": 0.0, "sampling_prob": 1.0}
    values = {
        "base": "smoke",
        "exp_name": "student",
        "logdir": str(tmp_path / "logs"),
        "nn_model_config": {"backbone": "test_resnet.r160_in1k", "frontend": FRONTEND},
        "train_function_args": {
            "n_epochs": 1,
            "clips_per_epoch": 8,
            "train_loader": {"batch_size": 4},
            "train_dataset_config": {**CLIP, "soundscape_pseudo_config": soft},
            "val_dataset_config": CLIP,
        },
    }
    student.write_text(f"CONFIG = {values!r}\n")
    app = typer.Typer()
    app.command()(command)
    arguments = [teachers.path, "--student", student, "--soundscapes", nights, "--labelled", known.root]
    result = CliRunner().invoke(app, list(map(str, arguments)))
    assert result.exit_code == 0, result.output
    run = dc.open_run(tmp_path / "logs" / "student")
    assert run.finished_folds() == [0]
    assert run.card().teachers == ("teachers, folds 0, 1",)
    assert json.loads((run.onnx_file.parent / "bundle.json").read_text())
    assert dc.load_model(run.onnx_file).engine.card.teachers == run.card().teachers
    assert "macro ROC-AUC on labelled soundscapes: student " in result.output
    assert run.folds().equals(teachers.folds())
    own = pd.read_parquet(tmp_path / "logs" / "student_teachers" / "recordings.parquet")
    fold_of = dict(zip(teachers.folds()["filename"], teachers.folds()["fold"], strict=True))
    for name, fold in fold_of.items():
        rows = own[own["row_id"].str.startswith(f"{Path(name).stem}_")]
        assert set(rows["fold"]) == {fold}, "each by the fold that was not trained on it"
    dataset = run.config().train_function_args.train_dataset_config
    assert dataset["out_of_fold_targets"]["alpha"] == 0.7
    assert dataset["soundscape_pseudo_config"]["tables"][0]["table"].endswith("soundscapes.parquet")


def test_soundscapes_that_are_recordings_are_refused(teachers: Any, tmp_path: Path) -> None:
    with pytest.raises(DataError, match="of the soundscapes are labelled recordings too"):
        distill(teachers, "smoke", soundscapes=teachers.data()[0].audio_dir / "owl")


def test_recordings_that_were_learnt_from_score_no_student(teachers: Any) -> None:
    learnt = teachers.data()[0].audio_dir / "owl"
    name = sorted(path.name for path in learnt.iterdir())[0]
    (learnt / "annotations.csv").write_text(f"filename,start_s,end_s,label\n{name},0,1,owl\n")
    with pytest.raises(DataError, match="that rounds are scored on are labelled recordings too"):
        distill(teachers, "smoke", labelled=learnt)


def test_a_student_without_a_backbone_has_that_of_its_teachers(teachers: Any) -> None:
    same = student_config(teachers, whole_config(find_config("student_same")))
    assert same.nn_model_config["backbone"] == "test_resnet.r160_in1k"
    fast = student_config(teachers, whole_config(find_config("student_fast")))
    assert fast.nn_model_config["backbone"].startswith("mobilenetv4")
    assert fast.labels == ("owl", "wren")
