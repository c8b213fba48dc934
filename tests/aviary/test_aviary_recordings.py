"""The labelled recordings: their table, their forms and what can be heard in them."""

from __future__ import annotations

from collections import Counter

import numpy as np
import pandas as pd
import pytest
import soundfile
from scipy import signal

from dawnchorus.aviary import Aviary, AviarySettings
from dawnchorus.aviary.aviary_recordings import (
    plan_recordings,
    recordist_dialect,
    recordist_gear,
    recordist_name,
    species_counts,
)


@pytest.fixture(scope="module")
def table(small_aviary: Aviary) -> pd.DataFrame:
    return pd.read_csv(small_aviary.recordings_csv, keep_default_na=False)


def test_the_table_has_one_row_for_every_file(small_aviary: Aviary, table: pd.DataFrame) -> None:
    assert list(table.columns) == ["filename", "primary_label", "secondary_labels", "author"]
    on_disk = {
        path.relative_to(small_aviary.recordings_dir).as_posix()
        for path in small_aviary.recordings_dir.rglob("*.*")
        if path != small_aviary.recordings_csv
    }
    assert set(table.filename) == on_disk
    assert (table.filename.str.split("/").str[0] == table.primary_label).all()


def test_secondary_labels_name_other_species_of_the_aviary(table: pd.DataFrame) -> None:
    several = [labels.split(";") for labels in table.secondary_labels if labels]
    assert 3 < len(several) < 0.5 * len(table)
    for primary, labels in zip(table.primary_label, table.secondary_labels, strict=True):
        others = labels.split(";") if labels else []
        assert primary not in others
        assert set(others) <= set(table.primary_label)


def test_all_formats_rates_and_channel_counts_are_really_there(
    small_aviary: Aviary, table: pd.DataFrame
) -> None:
    infos = [soundfile.info(small_aviary.recordings_dir / name) for name in table.filename]
    assert {info.samplerate for info in infos} == {22050, 32000, 44100, 48000}
    assert {info.channels for info in infos} == {1, 2}
    assert {info.format for info in infos} == {"WAV", "FLAC", "OGG", "MP3"}
    # Encoders of mp3 pad to whole frames, by less than a tenth of a second.
    assert all(4.0 <= info.duration < 6.1 for info in infos)


def test_recordings_are_neither_silent_nor_clipped(small_aviary: Aviary, table: pd.DataFrame) -> None:
    for name in table.filename[:12]:
        waveform, _ = soundfile.read(small_aviary.recordings_dir / name)
        assert 0.1 < np.abs(waveform).max() <= 1.0


def test_the_labelled_bird_is_heard_in_every_five_seconds_of_a_clear_whistle(
    small_aviary: Aviary, table: pd.DataFrame
) -> None:
    """A long whistle is a narrow peak in the spectrum that the background does not have."""
    whistles = table[table.primary_label == "Sibilus_lentus"]
    prominences_db = []
    for name in whistles.filename:
        waveform, sample_rate = soundfile.read(small_aviary.recordings_dir / name, always_2d=True)
        frequency_hz, density = signal.welch(
            waveform[: 5 * sample_rate].mean(axis=1), sample_rate, nperseg=2048
        )
        band = density[(frequency_hz > 1800) & (frequency_hz < 3500)]
        prominences_db.append(10 * np.log10(band.max() / np.median(band)))
    assert len(prominences_db) >= 3
    assert np.median(prominences_db) > 10


def test_most_default_recordings_last_five_to_twenty_seconds_and_all_four_to_forty() -> None:
    durations_s = np.array([plan.duration_s for plan in plan_recordings(AviarySettings())])
    assert durations_s.min() >= 4
    assert durations_s.max() <= 40
    assert np.mean((durations_s >= 5) & (durations_s <= 20)) > 0.75


def test_forms_say_nothing_about_the_species() -> None:
    plans = plan_recordings(AviarySettings())
    together = Counter((plan.label, plan.sample_rate) for plan in plans)
    apart = Counter(plan.label for plan in plans)
    assert all(together[name, rate] < 0.6 * count for name, count in apart.items() for rate in (22050, 48000))


def test_recordists_are_unequally_busy_and_five_folds_of_them_hold_every_species() -> None:
    plans = plan_recordings(AviarySettings())
    recordings = Counter(plan.recordist for plan in plans)
    assert len(recordings) == 12
    assert max(recordings.values()) > 4 * min(recordings.values())
    for species in AviarySettings().species:
        assert len({plan.recordist for plan in plans if plan.primary is species}) >= 5


def test_nobody_sings_where_the_label_is_nocall(small_aviary: Aviary, table: pd.DataFrame) -> None:
    silent = [plan for plan in plan_recordings(AviarySettings()) if plan.primary is None]
    assert len(silent) == 24
    assert {plan.label for plan in silent} == {"nocall"}
    assert not any(plan.secondary for plan in silent)
    assert (table.primary_label == "nocall").sum() == 4


def test_species_counts_add_up_and_are_uneven() -> None:
    counts = species_counts(AviarySettings())
    assert counts.sum() == 280
    assert counts.min() * 1.5 < counts.max() < 2.5 * counts.min()


def test_recordists_have_their_own_gear_names_and_dialects() -> None:
    settings = AviarySettings()
    assert len({recordist_gear(settings, number) for number in range(12)}) == 12
    assert len({recordist_name(number) for number in range(30)}) == 30
    first, second = settings.species[:2]
    assert recordist_dialect(settings, 0, first) == recordist_dialect(settings, 0, first)
    assert recordist_dialect(settings, 0, first) != recordist_dialect(settings, 0, second)
    assert recordist_dialect(settings, 0, first) != recordist_dialect(settings, 1, first)
