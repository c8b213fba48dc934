"""``submit-kaggle`` and ``score`` as a user runs them, with a run of random weights."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest
import soundfile

from dawnchorus.cli import main

ROWS = [f"H1_{end}" for end in (5, 10)]
TRUTH = pd.DataFrame({"row_id": ROWS, "wren": [0, 1], "owl": [1, 0]})


@pytest.fixture(autouse=True)
def _there(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    (tmp_path / "test_soundscapes").mkdir()


def run(*arguments: str) -> int:
    with pytest.raises(SystemExit) as ended:
        main(list(arguments))
    return int(ended.value.code or 0)


@pytest.fixture(scope="module")
def model(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """An OpenVINO bundle of one network of random weights that hears 5 s."""
    import dataclasses

    import torch

    from dawnchorus.export.onnx import write_onnx
    from dawnchorus.export.openvino import read_onnx, write_ir
    from dawnchorus.features.logmel import FrontendSettings
    from dawnchorus.models.card import ModelCard
    from dawnchorus.models.wave_cnn import WaveCNNAttenClassifier

    folder = tmp_path_factory.mktemp("bundle")
    frontend = FrontendSettings(sample_rate=16_000, n_fft=512, hop_length=512, n_mels=64, f_max_hz=8000.0)
    config = {"backbone": "test_resnet.r160_in1k"}
    card = ModelCard(
        exp_name="tiny",
        model_class="dawnchorus.models.wave_cnn:WaveCNNAttenClassifier",
        model_config=config,
        labels=("wren", "robin", "owl"),
        frontend=dataclasses.asdict(frontend),
        sample_rate=16_000,
        segment_len=5.0,
        late_normalize=True,
        folds=(0,),
    )
    torch.manual_seed(0)
    network = WaveCNNAttenClassifier(
        n_classes=3, frontend=dataclasses.asdict(frontend), pretrained=False, **config
    )
    write_onnx([network.eval()], card, folder / "model.onnx")
    write_ir(read_onnx(folder / "model.onnx", card), folder / "model.xml")
    (folder / "model.onnx").unlink()
    return folder


def soundscape(name: str, duration_s: float = 10.0) -> Path:
    path = Path("test_soundscapes") / f"{name}.wav"
    rng = np.random.default_rng(len(name))
    soundfile.write(path, 0.1 * rng.normal(size=round(16_000 * duration_s)), 16_000)
    return path


def test_the_sample_beside_the_soundscapes_is_found(model: Path, capsys: pytest.CaptureFixture[str]) -> None:
    soundscape("H1")
    pd.DataFrame({"row_id": ROWS[::-1], "owl": 0.5, "wren": 0.5}).to_csv("sample_submission.csv", index=False)
    assert run("submit-kaggle", str(model), "test_soundscapes") == 0
    made = pd.read_csv("submission.csv")
    assert made["row_id"].tolist() == ROWS[::-1]
    assert list(made.columns) == ["row_id", "owl", "wren"]
    said = capsys.readouterr().out
    assert said.startswith(
        "submission.csv: 2 rows and 2 classes of 1 predicted soundscapes, in 0.0 min, with 1 network"
    )


def test_a_submission_is_replaced_only_by_force(model: Path, capsys: pytest.CaptureFixture[str]) -> None:
    soundscape("H1")
    Path("submission.csv").write_text("mine", encoding="utf-8")
    assert run("submit-kaggle", str(model), "test_soundscapes") == 1
    assert "submission.csv exists; choose another name, or overwrite it" in capsys.readouterr().err
    assert Path("submission.csv").read_text() == "mine"
    assert run("submit-kaggle", str(model), "test_soundscapes", "--force") == 0


def test_a_broken_soundscape_is_listed_and_the_table_is_whole(
    model: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    soundscape("H1")
    soundscape("H2").write_bytes(b"no sound")
    assert run("submit-kaggle", str(model), "test_soundscapes") == 2
    assert len(pd.read_csv("submission.csv")) == 4
    assert "H2.wav" in Path("submission_failures.csv").read_text()
    assert (
        "rows that hold the mean of the others: 2; their soundscapes could not be read"
        in capsys.readouterr().err
    )


def test_a_list_of_failures_of_somebody_else_stays(model: Path) -> None:
    soundscape("H1")
    Path("failures.csv").write_text("mine", encoding="utf-8")
    assert run("submit-kaggle", str(model), "test_soundscapes") == 0
    assert Path("failures.csv").read_text() == "mine"
    assert not Path("submission_failures.csv").exists()


@pytest.mark.parametrize(
    ("out", "message"),
    [
        ("test_soundscapes", "test_soundscapes is a folder; name a file with --out"),
        ("test_soundscapes/H1.wav/x.csv", "x.csv cannot be written: "),
        ("x.parquet", "x.parquet does not end with .csv, and a submission is a CSV table"),
    ],
)
def test_a_place_that_cannot_be_written_is_told_before_anything_is_predicted(
    out: str, message: str, capsys: pytest.CaptureFixture[str]
) -> None:
    soundscape("H1")
    assert run("submit-kaggle", "no_model", "test_soundscapes", "--force", "--out", out) == 1
    assert message in capsys.readouterr().err


def test_a_public_notebook_without_soundscapes_hands_in_the_sample(
    model: Path, caplog: pytest.LogCaptureFixture
) -> None:
    pd.DataFrame({"row_id": ["s_5"], "wren": [0.25]}).to_csv("sample_submission.csv", index=False)
    assert run("submit-kaggle", str(model), "test_soundscapes") == 0
    assert pd.read_csv("submission.csv").to_dict("list") == {"row_id": ["s_5"], "wren": [0.25]}
    assert "no recordings here or below" in caplog.text
    assert "The sample is handed in as it is" in caplog.text


@pytest.mark.parametrize(
    ("folder", "message"),
    [
        ("nowhere", "nowhere is not a folder; give the folder of the soundscapes"),
        ("test_soundscapes", "no recordings here or below"),
    ],
)
def test_without_soundscapes_or_sample_nothing_is_written(
    model: Path, folder: str, message: str, capsys: pytest.CaptureFixture[str]
) -> None:
    assert run("submit-kaggle", str(model), folder) == 1
    assert message in capsys.readouterr().err
    assert not Path("submission.csv").exists()


def test_a_score_is_told_to_people_and_to_programs(capsys: pytest.CaptureFixture[str]) -> None:
    TRUTH.to_csv("truth.csv", index=False)
    pd.DataFrame({"row_id": ROWS, "wren": [0.2, 0.9], "owl": [0.1, 0.3]}).to_csv("mine.csv", index=False)
    assert run("score", "mine.csv", "truth.csv") == 0
    assert capsys.readouterr().out.startswith("macro ROC-AUC 0.5000 over 2 of 2 classes, 2 rows; padded cmAP")
    assert run("score", "mine.csv", "truth.csv", "--json") == 0
    scored: dict[str, Any] = json.loads(capsys.readouterr().out)
    assert (scored["macro_roc_auc"], scored["n_rows"]) == (0.5, 2)


def test_a_score_says_what_each_rescoring_adds(capsys: pytest.CaptureFixture[str]) -> None:
    TRUTH.to_csv("truth.csv", index=False)
    pd.DataFrame({"row_id": ROWS, "wren": [0.2, 0.9], "owl": [0.1, 0.3]}).to_csv("mine.csv", index=False)
    assert run("score", "mine.csv", "truth.csv", "--rescore", "top-two", "--rescore", "delta=0.2") == 0
    lines = capsys.readouterr().out.splitlines()
    assert [line.partition(":")[0] for line in lines] == ["as it is", "top-two", "delta=0.2", "all"]
    assert lines[1].startswith("top-two: +0.0000; macro ROC-AUC 0.5000 over 2 of 2 classes")
    assert run("score", "mine.csv", "truth.csv", "--rescore", "top-two", "--json") == 0
    assert set(json.loads(capsys.readouterr().out)) == {"as it is", "top-two", "all"}


def test_what_cannot_be_rescored_is_told_before_predicting_and_loses_no_scores_after(
    model: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    soundscape("H1")
    command = ["submit-kaggle", str(model), "test_soundscapes", "--rescore", "genus"]
    assert run(*command) == 1
    told = capsys.readouterr().err
    assert "taxonomy" in told
    assert "submission.csv holds the scores as they were predicted" in told
    assert len(pd.read_csv("submission.csv"))
    Path("submission.csv").rename("sample.csv")
    assert run(*command, "--sample-submission", "sample.csv") == 1
    assert "taxonomy" in capsys.readouterr().err
    assert not Path("submission.csv").exists()


def test_a_submission_is_rescored_and_blended_where_it_is_asked_for(
    model: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    soundscape("H1")
    assert run("submit-kaggle", str(model), "test_soundscapes", "--out", "plain.csv") == 0
    plain = pd.read_csv("plain.csv", index_col="row_id")
    other = plain.sample(frac=1, random_state=0)
    other.to_csv("other.csv")
    options = ["--rescore", "top-two", "--rescore", "power=0.5"]
    assert run("submit-kaggle", str(model), "test_soundscapes", "--out", "changed.csv", *options) == 0
    twice = plain * plain.apply(lambda column: column.nlargest(2).mean())
    expected = twice * twice.max() ** 0.5
    np.testing.assert_allclose(pd.read_csv("changed.csv", index_col="row_id"), expected, rtol=1e-4)
    assert (
        run("submit-kaggle", str(model), "test_soundscapes", "--out", "b.csv", "--blend", "other.csv=0.2")
        == 0
    )
    blended = pd.read_csv("b.csv", index_col="row_id")
    np.testing.assert_allclose(blended, plain.rank(pct=True), rtol=1e-6)
    for given, message in (("other.csv", "names no share"), ("other.csv=1", "names no share")):
        assert run("submit-kaggle", str(model), "test_soundscapes", "--out", "c.csv", "--blend", given) == 1
        assert message in capsys.readouterr().err
