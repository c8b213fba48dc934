"""Probes: heads on frozen embeddings, saved, opened, predicted with, resumed and refused."""

from __future__ import annotations

import json
import shutil
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest
import soundfile

import dawnchorus as dc
from dawnchorus.cli import main
from dawnchorus.engines import open_engine
from dawnchorus.engines.probe_engine import ProbeEngine
from dawnchorus.errors import ConfigError, DataError, ModelError, OverwriteError
from dawnchorus.export.onnx import write_onnx
from dawnchorus.models.probe_head import HEAD_NAME, PROBE_NAME
from dawnchorus.models.score_calibration import SCORE_CALIBRATION_NAME
from dawnchorus.pipelines.probe_heads import Examples, fit_head
from dawnchorus.pipelines.probing import open_probe

SPECIES = {"owl": 500.0, "wren": 3000.0}


@pytest.fixture
def recordings(data_factory: Any) -> Path:
    """Twelve recordings of 3 s of two species by three recordists, with a table."""
    lines = ["filename,primary_label,author"]
    for label, pitch in SPECIES.items():
        for number in range(6):
            name = f"{label}{number}.wav"
            data_factory.tone(f"birds/{name}", 3.0, pitch + 20 * number, sample_rate=16_000)
            lines.append(f"{name},{label},{['Ada', 'Bea', 'Cleo'][number % 3]}")
    folder: Path = data_factory.root / "birds"
    (folder / "recordings.csv").write_text("\n".join(lines) + "\n")
    return folder


@pytest.fixture
def embedder(exported: Any, tmp_path: Path) -> Path:
    """A copy of an exported network of clips of 2 s at 16 kHz."""
    return Path(shutil.copytree(exported.onnx.parent, tmp_path / "embedder"))


@pytest.fixture
def options(tmp_path: Path) -> dict[str, Any]:
    return {"out": tmp_path / "owls", "cache": tmp_path / "cache", "n_folds": 3, "n_threads": 1}


@pytest.mark.parametrize("head", ["linear", "prototype", "attention"])
def test_each_head_tells_the_species_apart_out_of_fold_and_new_sounds(
    head: Any, embedder: Path, recordings: Path, options: dict[str, Any], data_factory: Any
) -> None:
    made = dc.probe(embedder, recordings, head=head, **options)
    assert made.card.score["macro ROC-AUC"] > 0.9
    assert made.calibration is not None
    new = {
        label: data_factory.tone(f"new/{label}.wav", 3.0, SPECIES[label] + 50, 16_000) for label in SPECIES
    }
    model = made.model(n_threads=1)
    for label, path in new.items():
        assert model.predict(path).to_frame().max().idxmax() == label


def test_a_probe_is_a_model_like_any_other(embedder: Path, recordings: Path, options: dict[str, Any]) -> None:
    made = dc.probe(embedder, recordings, **options)
    model = dc.load_model(options["out"], n_threads=1)
    assert isinstance(model.engine, ProbeEngine)
    assert model.labels == ("owl", "wren")
    assert model.is_calibrated
    assert model.engine.thresholds is not None
    assert made.calibration is not None
    assert set(model.engine.thresholds.values) == {np.float32(made.calibration.threshold)}
    path = recordings / "owl0.wav"
    theirs = dc.load_model(embedder, n_threads=1)
    np.testing.assert_array_equal(model.embed(path), theirs.embed(path))
    raw = dc.load_model(options["out"], n_threads=1, calibrated=False).predict(path).to_frame().to_numpy()
    calibrated = model.predict(path).to_frame().to_numpy()
    np.testing.assert_allclose(made.calibration.apply(raw), calibrated, atol=1e-6)
    both = dc.load_model([options["out"], embedder], n_threads=1)
    assert both.labels[:2] == ("owl", "wren")


def test_a_clip_has_the_same_bits_whatever_other_clips_are_predicted_with_it(
    embedder: Path, recordings: Path, options: dict[str, Any], clips: np.ndarray
) -> None:
    dc.probe(embedder, recordings, **options)
    together = open_engine(options["out"], n_threads=1).predict(clips)
    for size in (1, 3):
        engine = open_engine(options["out"], n_threads=1, clips_per_request=size)
        np.testing.assert_allclose(engine.predict(clips[:6]), together[:6], atol=1e-6)
    engine = open_engine(options["out"], n_threads=1)
    alone = np.concatenate([engine.predict(clips[row : row + 1]) for row in range(9)])
    np.testing.assert_array_equal(alone, together[:9])


def test_the_same_call_does_nothing_and_another_one_is_refused(
    embedder: Path, recordings: Path, options: dict[str, Any]
) -> None:
    dc.probe(embedder, recordings, **options)
    before = (options["out"] / HEAD_NAME).stat().st_mtime_ns
    dc.probe(embedder, recordings, **options)
    assert (options["out"] / HEAD_NAME).stat().st_mtime_ns == before
    with pytest.raises(OverwriteError, match="owls exists"):
        dc.probe(embedder, recordings, head="prototype", **options)
    assert dc.probe(embedder, recordings, head="prototype", force=True, **options).card.head == "prototype"


def test_a_killed_fit_goes_on_with_what_was_embedded(
    embedder: Path, recordings: Path, options: dict[str, Any], monkeypatch: pytest.MonkeyPatch
) -> None:
    undisturbed = dc.probe(embedder, recordings, **{**options, "out": options["out"].with_name("other")})
    shutil.rmtree(options["cache"])
    with monkeypatch.context() as patch:
        patch.setattr("dawnchorus.pipelines.probing.fit_head", _killed)
        with pytest.raises(KeyboardInterrupt):
            dc.probe(embedder, recordings, **options)
    assert not options["out"].exists()
    kept = sorted(options["cache"].rglob("*.npz"))
    assert len(kept) == 12
    kept[0].write_bytes(b"damaged")
    kept[1].unlink()
    made = dc.probe(embedder, recordings, **options)
    assert (made.path / HEAD_NAME).read_bytes() == (undisturbed.path / HEAD_NAME).read_bytes()


def _killed(*_: Any, **__: Any) -> None:
    raise KeyboardInterrupt


def test_unreadable_recordings_are_listed_and_the_others_go_on(
    embedder: Path, recordings: Path, options: dict[str, Any]
) -> None:
    (recordings / "owl5.wav").write_bytes(b"RIFF")
    made = dc.probe(embedder, recordings, **options)
    assert made.card.n_recordings == 11
    assert len(made.left_out) == 1
    assert "owl5.wav" in made.left_out[0]
    shutil.copy(recordings / "owl4.wav", recordings / "owl5.wav")
    assert dc.probe(embedder, recordings, **options).card.n_recordings == 12, "mended, it is fitted again"


@pytest.mark.parametrize("name", [PROBE_NAME, HEAD_NAME])
def test_a_damaged_probe_is_fitted_again_by_force(
    embedder: Path, recordings: Path, options: dict[str, Any], name: str
) -> None:
    whole = (dc.probe(embedder, recordings, **options).path / name).read_bytes()
    (options["out"] / name).write_bytes(whole[:20])
    with pytest.raises(OverwriteError):
        dc.probe(embedder, recordings, **options)
    dc.probe(embedder, recordings, force=True, **options)
    assert (options["out"] / name).read_bytes() == whole


def test_other_sounds_or_recordists_are_another_probe(
    embedder: Path, recordings: Path, options: dict[str, Any]
) -> None:
    dc.probe(embedder, recordings, **options)
    shutil.copy(recordings / "owl4.wav", recordings / "owl5.wav")
    with pytest.raises(OverwriteError):
        dc.probe(embedder, recordings, **options)
    dc.probe(embedder, recordings, force=True, **options)
    table = recordings / "recordings.csv"
    table.write_text(table.read_text().replace("Ada", "Dan", 1))
    with pytest.raises(OverwriteError):
        dc.probe(embedder, recordings, **options)


def test_a_recording_with_two_species_makes_heads_of_one_kind() -> None:
    number = np.arange(6)
    targets = np.float32([[1, 0], [0, 1]] * 3)
    targets[5] = 1
    examples = Examples(np.eye(6, dtype=np.float32), targets, number, number, number, np.ones(6))
    without = examples.of(number < 5)
    assert fit_head("linear", without).head.activation == "sigmoid", "as of all recordings together"


def test_a_probe_has_the_names_that_its_embedder_knows(
    exported: Any, recordings: Path, options: dict[str, Any], tmp_path: Path
) -> None:
    names = {"scientific_name": "Strix aluco", "common_name": "Tawny Owl"}
    card = replace(exported.card, species={exported.card.labels[1]: names})
    write_onnx(exported.models, card, tmp_path / "model.onnx")
    table = recordings / "recordings.csv"
    table.write_text(table.read_text().replace(",owl,", ",Strix_aluco,"))
    assert dc.probe(tmp_path / "model.onnx", recordings, **options).card.species == {"Strix_aluco": names}


def test_windows_have_the_labels_of_the_boxes_that_they_overlap(
    embedder: Path, options: dict[str, Any], data_factory: Any
) -> None:
    lines = ["filename,start_s,end_s,label"]
    for number in range(6):
        first, second = ("owl", "wren") if number % 2 else ("wren", "owl")
        waves = [_tone(data_factory, SPECIES[label]) for label in (first, second)]
        data_factory.write(f"nights/{number}.wav", np.concatenate(waves), 16_000)
        lines += [f"{number}.wav,0,1,{first}", f"{number}.wav,1,2,{first}", f"{number}.wav,2,4,{second}"]
    folder = data_factory.root / "nights"
    (folder / "annotations.csv").write_text("\n".join(lines) + "\n")
    made = dc.probe(embedder, folder, **{**options, "n_folds": 1})
    scores = made.model(n_threads=1, calibrated=False).predict(folder / "1.wav").to_frame()
    assert scores["owl"].tolist()[0] > 0.5 > scores["owl"].tolist()[1]


def _tone(data_factory: Any, pitch_hz: float) -> np.ndarray:
    return np.asarray(soundfile.read(data_factory.tone("half.wav", 2.0, pitch_hz, 16_000))[0])


def test_without_folds_there_is_no_score_and_scores_stay_raw(
    embedder: Path, recordings: Path, options: dict[str, Any]
) -> None:
    made = dc.probe(embedder, recordings, **{**options, "n_folds": 1})
    assert made.card.score == {}
    assert made.calibration is None
    assert not made.model(n_threads=1).is_calibrated
    assert "no out-of-fold score" in made.summary


def test_a_run_is_an_embedder_by_its_export(
    exported: Any, recordings: Path, options: dict[str, Any], tmp_path: Path
) -> None:
    run = Path(shutil.copytree(exported.run, tmp_path / "logdirs" / "run"))
    made = dc.probe(run, recordings, engine="onnx", **options)
    assert made.card.embedder.path == f"../logdirs/run/{exported.onnx.parent.name}"
    assert made.model(n_threads=1).labels == ("owl", "wren")


def test_wrong_arguments_are_refused(embedder: Path, recordings: Path, options: dict[str, Any]) -> None:
    with pytest.raises(ConfigError, match="head is 'forest'; legal: linear, prototype, attention"):
        dc.probe(embedder, recordings, head="forest", **options)  # type: ignore[arg-type]
    dc.probe(embedder, recordings, **options)
    with pytest.raises(ModelError, match="is a probe; give the embedder"):
        dc.probe(options["out"], recordings, **{**options, "out": options["out"].with_name("other")})
    with pytest.raises(ConfigError, match="leave engine, config and folds out"):
        open_engine(options["out"], "onnx")
    for path in recordings.glob("*.wav"):
        path.write_bytes(b"RIFF")
    with pytest.raises(DataError, match="none of the recordings can be read"):
        dc.probe(embedder, recordings, **{**options, "out": options["out"].with_name("none")})


def _changed(folder: Path, **changes: Any) -> None:
    card = json.loads((folder / PROBE_NAME).read_text())
    card["embedder"].update(changes.pop("embedder", {}))
    (folder / PROBE_NAME).write_text(json.dumps({**card, **changes}))


def test_damaged_and_hostile_folders_are_refused_in_a_sentence(
    embedder: Path, recordings: Path, options: dict[str, Any], tmp_path: Path
) -> None:
    whole = dc.probe(embedder, recordings, **options).path
    (tmp_path / "evil.py").write_text("raise SystemExit('run')")
    n_features = open_probe(whole).card.embedder.n_features
    damages = {
        "a config, which would be run": {"embedder": {"path": "../evil.py"}},
        "a probe itself": {"embedder": {"path": "."}},
        "does not exist": {"embedder": {"path": "../nowhere"}},
        "other weights than the head was fitted to": {"embedder": {"fingerprint": "onnx 0"}},
        "shift has float32 of shape": {"embedder": {"n_features": n_features + 1}},
        "weight has float32 of shape": {"labels": ["owl", "wren", "robin"]},
        "a label stands twice": {"labels": ["owl", "owl"]},
        "more": {"more": 1},
        "legal for the head attention": {"head": "attention"},
    }
    for message, changes in damages.items():
        folder = Path(shutil.copytree(whole, tmp_path / "damaged"))
        _changed(folder, **changes)
        with pytest.raises(ModelError, match=message):
            open_engine(folder, n_threads=1)
        shutil.rmtree(folder)
    for content in (b"", b"PK\x03\x04", (whole / HEAD_NAME).read_bytes()[:200]):
        folder = Path(shutil.copytree(whole, tmp_path / "damaged"))
        (folder / HEAD_NAME).write_bytes(content)
        with pytest.raises(ModelError, match=r"head\.npz is damaged.*fit it again"):
            open_engine(folder, n_threads=1)
        shutil.rmtree(folder)


def test_heads_with_numbers_that_are_none_are_refused(
    embedder: Path, recordings: Path, options: dict[str, Any]
) -> None:
    folder = dc.probe(embedder, recordings, **options).path
    with np.load(folder / HEAD_NAME) as kept:
        arrays = dict(kept)
    for name, value, message in (("weight", np.nan, "finite float32"), ("scale", 0.0, "not above 0")):
        spoilt = arrays[name].copy()
        spoilt.flat[0] = value
        np.savez(folder / HEAD_NAME, **{**arrays, name: spoilt})
        with pytest.raises(ModelError, match=message):
            open_engine(folder, n_threads=1)


def test_a_calibration_of_another_head_is_not_used(
    embedder: Path, recordings: Path, options: dict[str, Any], caplog: pytest.LogCaptureFixture
) -> None:
    folder = dc.probe(embedder, recordings, **options).path
    kept = (folder / SCORE_CALIBRATION_NAME).read_text()
    dc.probe(embedder, recordings, head="prototype", force=True, **options)
    (folder / SCORE_CALIBRATION_NAME).write_text(kept)
    assert not dc.load_model(folder, n_threads=1).is_calibrated
    assert "of other weights" in caplog.text


def test_a_folder_is_moved_with_its_embedder(
    embedder: Path, recordings: Path, options: dict[str, Any], tmp_path: Path
) -> None:
    options["out"] = tmp_path / "models" / "owls"
    moved = Path(shutil.move(embedder, tmp_path / "models" / "net"))
    made = dc.probe(moved, recordings, **options)
    before = made.model(n_threads=1).predict(recordings / "owl0.wav").to_frame()
    shutil.move(tmp_path / "models", tmp_path / "elsewhere")
    after = dc.load_model(tmp_path / "elsewhere" / "owls", n_threads=1).predict(recordings / "owl0.wav")
    pd.testing.assert_frame_equal(before, after.to_frame())


def test_the_command_says_score_licence_and_what_was_left_out(
    embedder: Path, recordings: Path, options: dict[str, Any], capsys: pytest.CaptureFixture[str]
) -> None:
    (recordings / "owl5.wav").write_bytes(b"RIFF")
    given = ["--out", str(options["out"]), "--cache", str(options["cache"]), "--n-folds", "3"]
    with pytest.raises(SystemExit) as ended:
        main(["probe", str(embedder), str(recordings), *given, "--head", "prototype", "--threads", "1"])
    assert ended.value.code == 2
    said = capsys.readouterr()
    assert "prototype head on" in said.out
    assert "macro ROC-AUC" in said.out
    assert "1 recordings were left out" in said.err
    with pytest.raises(SystemExit) as ended:
        main(["probe", str(embedder), str(recordings), "--out", "x", "--head", "forest"])
    assert ended.value.code == 64
