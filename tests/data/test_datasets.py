"""``WaveDataset`` and ``WaveAllFileDataset`` on real files."""

from __future__ import annotations

import logging
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest
import torch
from torch.utils.data import DataLoader

from dawnchorus.audio.decode import load_audio
from dawnchorus.audio.precompute import PrecomputeSettings, precompute_recordings
from dawnchorus.config import DataSettings
from dawnchorus.data.labels import LabelMap
from dawnchorus.data.recordings import label_map_of, load_recordings
from dawnchorus.data.sampling import ClipSampler, Draw, class_weights
from dawnchorus.data.wave_all_file_dataset import WaveAllFileDataset
from dawnchorus.data.wave_dataset import WaveDataset
from dawnchorus.errors import ConfigError, DataError

N_SAMPLES = 160_000


@pytest.fixture
def birds(data_factory: Any) -> tuple[pd.DataFrame, LabelMap]:
    root = data_factory.recordings(n_species=2, n_per_species=4, duration_s=(3.0, 12.0))
    recordings = load_recordings(DataSettings(audio_dir=root)).table
    return recordings, label_map_of(recordings)


def test_a_clip_is_five_seconds_at_peak_one_with_its_target(birds: Any) -> None:
    recordings, labels = birds
    dataset = WaveDataset(recordings, labels)
    for index, label in enumerate(recordings["primary_label"]):
        wave, target = dataset[index]
        assert wave.shape == (N_SAMPLES,)
        assert wave.abs().max() == pytest.approx(1)
        assert labels.labels[int(target.argmax())] == label
        assert target.sum() == 1


def test_a_crop_is_a_stretch_of_its_recording(birds: Any) -> None:
    recordings, labels = birds
    lengths = [len(load_audio(path)) for path in recordings["audio_path"]]
    longest = int(np.argmax(lengths))
    whole = load_audio(recordings["audio_path"][longest])
    clip = WaveDataset(recordings, labels, {"late_normalize": False})[longest].wave.numpy()
    at = np.flatnonzero(np.isclose(whole, clip[0], atol=1e-6))
    assert any(np.allclose(whole[start : start + N_SAMPLES], clip, atol=1e-4) for start in at)


def test_a_short_recording_is_padded_on_the_left(data_factory: Any) -> None:
    data_factory.tone("a/short.wav", duration_s=2.0)
    recordings = load_recordings(DataSettings(audio_dir=data_factory.root)).table
    wave = WaveDataset(recordings, label_map_of(recordings))[0].wave
    assert not wave[: N_SAMPLES - 64_000].any()
    assert wave[N_SAMPLES - 64_000 :].std() > 0.1


def test_stored_and_raw_recordings_may_be_mixed(
    birds: Any, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    recordings, labels = birds
    audio_dir, features_dir = Path(recordings["audio_path"][0]).parents[1], tmp_path / "features"
    precompute_recordings(audio_dir, features_dir, PrecomputeSettings())
    next(features_dir.rglob("*.hdf5")).unlink()
    stored = load_recordings(DataSettings(audio_dir=audio_dir, features_dir=features_dir)).table
    with caplog.at_level(logging.INFO, logger="dawnchorus"):
        mixed = WaveDataset(stored, labels)
    assert "Dataset composition: 7 HDF5 files, 1 raw audio files" in caplog.text
    raw = WaveDataset(recordings, labels)
    for index in range(len(recordings)):
        # The store keeps 16 bits; a clip at peak 1 multiplies half a step by up to 1 / its level.
        np.testing.assert_allclose(mixed[index].wave, raw[index].wave, atol=1e-3)


def test_keeping_recordings_in_memory_changes_nothing(birds: Any) -> None:
    recordings, labels = birds
    read, kept = (WaveDataset(recordings, labels, {"precompute": keep}) for keep in (False, True))
    for index in range(len(recordings)):
        np.testing.assert_allclose(read[index].wave, kept[index].wave, atol=1e-5)


def test_a_draw_is_the_same_whatever_the_workers(birds: Any) -> None:
    recordings, labels = birds
    dataset = WaveDataset(recordings, labels, {"mixup": {"probability": 0.5, "alpha": 0.5}})
    sampler = ClipSampler(
        class_weights(recordings["primary_label"].tolist(), "inverse"), n_draws=6, seed=3, fold=1
    )
    alone, shared = (
        torch.cat([wave for wave, _ in DataLoader(dataset, batch_size=2, sampler=sampler, num_workers=n)])
        for n in (0, 2)
    )
    assert torch.equal(alone, shared)


def test_epochs_and_seeds_differ(birds: Any) -> None:
    recordings, labels = birds
    dataset = WaveDataset(recordings, labels, seed=1)
    other_seed = WaveDataset(recordings, labels, seed=2)
    longest = int(np.argmax([source.n_samples for source in dataset.audio.sources]))
    first, again, next_epoch = (dataset[Draw(e, 0, longest)].wave for e in (0, 0, 1))
    assert torch.equal(first, again)
    assert not torch.equal(first, next_epoch)
    assert not torch.equal(first, other_seed[Draw(0, 0, longest)].wave)


def test_mixup_adds_the_other_clips_target(birds: Any) -> None:
    recordings, labels = birds
    dataset = WaveDataset(recordings, labels, {"mixup": {"probability": 1.0}})
    targets = [dataset[Draw(0, position, 0)].target.sum().item() for position in range(20)]
    assert set(targets) == {1.0, 2.0}


def test_ratings_scale_and_smoothing_spreads_the_target(birds: Any) -> None:
    recordings, labels = birds
    rated = WaveDataset(recordings.assign(rating=2.5), labels, {"label_smoothing": 0.1})
    assert sorted(rated[0].target.tolist()) == pytest.approx([0.5 * 0.1 / 2, 0.5 * 0.9 + 0.5 * 0.1 / 2])


def test_secondary_labels_count_unless_switched_off(birds: Any) -> None:
    recordings, labels = birds
    both = recordings.assign(secondary_labels=[("species_0", "species_1")] * len(recordings))
    assert WaveDataset(both, labels)[0].target.sum() == 2
    assert WaveDataset(both, labels, {"use_secondary_labels": False})[0].target.sum() == 1


def test_background_noise_keeps_target_and_level_and_changes_the_wave(birds: Any, data_factory: Any) -> None:
    recordings, labels = birds
    noise = data_factory.tone("../noise/rain.wav", duration_s=8, frequency_hz=500, noise=0.3).parent
    plain = WaveDataset(recordings, labels)
    noisy = WaveDataset(recordings, labels, {"background": [{"folder": noise, "probability": 1.0}]})
    assert not torch.allclose(plain[0].wave, noisy[0].wave, atol=0.05)
    assert torch.equal(plain[0].target, noisy[0].target)
    assert noisy[0].wave.abs().max() == pytest.approx(1)


def test_a_missing_background_folder_is_told_in_a_sentence(birds: Any, tmp_path: Path) -> None:
    with pytest.raises(DataError, match="nowhere"):
        WaveDataset(*birds, {"background": [{"folder": tmp_path / "nowhere"}]})


def test_an_unknown_setting_is_named(birds: Any) -> None:
    with pytest.raises(ConfigError, match=r"segment_length is not known; did you mean segment_len\?"):
        WaveDataset(*birds, {"segment_length": 3})


def test_windows_cover_every_sample_of_every_recording(birds: Any) -> None:
    recordings, labels = birds
    dataset = WaveAllFileDataset(recordings, labels, {"late_normalize": False})
    for recording, path in enumerate(recordings["audio_path"]):
        whole = load_audio(path)
        windows = [
            window for window in (dataset[k] for k in range(len(dataset))) if window.recording == recording
        ]
        pieces = [w.wave.numpy()[-min(N_SAMPLES, len(whole) - w.start) :] for w in windows]
        np.testing.assert_allclose(np.concatenate(pieces), whole, atol=1e-4)


def test_overlapping_windows_begin_a_step_apart(birds: Any) -> None:
    dataset = WaveAllFileDataset(*birds, {"step_s": 2.5, "use_audio_cache": True})
    plain = WaveAllFileDataset(*birds, {"step_s": 2.5})
    starts = [start for recording, start in dataset.windows if recording == 0]
    assert set(np.diff(starts)) <= {80_000}
    assert torch.allclose(dataset[1].wave, plain[1].wave, atol=1e-5)


def test_training_and_inference_make_the_same_clip(data_factory: Any) -> None:
    data_factory.tone("a/exact.wav", duration_s=5.0)
    recordings = load_recordings(DataSettings(audio_dir=data_factory.root)).table
    labels = label_map_of(recordings)
    train, window = WaveDataset(recordings, labels)[0], WaveAllFileDataset(recordings, labels)[0]
    assert torch.equal(train.wave, window.wave)
