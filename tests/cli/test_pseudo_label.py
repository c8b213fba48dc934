"""``dawnchorus pseudo-label`` as a person uses it."""

from __future__ import annotations

import ast
import json
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest
import torch
import typer
from click.testing import Result
from typer.testing import CliRunner

from dawnchorus.cli.pseudo_labels import pseudo_label
from dawnchorus.config import validate
from dawnchorus.datasets.clip_settings import ClipSettings
from dawnchorus.datasets.pseudo_clips import PseudoClips
from dawnchorus.datasets.self_training_settings import PseudoLabelSettings
from dawnchorus.engines import open_engine
from dawnchorus.errors import DawnchorusError, ModelError, RunError
from dawnchorus.features.logmel import FrontendSettings
from dawnchorus.models.card import ModelCard
from dawnchorus.models.checkpoint_file import write_checkpoint
from dawnchorus.predict.birds_inference import BirdsInference
from dawnchorus.recordings.labels import LabelMap
from dawnchorus.runs import Run, build_model

LABELS = ("robin", "wren", "owl")


def untrained_run(path: Path, folds: tuple[int, ...], *, seed: int = 0, segment_len: float = 5.0) -> Path:
    """Write a run whose folds have random weights, each its own."""
    config = {"backbone": "test_resnet.r160_in1k"}
    model_class = "dawnchorus.models.wave_cnn:WaveCNNAttenClassifier"
    frontend = vars(FrontendSettings())
    card = ModelCard(path.name, model_class, config, LABELS, frontend, 32_000, segment_len, True)
    run = Run(path)
    path.mkdir()
    run.card_file.write_text(card.to_json())
    for fold in folds:
        torch.manual_seed(10 * seed + fold)
        weights = build_model(card).state_dict()
        weights["head.fix_scale.weight"] *= 30  # so that probabilities differ
        run.checkpoints_dir(fold).mkdir(parents=True)
        write_checkpoint(run.checkpoints_dir(fold) / "best.safetensors", weights)
        run.finished_file(fold).write_text(json.dumps({"best_checkpoint": "best.safetensors"}))
    return path


@pytest.fixture(scope="module")
def runs(tmp_path_factory: pytest.TempPathFactory) -> Path:
    root = tmp_path_factory.mktemp("logdirs")
    untrained_run(root / "a", (0, 1))
    untrained_run(root / "b", (0, 1), seed=1)
    untrained_run(root / "single", (1,))
    return root


@pytest.fixture(scope="module")
def nights(tmp_path_factory: pytest.TempPathFactory, data_factory_in: Any) -> Path:
    factory = data_factory_in(tmp_path_factory.mktemp("nights"))
    for number in range(4):
        factory.tone(f"site_{number % 2}/N{number}.wav", 10.0, 800.0 + 400 * number, noise=0.1 * number)
    return factory.root


def dawnchorus(*arguments: str | Path) -> Result:
    app = typer.Typer()
    app.command()(pseudo_label)
    return CliRunner().invoke(app, list(map(str, arguments)))


def error_of(result: Result) -> DawnchorusError:
    assert isinstance(result.exception, DawnchorusError), result.output
    return result.exception


def config_in(printed: str) -> PseudoLabelSettings:
    """Return the settings that the printed lines of config make."""
    _, _, lines = printed.partition("train_dataset_config:\n")
    values = ast.literal_eval("{" + lines.partition("\n    },")[0] + "}}")
    assert list(values) == ["soundscape_pseudo_config"]
    return validate(PseudoLabelSettings, values["soundscape_pseudo_config"], where="test")


def test_two_runs_are_weighted(runs: Path, nights: Path, tmp_path: Path) -> None:
    out = tmp_path / "pseudo.csv"
    options = ["--add", f"{runs / 'b'}=1", "--weight", "3", "--batch-size", "4", "--threads", "1"]
    result = dawnchorus(runs / "a", nights, "--out", out, *options)
    assert result.exit_code == 0, result.output
    table = pd.read_csv(out)
    assert table["row_id"].tolist() == ["N0_5", "N0_10", "N2_5", "N2_10", "N1_5", "N1_10", "N3_5", "N3_10"]
    for name in ("N0", "N1", "N2", "N3"):
        path = next(nights.rglob(f"{name}.wav"))
        first, second = (
            BirdsInference(open_engine(runs / run, "torch")).predict_recording(path).probabilities
            for run in ("a", "b")
        )
        rows = table["row_id"].str.startswith(name)
        np.testing.assert_allclose(table.loc[rows, list(LABELS)], (3 * first + second) / 4, atol=1e-5)
    n_sure = table.loc[table["primary_label_prob"] > 0.5, "primary_label"].nunique()
    assert f"8 rows of 4 soundscapes; {n_sure} of 3 classes have rows above 0.5" in result.output
    assert f"table: {out}" in result.output
    assert f"report: {tmp_path / 'pseudo.html'}" in result.output
    assert (tmp_path / "pseudo.html").is_file()
    assert sorted(path.name for path in tmp_path.iterdir()) == ["pseudo.csv", "pseudo.html", "pseudo_work"]


def test_the_printed_config_reads_the_table(runs: Path, nights: Path, tmp_path: Path) -> None:
    out = tmp_path / "pseudo.parquet"
    result = dawnchorus(runs / "a", nights, "--out", out, "--out-of-fold", "--batch-size", "4")
    assert result.exit_code == 0, result.output
    settings = config_in(result.output)
    assert settings.out_of_fold
    table = pd.read_parquet(out)
    folds = {
        row_id.partition("_")[0]: fold for row_id, fold in zip(table["row_id"], table["fold"], strict=True)
    }
    assert folds["N0"] == folds["N2"] != folds["N1"] == folds["N3"], "a site goes to one fold"
    assert set(folds.values()) == {0, 1}
    settings = settings.model_copy(update={"primary_label_min_prob": 0.0})
    for fold in (0, 1):
        read = PseudoClips(settings, LabelMap(LABELS), ClipSettings(), use_h5py=True, fold=fold)
        names = {Path(path).stem for path in read.audio_paths}
        assert names == {name for name, other in folds.items() if other != fold}


def test_a_second_call_predicts_nothing_and_a_bad_file_is_listed(
    runs: Path, nights: Path, tmp_path: Path, data_factory: Any
) -> None:
    good = data_factory.tone("good.wav", 5.0)
    bad = data_factory.root / "bad.wav"
    bad.write_bytes(b"not audio")
    out = tmp_path / "pseudo.parquet"
    first = dawnchorus(runs / "single", data_factory.root, "--out", out)
    assert first.exit_code == 2, first.output
    failed = tmp_path / "pseudo_work" / "failures.csv"
    assert f"1 soundscapes failed; the reasons are in {failed}" in first.output
    assert pd.read_csv(failed)["path"].tolist() == [str(bad)]
    content = out.read_bytes()
    again = dawnchorus(runs / "single", good, bad, "--out", out)
    assert again.exit_code == 2
    assert "1 soundscapes were predicted before" in again.output
    assert out.read_bytes() == content


def test_row_lengths_other_than_five_seconds_are_told_to_training(tmp_path: Path, nights: Path) -> None:
    run = untrained_run(tmp_path / "short", (0,), segment_len=2.5)
    result = dawnchorus(run, nights / "site_0", "--out", tmp_path / "pseudo.parquet", "--smooth")
    assert result.exit_code == 0, result.output
    settings = config_in(result.output)
    assert settings.row_s == 2.5
    settings = settings.model_copy(update={"primary_label_min_prob": 0.0})
    clip = ClipSettings(segment_len=2.5)
    assert len(PseudoClips(settings, LabelMap(LABELS), clip, use_h5py=True, fold=0)) == 8


@pytest.mark.parametrize(
    ("arguments", "kind", "message"),
    [
        (["a", "--add", "b=much"], ModelError, "'much' is no weight; write MODEL=WEIGHT"),
        (["single", "--out-of-fold"], RunError, "needs the models of two folds or more, and 1 is finished"),
        (
            ["a", "--out-of-fold", "--add", "single=1"],
            RunError,
            r"a has finished the folds \[0, 1\] and .*\[1\]",
        ),
        (
            ["a", "--out-of-fold", "--engine", "onnx"],
            RunError,
            "the engine is onnx, but out of fold each fold",
        ),
        (["bundle", "--out-of-fold"], RunError, "bundle is no run, but out of fold each fold predicts alone"),
        (["bundle"], RunError, "bundle does not exist|bundle is no model"),
    ],
)
def test_a_mistake_is_told_in_a_sentence_and_leaves_nothing(
    runs: Path,
    nights: Path,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    arguments: list[str],
    kind: type[DawnchorusError],
    message: str,
) -> None:
    monkeypatch.chdir(runs)
    model, *options = arguments
    error = error_of(dawnchorus(model, nights, "--out", tmp_path / "pseudo.parquet", *options))
    with pytest.raises(kind, match=message):
        raise error
    assert list(tmp_path.iterdir()) == []
