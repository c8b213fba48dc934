"""Recordings of any length, window by window, against windows that are sliced from the whole."""

from __future__ import annotations

import json
import struct
import subprocess
import sys
import threading
import time
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from dawnchorus.audio.decode import count_samples, load_audio, stream_audio
from dawnchorus.audio.store_layout import StoreSettings
from dawnchorus.audio.store_writing import write_store
from dawnchorus.engines import open_engine
from dawnchorus.errors import AudioError, ConfigError
from dawnchorus.files import Failure, FileVersion
from dawnchorus.models.card import ModelCard
from dawnchorus.predict.birds_inference import BirdsInference
from dawnchorus.predict.window_predictions import WindowPredictions

RATE = 16_000
WINDOW = 2 * RATE


def sliced(
    path: Path, card: ModelCard, step: int, shift: int | None = None
) -> tuple[list[tuple[int, int]], np.ndarray]:
    """Return first and last sample of each window, and its clip, cut from the whole recording."""
    wave = load_audio(path, sample_rate=card.sample_rate)
    starts = {0}
    while max(starts) + card.n_segment < len(wave):
        starts.add(max(starts) + step)
    if len(starts) > 1 and len(wave) - max(starts) < 0.01 * card.sample_rate:
        starts.remove(max(starts))
    for start in list(starts) if shift else []:
        starts |= {
            beside for beside in (start - shift, start + shift) if 0 <= beside <= len(wave) - card.n_segment
        }
    n_after = card.n_samples - card.n_look_back - card.n_segment
    around = np.pad(wave, (card.n_look_back, n_after))
    clips = []
    for start in sorted(starts):
        clip = around[start : start + card.n_samples]
        n_missing = card.n_samples - len(clip)
        clip = np.pad(clip, (n_missing, 0) if card.n_samples == card.n_segment else (0, n_missing))
        clips.append(clip / max(np.abs(clip).max(), 1e-30) if card.late_normalize else clip)
    bounds = [(start, min(start + card.n_segment, len(wave))) for start in sorted(starts)]
    return bounds, np.stack(clips).astype(np.float32)


def assert_windows(
    found: WindowPredictions, path: Path, engine: Any, step: int = WINDOW, shift: int | None = None
) -> None:
    bounds, clips = sliced(path, engine.card, step, shift)
    assert list(zip(found.starts.tolist(), found.stops.tolist(), strict=True)) == bounds
    assert found.starts.dtype == found.stops.dtype == np.int64
    assert found.probabilities.dtype == np.float32
    np.testing.assert_array_equal(found.probabilities, engine.predict(clips))
    assert found.sample_rate == engine.card.sample_rate


def assert_same(found: WindowPredictions, expected: WindowPredictions) -> None:
    for name in ("starts", "stops", "probabilities"):
        np.testing.assert_array_equal(getattr(found, name), getattr(expected, name))


@pytest.fixture
def recordings(data_factory: Any) -> list[Path]:
    """Seven recordings of many lengths: two end with a window, one 2 samples behind it, one is shorter."""
    lengths_s = [7.3, 4.0, 0.5, 2.0, 11.99, 30.1, 2.0001]
    suffixes = ["wav", "flac", "ogg", "wav", "mp3", "flac", "wav"]
    return [
        data_factory.tone(f"{k}.{suffix}", length_s, 700 + 90 * k, sample_rate=RATE)
        for k, (length_s, suffix) in enumerate(zip(lengths_s, suffixes, strict=True))
    ]


# Windows ------------------------------------------------------------------------------------------


@pytest.mark.parametrize("kind", ["onnx", "fp16"])
def test_windows_are_those_of_the_whole_recording(exported: Any, recordings: list[Path], kind: str) -> None:
    engine = open_engine(getattr(exported, kind), clips_per_request=3, n_threads=1)
    for path in (recordings[0], recordings[2], recordings[4]):
        assert_windows(BirdsInference(engine).predict_recording(path), path, engine)


@pytest.mark.parametrize("overlap_s", [0.0, 0.5, 1.25, 1.9])
def test_windows_overlap_as_asked_for(card: Any, stub: Any, recordings: list[Path], overlap_s: float) -> None:
    engine = stub(card())
    step = round((2 - overlap_s) * RATE)
    for path in recordings[:5]:
        found = BirdsInference(engine, overlap_s=overlap_s).predict_recording(path)
        assert_windows(found, path, engine, step)


@pytest.mark.parametrize(("overlap_s", "shift_s"), [(0.0, 0.5), (0.0, 1.9), (1.0, 0.3), (1.0, 1.0)])
def test_windows_beside_are_predicted_for_shifts(
    card: Any, stub: Any, recordings: list[Path], overlap_s: float, shift_s: float
) -> None:
    engine = stub(card())
    inference = BirdsInference(engine, overlap_s=overlap_s, shift_s=shift_s)
    for path in recordings:
        found = inference.predict_recording(path)
        assert_windows(found, path, engine, round((2 - overlap_s) * RATE), round(shift_s * RATE))


@pytest.mark.parametrize("late_normalize", [True, False])
@pytest.mark.parametrize(("look_back_s", "look_ahead_s"), [(1.5, 0.0), (0.0, 0.7), (3.0, 1.25)])
@pytest.mark.parametrize("overlap_s", [0.0, 1.0])
def test_a_model_hears_what_lies_around_its_window(
    card: Any,
    stub: Any,
    recordings: list[Path],
    look_back_s: float,
    look_ahead_s: float,
    overlap_s: float,
    late_normalize: bool,
) -> None:
    wide = card(look_back_s=look_back_s, look_ahead_s=look_ahead_s, late_normalize=late_normalize)
    engine = stub(wide)
    inference = BirdsInference(engine, overlap_s=overlap_s)
    for path in recordings[:5]:
        assert_windows(inference.predict_recording(path), path, engine, round((2 - overlap_s) * RATE))


def test_a_recording_at_another_rate_is_resampled(card: Any, stub: Any, data_factory: Any) -> None:
    engine = stub(card())
    path = data_factory.tone("a.flac", 9.7, 1500, sample_rate=44_100, n_channels=2)
    assert_windows(BirdsInference(engine).predict_recording(path), path, engine)


def test_a_store_is_predicted_like_its_recording(
    card: Any, stub: Any, recordings: list[Path], tmp_path: Path
) -> None:
    path, stored = recordings[5], tmp_path / "stores" / "5.flac.hdf5"
    stored.parent.mkdir()
    write_store(
        stored,
        stream_audio(path, sample_rate=RATE),
        StoreSettings(sample_rate=RATE),
        n_samples=count_samples(path, sample_rate=RATE),
        source=FileVersion.of(path),
    )
    inference = BirdsInference(stub(card()))
    found, expected = inference.predict_recording(stored), inference.predict_recording(path)
    np.testing.assert_array_equal(found.starts, expected.starts)
    np.testing.assert_allclose(found.probabilities, expected.probabilities, atol=1e-3)


def test_embeddings_come_where_they_are_asked_for(card: Any, stub: Any, recordings: list[Path]) -> None:
    engine = stub(card())
    inference = BirdsInference(engine, with_embeddings=True)
    for path in recordings:
        _, clips = sliced(path, engine.card, WINDOW)
        found = inference.predict_recording(path).embeddings
        assert found is not None
        np.testing.assert_array_equal(found, engine.outputs(clips).embeddings)
    assert BirdsInference(engine).predict_recording(recordings[0]).embeddings is None


# Many recordings ----------------------------------------------------------------------------------


@pytest.mark.parametrize("kind", ["onnx", "fp16"])
def test_many_recordings_in_one_go_give_the_bits_of_each_alone(
    exported: Any, recordings: list[Path], kind: str
) -> None:
    inference = BirdsInference(open_engine(getattr(exported, kind), clips_per_request=4, n_threads=2))
    together = list(inference.predict_recordings(recordings))
    assert [path for path, _ in together] == recordings
    for path, outcome in together:
        assert_same(outcome, inference.predict_recording(path))
    for path, outcome in inference.predict_recordings(reversed(recordings)):
        assert_same(outcome, dict(together)[path])


@pytest.mark.parametrize("size", [1, 3, 50])
@pytest.mark.parametrize("n_workers", [1, 2, 7])
def test_threads_and_sizes_of_requests_change_nothing(
    card: Any, stub: Any, recordings: list[Path], n_workers: int, size: int
) -> None:
    expected = [BirdsInference(stub(card())).predict_recording(path) for path in recordings]
    inference = BirdsInference(stub(card(), size), n_workers=n_workers)
    for _ in range(2):
        for (_, found), one in zip(inference.predict_recordings(recordings), expected, strict=True):
            assert_same(found, one)


def test_requests_are_full_across_the_borders_of_recordings(
    card: Any, stub: Any, recordings: list[Path]
) -> None:
    engine = stub(card(), 8)
    n_windows = sum(len(found.starts) for _, found in BirdsInference(engine).predict_recordings(recordings))
    assert engine.n_clips == -(-n_windows // 8) * 8


def test_no_recordings_give_nothing(card: Any, stub: Any) -> None:
    assert list(BirdsInference(stub(card())).predict_recordings([])) == []


@pytest.mark.parametrize("size", [1, 3, 50])
def test_faulty_recordings_are_reported_and_the_others_are_complete(
    card: Any, stub: Any, recordings: list[Path], data_factory: Any, size: int
) -> None:
    cut_off = data_factory.tone("cut_off.flac", 60, sample_rate=RATE)
    cut_off.write_bytes(cut_off.read_bytes()[: cut_off.stat().st_size * 2 // 3])
    empty = data_factory.root / "empty.wav"
    empty.touch()
    nonsense = data_factory.root / "nonsense.ogg"
    nonsense.write_bytes(b"nonsense")
    faulty = {cut_off, empty, nonsense, data_factory.root / "gone.wav"}
    order = [empty, *recordings[:2], cut_off, *recordings[2:5], nonsense, data_factory.root / "gone.wav"]
    order += [*recordings[5:], empty, cut_off]
    inference = BirdsInference(stub(card(), size))
    found = list(inference.predict_recordings(order))
    assert [path for path, _ in found] == order
    for path, outcome in found:
        if path in faulty:
            assert isinstance(outcome, Failure)
            assert outcome.path == path
            assert path.name in outcome.reason
        else:
            assert_windows(outcome, path, inference.engine)
    for path in faulty:
        with pytest.raises(AudioError, match=path.name):
            inference.predict_recording(path)
    assert [type(one) for _, one in inference.predict_recordings(list(faulty))] == [Failure] * 4


def test_a_disk_that_fails_is_a_failure_of_its_recording(
    card: Any, stub: Any, recordings: list[Path], monkeypatch: pytest.MonkeyPatch
) -> None:
    def failing(path: Path, *, sample_rate: int, **options: Any) -> Any:
        if path == recordings[1]:
            raise OSError(5, "Input/output error")
        return count_samples(path, sample_rate=sample_rate), stream_audio(path, sample_rate=sample_rate)

    monkeypatch.setattr("dawnchorus.audio.sound.stream_recording", failing)
    found = dict(BirdsInference(stub(card())).predict_recordings(recordings[:3]))
    assert found[recordings[1]] == Failure(
        recordings[1], f"{recordings[1]}: cannot be read; Input/output error"
    )
    assert isinstance(found[recordings[2]], WindowPredictions)


def test_a_faulty_engine_is_no_fault_of_a_recording(card: Any, stub: Any, recordings: list[Path]) -> None:
    class Broken(stub):  # type: ignore[misc]
        def prepare(self, waves: np.ndarray) -> Any:
            raise RuntimeError("out of memory")

    with pytest.raises(RuntimeError, match="out of memory"):
        list(BirdsInference(Broken(card())).predict_recordings(recordings))


def test_paths_are_taken_as_they_are_decoded_and_a_stop_ends_all_threads(
    card: Any, stub: Any, recordings: list[Path]
) -> None:
    before = set(threading.enumerate())
    taken = []

    def paths() -> Any:
        for _ in range(10_000):
            taken.append(1)
            yield recordings[3]

    found = BirdsInference(stub(card()), n_workers=2).predict_recordings(paths())
    next(found)
    found.close()  # type: ignore[attr-defined]
    assert set(threading.enumerate()) <= before
    assert len(taken) < 200


@pytest.mark.parametrize(("overlap_s", "shift_s"), [(0.0, None), (1.5, None), (0.0, 0.5), (1.0, 1.0)])
def test_progress_adds_up_to_the_sound(
    card: Any, stub: Any, recordings: list[Path], overlap_s: float, shift_s: float | None
) -> None:
    told: list[float] = []
    inference = BirdsInference(stub(card()), overlap_s=overlap_s, shift_s=shift_s)
    windows = [found for _, found in inference.predict_recordings(recordings, on_progress=told.append)]
    total_s = sum(found.stops.max() / RATE for found in windows)
    # Of overlapping windows, the last one counts as one step.
    assert total_s - len(recordings) * overlap_s - 1e-6 <= sum(told) <= total_s + 1e-6
    assert min(told) >= 0


# Settings -----------------------------------------------------------------------------------------


@pytest.mark.parametrize("overlap_s", [-0.1, 2.0, 5.0, 1.99999, float("nan")])
def test_an_overlap_out_of_range_is_refused(card: Any, stub: Any, overlap_s: float) -> None:
    with pytest.raises(
        ConfigError, match=r"an overlap of \S+ s is not possible; legal: from 0 to below .* of 2 s"
    ):
        BirdsInference(stub(card()), overlap_s=overlap_s)


@pytest.mark.parametrize("shift_s", [-0.5, 0.0, 1e-6, 2.0, 3.0, float("nan"), float("inf")])
def test_a_shift_out_of_range_is_refused(card: Any, stub: Any, shift_s: float) -> None:
    with pytest.raises(
        ConfigError, match=r"a shift of \S+ s is not possible; legal: above 0 and below .* of 2 s"
    ):
        BirdsInference(stub(card()), shift_s=shift_s)


# A day --------------------------------------------------------------------------------------------

DAY = """
import json, resource, runpy, sys
import numpy as np
from pathlib import Path
from dawnchorus.predict.birds_inference import BirdsInference
shared = runpy.run_path(sys.argv[1])

class Quick(shared["StubEngine"]):
    def prepare(self, waves):
        return np.zeros((len(waves), 3), np.float32)

    def stream(self, requests):
        for key, probabilities in requests:
            yield key, shared["Outputs"](probabilities, probabilities)

def peak_mib():
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024

card = shared["_card"](sample_rate=8000, segment_len=5.0, late_normalize=False)
inference = BirdsInference(Quick(card, 16), n_workers=1)
inference.predict_recording(Path(sys.argv[2]))
before = peak_mib()
found = inference.predict_recording(Path(sys.argv[3]))
np.savez(sys.argv[4], starts=found.starts, stops=found.stops, rate=found.sample_rate)
print(json.dumps(peak_mib() - before))
"""


def silence(path: Path, duration_s: int, sample_rate: int) -> Path:
    """Write silence in 8 bits as a file of one hole after its header."""
    n_bytes = duration_s * sample_rate
    form = struct.pack("<4sIHHIIHH", b"fmt ", 16, 1, 1, sample_rate, sample_rate, 1, 8)
    header = (
        struct.pack("<4sI4s", b"RIFF", 36 + n_bytes, b"WAVE") + form + struct.pack("<4sI", b"data", n_bytes)
    )
    with path.open("wb") as file:
        file.write(header)
        file.truncate(len(header) + n_bytes)
    return path


@pytest.mark.skipif(
    sys.platform == "win32", reason="memory is measured otherwise there, and files have no holes"
)
def test_a_day_has_exact_windows_and_takes_no_more_memory_than_a_minute(tmp_path: Path) -> None:
    arguments = [
        Path(__file__).parents[1] / "conftest.py",
        silence(tmp_path / "minute.wav", 180, 8000),
        silence(tmp_path / "day.wav", 24 * 3600, 8000),
        tmp_path / "found.npz",
    ]
    began = time.monotonic()
    done = subprocess.run(
        [sys.executable, "-c", DAY, *map(str, arguments)], capture_output=True, text=True, check=True
    )
    assert time.monotonic() - began < 60
    with np.load(tmp_path / "found.npz") as found:
        assert found["starts"].tolist() == [40_000 * k for k in range(17_280)]
        assert found["stops"].tolist() == [40_000 * (k + 1) for k in range(17_280)]
        np.testing.assert_array_equal(found["starts"] / found["rate"], [5.0 * k for k in range(17_280)])
    assert json.loads(done.stdout) < 64  # MiB; the samples of the day would be 2,600 as float32
