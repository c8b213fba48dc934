"""Mixing at known levels, and gear."""

from __future__ import annotations

import numpy as np
import pytest
from scipy import signal

from dawnchorus.aviary.aviary_settings import ALL_SPECIES
from dawnchorus.aviary.noise import white
from dawnchorus.aviary.scene import (
    HALF_BAND,
    BandPower,
    Gear,
    PlacedSong,
    draw_gear,
    mix_scene,
    record,
    sing_along,
)
from dawnchorus.aviary.songs import Song, Voice

SAMPLE_RATE = 32000
PLAIN = Gear(tilt_db=0.0, low_cut_hz=1.0, hiss_db=-120.0, peak=0.5)


def tone(hz: float, duration_s: float) -> np.ndarray:
    return np.sin(2 * np.pi * hz * np.arange(round(duration_s * SAMPLE_RATE)) / SAMPLE_RATE).astype(
        np.float32
    )


@pytest.mark.parametrize("snr_db", [0.0, 12.0])
def test_a_song_stands_at_its_level_above_the_background_of_its_band(snr_db: float) -> None:
    background = white(np.random.default_rng(0), 5 * SAMPLE_RATE)
    song = Song(tone(3000, 1.0), 3000, 3000)
    scene = mix_scene(background, [PlacedSong("Whistle", song, SAMPLE_RATE, snr_db)], SAMPLE_RATE)
    sos = signal.butter(8, [3000 / HALF_BAND, 3000 * HALF_BAND], "bandpass", fs=SAMPLE_RATE, output="sos")
    noise = signal.sosfilt(sos, background)
    added = scene - background
    ratio = np.mean(np.square(added[SAMPLE_RATE : 2 * SAMPLE_RATE])) / np.mean(np.square(noise))
    assert 10 * np.log10(ratio) == pytest.approx(snr_db, abs=0.5)
    assert not added[:SAMPLE_RATE].any()
    assert not added[2 * SAMPLE_RATE :].any()


def test_a_song_that_outlasts_the_scene_is_cut() -> None:
    background = white(np.random.default_rng(0), SAMPLE_RATE)
    placed = PlacedSong("Whistle", Song(tone(3000, 2.0), 3000, 3000), SAMPLE_RATE - 100, 10.0)
    assert mix_scene(background, [placed], SAMPLE_RATE).shape == background.shape


def test_band_powers_add_up_to_the_mean_square() -> None:
    waveform = white(np.random.default_rng(0), 10007)
    assert BandPower(waveform, SAMPLE_RATE).between(0, 99999) == pytest.approx(
        np.mean(np.square(waveform)), rel=1e-3
    )


def test_a_bird_sings_on_with_silences_in_their_range() -> None:
    songs = sing_along(
        ALL_SPECIES[0],
        Voice(),
        np.random.default_rng(0),
        span=range(20 * SAMPLE_RATE),
        gap_s=(0.5, 1.5),
        snr_db=10,
        sample_rate=SAMPLE_RATE,
    )
    starts = np.array([placed.start for placed in songs])
    ends = starts + [len(placed.song.waveform) for placed in songs]
    gaps_s = (starts[1:] - ends[:-1]) / SAMPLE_RATE
    assert gaps_s.min() >= 0.499
    assert gaps_s.max() <= 1.501
    assert ends[-1] > 18 * SAMPLE_RATE
    assert all(7 <= placed.snr_db <= 13 for placed in songs)


def test_plain_gear_changes_nothing_but_the_level() -> None:
    scene = tone(2000, 1.0)
    recorded = record(scene, SAMPLE_RATE, PLAIN, np.random.default_rng(0))
    assert recorded.shape == (SAMPLE_RATE, 1)
    assert recorded[:, 0] == pytest.approx(0.5 * scene, abs=1e-3)


def test_gear_tilts_the_spectrum_by_its_decibels_per_octave() -> None:
    gear = Gear(tilt_db=3.0, low_cut_hz=1.0, hiss_db=-120.0, peak=0.9)
    recorded = record(tone(1000, 1.0) + tone(4000, 1.0), SAMPLE_RATE, gear, np.random.default_rng(0))[:, 0]
    power = BandPower(recorded, SAMPLE_RATE)
    gain_db = 10 * np.log10(power.between(3900, 4100) / power.between(900, 1100))
    assert gain_db == pytest.approx(6.0, abs=0.1)


def test_stereo_channels_hold_one_scene_with_a_hiss_each() -> None:
    gear = Gear(tilt_db=0.0, low_cut_hz=50.0, hiss_db=-30.0, peak=0.8)
    left, right = record(tone(2000, 1.0), SAMPLE_RATE, gear, np.random.default_rng(0), n_channels=2).T
    assert np.corrcoef(left, right)[0, 1] > 0.99
    assert not np.allclose(left / left.std(), right / right.std())
    assert max(np.abs(left).max(), np.abs(right).max()) == pytest.approx(0.8, abs=1e-5)


def test_recordists_carry_different_gear() -> None:
    assert len({draw_gear(np.random.default_rng(seed)) for seed in range(5)}) == 5
