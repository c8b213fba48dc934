"""The soundscapes against their truth, heard with scipy's filters."""

from __future__ import annotations

import numpy as np
import pandas as pd
import pytest
import soundfile
from scipy import signal

from dawnchorus.aviary import Aviary, AviarySettings
from dawnchorus.aviary.aviary_soundscapes import make_soundscape


@pytest.fixture(scope="module")
def truth(small_aviary: Aviary) -> pd.DataFrame:
    return pd.read_csv(small_aviary.annotations_csv)


def test_annotations_have_the_published_columns_and_lie_within_their_files(
    small_aviary: Aviary, truth: pd.DataFrame
) -> None:
    assert list(truth.columns) == ["filename", "start_s", "end_s", "label", "low_hz", "high_hz"]
    on_disk = {path.name for path in small_aviary.soundscapes_dir.iterdir()} - {"annotations.csv"}
    assert set(truth.filename) == on_disk == {"dawn_000.flac", "dawn_001.ogg"}
    for name, rows in truth.groupby("filename"):
        info = soundfile.info(small_aviary.soundscapes_dir / str(name))
        assert info.duration == pytest.approx(30.0, abs=1e-3)
        assert rows.start_s.min() >= 0
        assert rows.end_s.max() <= info.duration
        assert (rows.end_s - rows.start_s).between(0.2, 3.0).all()
        assert (rows.high_hz >= rows.low_hz).all()
        assert rows.high_hz.max() < info.samplerate / 2


def test_songs_are_louder_inside_their_boxes_than_outside(small_aviary: Aviary, truth: pd.DataFrame) -> None:
    gains_db = []
    for name, rows in truth.groupby("filename"):
        waveform, sample_rate = soundfile.read(small_aviary.soundscapes_dir / str(name))
        silent = np.ones(len(waveform), dtype=bool)
        for row in rows.itertuples():
            silent[int(row.start_s * sample_rate) : int(row.end_s * sample_rate)] = False
        for row in rows.itertuples():
            band = (row.low_hz / 1.1, min(row.high_hz * 1.1, 0.49 * sample_rate))
            sos = signal.butter(4, band, "bandpass", fs=sample_rate, output="sos")
            power = np.square(signal.sosfilt(sos, waveform))
            inside = power[int(row.start_s * sample_rate) : int(row.end_s * sample_rate)]
            gains_db.append(10 * np.log10(inside.mean() / power[silent].mean()))
    assert len(gains_db) > 10
    assert np.mean(np.array(gains_db) > 2) > 0.9
    assert np.median(gains_db) > 6


def test_default_soundscapes_hold_several_species_overlaps_and_a_long_silence() -> None:
    settings = AviarySettings()
    rows = make_soundscape(0, settings).annotations
    assert 3 <= rows.label.nunique() <= 6
    edges = np.zeros(round(settings.soundscape_s * 100) + 1, dtype=int)
    for row in rows.itertuples():
        edges[int(row.start_s * 100) : int(row.end_s * 100)] += 1
    assert edges.max() >= 2
    quiet = "".join("1" if n else "0" for n in edges).split("1")
    assert max(map(len, quiet)) >= 100 * 0.2 * settings.soundscape_s - 1


def test_soundscapes_differ_from_one_another() -> None:
    settings = AviarySettings(soundscape_s=10.0)
    first, second = (make_soundscape(index, settings) for index in (0, 2))
    assert first.waveform.shape == second.waveform.shape == (320000, 1)
    assert not np.array_equal(first.waveform, second.waveform)
