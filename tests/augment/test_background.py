"""Late background noise."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest

from dawnchorus.audio.decode import load_audio
from dawnchorus.audio.precompute import PrecomputeSettings, precompute_recordings
from dawnchorus.audio.windows import normalize_peak
from dawnchorus.augment.background import BackgroundNoise, BackgroundSettings
from dawnchorus.config import validate
from dawnchorus.errors import ConfigError, DataError

N_SAMPLES = 32_000


@pytest.fixture
def noises(data_factory_in: Any, tmp_path: Path) -> Path:
    factory = data_factory_in(tmp_path / "noises")
    factory.tone("rain/a.wav", duration_s=4.0, frequency_hz=500, noise=0.3)
    factory.tone("rain/short.wav", duration_s=0.5, frequency_hz=600)
    factory.tone("dog.flac", duration_s=3.0, frequency_hz=700)
    return factory.root


def background(*kinds: dict[str, Any], late_normalize: bool = True) -> BackgroundNoise:
    settings = tuple(validate(BackgroundSettings, kind, where="test") for kind in kinds)
    return BackgroundNoise(settings, sample_rate=32_000, n_samples=N_SAMPLES, late_normalize=late_normalize)


def bird() -> np.ndarray:
    return np.sin(np.linspace(0, 3000, N_SAMPLES)).astype(np.float32) * np.float32(0.3)


def table(noises: Path, text: str) -> Path:
    path = noises.parent / "table.csv"
    path.write_text(text)
    return path


def test_a_mix_is_the_announced_share_of_both_at_peak_one(noises: Path) -> None:
    noise = background({"folder": noises, "probability": 1.0})
    for seed in range(10):
        drawn = noise.draw(np.random.default_rng(seed))
        assert drawn is not None
        source = noise.chunks[0][drawn.chunk].source
        crop = load_audio(source.path)[drawn.start : drawn.start + N_SAMPLES]
        crop = np.tile(crop, -(-N_SAMPLES // len(crop)))[:N_SAMPLES]
        expected = (1 - drawn.share) * normalize_peak(bird()) + drawn.share * normalize_peak(crop)
        mixed = normalize_peak(noise.apply(bird(), drawn))
        np.testing.assert_allclose(mixed, normalize_peak(expected), atol=2e-6)
        assert 0.25 <= drawn.share <= 0.75


def test_what_was_drawn_can_be_applied_again(noises: Path) -> None:
    noise = background({"folder": noises, "probability": 1.0})
    drawn = noise.draw(np.random.default_rng(3))
    assert drawn is not None
    np.testing.assert_array_equal(noise.apply(bird(), drawn), noise.apply(bird(), drawn))


def test_without_late_normalisation_the_clip_keeps_its_level(noises: Path) -> None:
    noise = background({"folder": noises, "min_share": 0.5, "max_share": 0.5}, late_normalize=False)
    drawn = noise.draw_of(0, np.random.default_rng(1))
    mixed = noise.apply(bird(), drawn)
    alone = noise.apply(np.zeros(N_SAMPLES, np.float32), drawn)
    np.testing.assert_allclose(mixed - alone, 0.5 * bird(), atol=1e-6)
    assert np.abs(alone).max() == pytest.approx(0.5)


def test_kinds_are_drawn_as_often_as_announced(noises: Path) -> None:
    kinds = ({"folder": noises / "rain", "probability": 0.5}, {"folder": noises, "probability": 0.5})
    noise = background(*kinds)
    rng = np.random.default_rng(0)
    drawn = [noise.draw(rng) for _ in range(4000)]
    kinds_drawn = [None if draw is None else draw.kind for draw in drawn]
    assert kinds_drawn.count(None) / 4000 == pytest.approx(0.25, abs=0.03)
    assert kinds_drawn.count(0) / 4000 == pytest.approx(0.375, abs=0.03)


def test_no_kinds_draw_nothing() -> None:
    assert background().draw(np.random.default_rng(0)) is None


def test_a_table_chooses_files_chunks_and_labels(noises: Path) -> None:
    rows = "filename,category,start_s,end_s\nrain/a.wav,rain,1,2\nrain/a.wav,rain,2.5,4\ndog.flac,dog,0,3\n"
    noise = background({"folder": noises, "table": table(noises, rows), "labels": ["rain"]})
    chunks = [(chunk.source.path.name, chunk.start, chunk.stop) for chunk in noise.chunks[0]]
    assert chunks == [("a.wav", 32_000, 64_000), ("a.wav", 80_000, 128_000)]
    rng = np.random.default_rng(0)
    for _ in range(50):
        drawn = noise.draw_of(0, rng)
        _, start, stop = noise.chunks[0][drawn.chunk]
        assert start <= drawn.start <= max(stop - N_SAMPLES, start)


def test_a_chunk_shorter_than_the_clip_is_repeated_and_nothing_beyond_it_is_heard(noises: Path) -> None:
    rows = "filename,start_s,end_s\nrain/a.wav,1,1.5\n"
    noise = background(
        {"folder": noises, "table": table(noises, rows), "min_share": 1, "max_share": 1}, late_normalize=False
    )
    heard = noise.apply(bird(), noise.draw_of(0, np.random.default_rng(0)))
    chunk = normalize_peak(load_audio(noises / "rain" / "a.wav")[32_000:48_000])
    np.testing.assert_allclose(heard, np.concatenate([chunk, chunk]), atol=1e-5)


def test_stored_noise_is_the_same_noise(noises: Path, tmp_path: Path) -> None:
    precompute_recordings(noises, tmp_path / "features", PrecomputeSettings())
    raw = background({"folder": noises})
    stored = background({"folder": noises, "features_dir": tmp_path / "features"})
    assert {chunk.source.kind for chunk in stored.chunks[0]} == {"hdf5"}
    drawn = raw.draw_of(0, np.random.default_rng(2))
    np.testing.assert_allclose(stored.apply(bird(), drawn), raw.apply(bird(), drawn), atol=1e-4)


@pytest.mark.parametrize(
    ("rows", "message"),
    [
        ("filename\ncat.wav\n", "names cat.wav not found in"),
        ("filename,start_s,end_s\ndog.flac,2,1\n", "start_s and end_s in line 2 are no stretch of time"),
        (
            "filename,start_s,end_s\ndog.flac,4,5\n",
            r"the chunk of dog\.flac from 4 s begins past its end at 3\.00 s",
        ),
    ],
)
def test_a_faulty_table_is_told_in_a_sentence(noises: Path, rows: str, message: str) -> None:
    with pytest.raises(DataError, match=message):
        background({"folder": noises, "table": table(noises, rows)})


def test_labels_that_the_table_lacks_are_named(noises: Path) -> None:
    path = table(noises, "filename,category\ndog.flac,dog\n")
    with pytest.raises(DataError, match="has no row of rain; its category is one of dog"):
        background({"folder": noises, "table": path, "labels": ["rain", "dog"]})
    path.write_text("filename\ndog.flac\n")
    with pytest.raises(DataError, match="has no column primary_label or label or category"):
        background({"folder": noises, "table": path, "labels": ["dog"]})


def test_noise_that_cannot_be_read_is_named(noises: Path) -> None:
    (noises / "dog.flac").write_bytes(b"fLaC")
    with pytest.raises(DataError, match=r"background noise cannot be read: .*dog\.flac"):
        background({"folder": noises})


@pytest.mark.parametrize(
    ("values", "message"),
    [
        ({"min_share": 0.8, "max_share": 0.2}, "min_share is 0.8, above max_share, 0.2"),
        ({"labels": ["rain"]}, "labels choose rows of a table; name the table too"),
    ],
)
def test_contradicting_settings_are_refused(values: dict[str, Any], message: str) -> None:
    with pytest.raises(ConfigError, match=message):
        background({"folder": "x", **values})
