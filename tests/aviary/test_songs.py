"""Songs: their pitch is measured with scipy, apart from the code that makes them."""

from __future__ import annotations

import numpy as np
import pytest
from scipy import signal

from dawnchorus.aviary.aviary_settings import ALL_SPECIES
from dawnchorus.aviary.songs import Song, SongPart, Species, Voice, draw_voice, note_frequency, sing

SAMPLE_RATE = 32000


def strongest_hz(waveform: np.ndarray) -> float:
    """Frequency of the highest peak of the spectrum."""
    frequency_hz, power = signal.periodogram(waveform, SAMPLE_RATE)
    return float(frequency_hz[np.argmax(power)])


def sing_plainly(name: str, *, voice: Voice | None = None, sample_rate: int = SAMPLE_RATE) -> Song:
    species = next(species for species in ALL_SPECIES if species.name == name)
    return sing(species, voice or Voice(), np.random.default_rng(0), sample_rate)


def n_notes(song: Song) -> int:
    """Notes, counted as stretches of the smoothed envelope above a fifth of its maximum."""
    width = round(0.01 * SAMPLE_RATE)
    envelope = np.convolve(np.abs(song.waveform), np.ones(width) / width, mode="same")
    return int(np.sum(np.diff((envelope > 0.2 * envelope.max()).astype(int), prepend=0) == 1))


def test_a_whistle_has_the_pitch_of_its_species_times_that_of_its_voice() -> None:
    assert strongest_hz(sing_plainly("Sibilus_lentus").waveform) == pytest.approx(2600, rel=0.02)
    high = sing_plainly("Sibilus_lentus", voice=Voice(pitch=1.2))
    assert strongest_hz(high.waveform) == pytest.approx(1.2 * 2600, rel=0.02)


@pytest.mark.parametrize(("name", "rises"), [("Ascensor_clarus", True), ("Ruina_stellata", False)])
def test_the_mirrored_sweeps_go_their_own_way_through_the_same_band(name: str, rises: bool) -> None:
    note = sing_plainly(name).waveform[: round(0.4 * SAMPLE_RATE)]
    third = len(note) // 3
    first_hz, last_hz = strongest_hz(note[:third]), strongest_hz(note[-third:])
    assert (first_hz < last_hz) is rises
    assert min(first_hz, last_hz) * 1.2 < max(first_hz, last_hz)


def test_the_fast_trill_has_three_times_the_rate_of_the_slow_one() -> None:
    fast, slow = sing_plainly("Trillator_rapidus"), sing_plainly("Trillator_tardus")
    fast_hz, slow_hz = (n_notes(song) * SAMPLE_RATE / len(song.waveform) for song in (fast, slow))
    assert 2.5 < fast_hz / slow_hz < 4


def test_a_faster_tempo_shortens_a_song() -> None:
    plain, fast = sing_plainly("Undulina_tremens"), sing_plainly("Undulina_tremens", voice=Voice(tempo=1.25))
    assert len(plain.waveform) / len(fast.waveform) == pytest.approx(1.25, rel=0.01)


@pytest.mark.parametrize("species", ALL_SPECIES, ids=lambda species: species.name)
@pytest.mark.parametrize("sample_rate", [22050, 48000])
def test_nearly_all_of_a_song_lies_in_the_band_it_states(species: Species, sample_rate: int) -> None:
    song = sing(species, Voice(pitch=1.2), np.random.default_rng(3), sample_rate)
    frequency_hz, power = signal.periodogram(song.waveform, sample_rate)
    inside = (frequency_hz > song.low_hz / 1.12) & (frequency_hz < song.high_hz * 1.12)
    assert power[inside].sum() > 0.97 * power.sum()
    assert song.high_hz < sample_rate / 2
    assert np.abs(song.waveform).max() <= 1
    assert song.waveform.dtype == np.float32


def test_power_leaves_out_the_silence_between_notes() -> None:
    waveform = np.array([1, -1, 0, 0, 0, 0, 1, -1], dtype=np.float32)
    assert Song(waveform, 1.0, 2.0).power == 1.0


def test_a_contour_is_followed_in_log_frequency() -> None:
    frequency_hz = note_frequency(SongPart((0.5, 2.0), 1.0), 1000, 1.0, 101, SAMPLE_RATE)
    assert frequency_hz[[0, 50, 100]] == pytest.approx([500, 1000, 2000])


def test_voices_stay_within_their_spread_and_differ() -> None:
    rng = np.random.default_rng(1)
    pitches = np.array([draw_voice(rng, pitch_spread=0.2, tempo_spread=0.1).pitch for _ in range(300)])
    assert pitches.min() >= 1 / 1.2
    assert pitches.max() <= 1.2
    assert pitches.std() > 0.08
    assert np.median(pitches) == pytest.approx(1, abs=0.03)


def test_an_individual_in_a_dialect_has_both_factors() -> None:
    assert Voice(1.1, 0.9, 1.0) * Voice(2.0, 2.0, 0.5) == Voice(2.2, 1.8, 0.5)


def test_no_two_songs_of_a_bird_are_quite_alike() -> None:
    rng = np.random.default_rng(5)
    first, second = (sing(ALL_SPECIES[0], Voice(), rng, SAMPLE_RATE).waveform for _ in range(2))
    assert len(first) != len(second) or not np.array_equal(first, second)
