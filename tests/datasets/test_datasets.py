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
from dawnchorus.datasets.labelled_audio import AudioCache
from dawnchorus.datasets.sampling import ClipSampler, Draw, class_weights
from dawnchorus.datasets.wave_all_file_dataset import WaveAllFileDataset
from dawnchorus.datasets.wave_dataset import ClipDraw, CropDraw, WaveDataset
from dawnchorus.errors import ConfigError, DataError
from dawnchorus.recordings.labels import UNKNOWN, LabelMap
from dawnchorus.recordings.recordings_table import label_map_of, load_recordings
from dawnchorus.training.losses import masked_bce_loss

N_SAMPLES = 160_000
RATE = 32_000


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


@pytest.mark.parametrize(("channel", "column"), [(1, 0), (2, 1), ("loudest", 1)])
def test_a_dataset_reads_the_channel_of_its_settings(data_factory: Any, channel: Any, column: int) -> None:
    frames = np.random.default_rng(0).uniform(-0.5, 0.5, (32_000, 2)) * [0.5, 1]
    data_factory.write("wren/a.wav", frames, subtype="FLOAT")
    dataset = WaveDataset(
        load_recordings(data_factory.root).table,
        settings={"segment_len": 1.0, "late_normalize": False, "channel": channel},
    )
    np.testing.assert_allclose(dataset[0].wave.numpy(), frames[:, column], atol=1e-7)
    with pytest.raises(ConfigError, match="channel"):
        WaveDataset(dataset.recordings, settings={"channel": "each"})


def test_clips_may_be_of_the_first_seconds_only(birds: Any) -> None:
    recordings, labels = birds
    of_first = {"first_s": 6.0}
    dataset = WaveDataset(recordings, labels, of_first)
    draws = (Draw(0, position, position % len(dataset)) for position in range(300))
    starts = [dataset.draw(draw).first.start for draw in draws]
    assert 0.8 * RATE < max(starts) <= RATE
    windows = WaveAllFileDataset(recordings, labels, of_first).windows
    assert {start for _, start in windows} == {0, 5 * RATE}
    with pytest.raises(ConfigError, match=r"first_s is 4; legal: segment_len \(5\) or more"):
        WaveDataset(recordings, labels, {"first_s": 4.0})


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


def with_secondary(recordings: pd.DataFrame) -> pd.DataFrame:
    """Return the recordings, each with both species and one of elsewhere as secondary labels."""
    return recordings.assign(secondary_labels=[("species_0", "species_1", "elsewhere")] * len(recordings))


def test_secondary_labels_may_be_unknown_and_the_primary_stays_present(birds: Any) -> None:
    recordings, labels = birds
    unknown = {"unknown_secondary_labels": True}
    dataset = WaveDataset(with_secondary(recordings), labels, unknown)
    for item, primary in enumerate(recordings["primary_label"]):
        expected = [1.0 if label == primary else UNKNOWN for label in labels.labels]
        assert dataset[item].target.tolist() == dataset.audio.targets()[item].tolist() == expected
    assert torch.equal(WaveDataset(recordings, labels, unknown)[0].target, torch.tensor([1.0, 0.0]))


def test_unknown_secondary_labels_change_no_wave_and_no_other_target(birds: Any) -> None:
    recordings, labels = birds
    recipe = {"mixup": {"probability": 0.5, "alpha": 0.4}, "label_smoothing": 0.05}
    without = WaveDataset(recordings, labels, recipe)
    switched_on = WaveDataset(recordings, labels, {**recipe, "unknown_secondary_labels": True})
    marked = WaveDataset(with_secondary(recordings), labels, {**recipe, "unknown_secondary_labels": True})
    n_unknown = 0
    for position in range(20):
        draw = Draw(0, position, position % len(recordings))
        assert torch.equal(switched_on[draw].wave, without[draw].wave)
        assert torch.equal(switched_on[draw].target, without[draw].target)
        assert torch.equal(marked[draw].wave, without[draw].wave)
        n_unknown += int((marked[draw].target == UNKNOWN).sum())
    assert n_unknown > 0


def test_unknown_targets_pass_through_rating_mixing_and_smoothing(birds: Any) -> None:
    recordings, labels = birds
    settings = {"unknown_secondary_labels": True, "mixup": {"probability": 1.0}, "label_smoothing": 0.1}
    dataset = WaveDataset(with_secondary(recordings).assign(rating=2.5), labels, settings)
    seen = set()
    for position in range(20):
        drawn = dataset.draw(Draw(0, position, 0))
        assert drawn.second is not None
        other = recordings["primary_label"][drawn.second.row]
        # 0.5 of the rating; the same species twice adds up to 1 and leaves the other unknown.
        if other == "species_0":
            expected = [1.0 * 0.9 + 0.1 * 1.0 / 2, UNKNOWN]
        else:
            expected = [0.5 * 0.9 + 0.1 * 1.0 / 2] * 2
        assert dataset.apply(drawn).target.tolist() == pytest.approx(expected)
        seen.add(other)
    assert seen == {"species_0", "species_1"}


def test_unknown_secondary_labels_must_be_read(birds: Any) -> None:
    with pytest.raises(ConfigError, match="unknown_secondary_labels is True, but use_secondary_labels is"):
        WaveDataset(*birds, {"unknown_secondary_labels": True, "use_secondary_labels": False})


def test_the_targets_of_validation_are_never_unknown(birds: Any) -> None:
    recordings, labels = birds
    assert (WaveAllFileDataset(with_secondary(recordings), labels).targets == 1).all()
    with pytest.raises(ConfigError, match="unknown_secondary_labels is not known"):
        WaveAllFileDataset(recordings, labels, {"unknown_secondary_labels": True})


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


@pytest.fixture
def dawn(data_factory: Any) -> tuple[pd.DataFrame, LabelMap]:
    """A soundscape of 62 s with a robin at 11 to 12 s and wrens at 30 to 33 s and 61 to 61.5 s."""
    data_factory.tone("dawn.wav", duration_s=62.0)
    (data_factory.root / "annotations.csv").write_text(
        "filename,start_s,end_s,label\ndawn.wav,11,12,robin\ndawn.wav,30,33,wren\ndawn.wav,61,61.5,wren\n"
    )
    recordings = load_recordings(DataSettings(audio_dir=data_factory.root)).table
    return recordings, label_map_of(recordings)


def test_the_target_of_a_window_is_what_is_heard_in_it(dawn: Any) -> None:
    dataset = WaveAllFileDataset(*dawn, {"step_s": 2.5})
    robin, wren = dataset.window_targets().T
    starts_s = np.array([start for _, start in dataset.windows]) / 32_000
    assert starts_s[robin > 0].tolist() == [7.5, 10.0]
    assert starts_s[wren > 0].tolist() == [27.5, 30.0, 32.5, 57.5]
    assert dataset.targets.tolist() == [[1, 1]]


def test_the_targets_of_any_windows_are_those_of_these_windows(dawn: Any, data_factory: Any) -> None:
    data_factory.tone("dusk.wav", duration_s=12.0)
    with (data_factory.root / "annotations.csv").open("a") as file:
        file.write("dusk.wav,1,2,wren\ndusk.wav,11,12,robin\n")
    recordings = load_recordings(DataSettings(audio_dir=data_factory.root)).table
    dataset = WaveAllFileDataset(recordings, label_map_of(recordings), {"step_s": 2.5})
    rows, starts = np.array(dataset.windows).T
    targets = dataset.window_targets()
    np.testing.assert_array_equal(dataset.targets_at(rows, starts), targets)
    order = np.random.default_rng(0).permutation(len(rows))[:20]
    found = dataset.targets_at(rows[order], starts[order])
    assert found.dtype == np.float32
    np.testing.assert_array_equal(found, targets[order])
    assert len(np.unique(targets, axis=0)) > 2
    anywhere = dataset.targets_at(np.array([1, 0, 1, 0]), np.array([7 * 32_000, 11 * 32_000, 0, 13 * 32_000]))
    assert list(recordings["filename"]) == ["dawn.wav", "dusk.wav"]
    assert anywhere.tolist() == [[1, 0], [1, 0], [0, 1], [0, 0]]
    assert dataset.targets_at(rows[:0], starts[:0]).shape == (0, 2)


def test_windows_of_whole_file_labels_all_have_them(birds: Any) -> None:
    dataset = WaveAllFileDataset(*birds)
    recordings = [recording for recording, _ in dataset.windows]
    np.testing.assert_array_equal(dataset.window_targets(), dataset.targets[recordings])


def test_an_item_is_a_box_and_its_clip_has_it(dawn: Any) -> None:
    dataset = WaveDataset(*dawn, {"anywhere_prob": 0.0})
    assert dataset.item_labels == ["robin", "wren", "wren"]
    starts_s = {item: [] for item in range(3)}
    for item in range(3):
        for position in range(200):
            drawn = dataset.draw(Draw(0, position, item))
            starts_s[item].append(drawn.first.start / 32_000)
            assert dataset.apply(drawn).target[0 if item == 0 else 1] == 1
    assert (min(starts_s[0]), max(starts_s[0])) == pytest.approx((6.25, 11.75), abs=0.1)
    assert (min(starts_s[2]), max(starts_s[2])) == pytest.approx((56.25, 57.0), abs=0.05)


def test_labels_in_time_are_exact_and_never_unknown(dawn: Any) -> None:
    recordings, labels = dawn
    both = recordings.assign(secondary_labels=[("robin", "wren")])
    dataset = WaveDataset(both, labels, {"unknown_secondary_labels": True})
    plain = WaveDataset(both, labels)
    for position in range(30):
        draw = Draw(0, position, position % 3)
        assert torch.equal(dataset[draw].target, plain[draw].target)
    assert dataset.audio.targets().tolist() == [[1, 1]]


def test_clips_of_a_soundscape_may_begin_anywhere(dawn: Any) -> None:
    dataset = WaveDataset(*dawn, {"anywhere_prob": 1.0})
    drawn = [dataset.draw(Draw(0, position, 0)) for position in range(300)]
    empty = [draw for draw in drawn if not dataset.apply(draw).target.any()]
    assert 0.5 < len(empty) / 300 < 0.95


def test_a_wider_view_keeps_its_place_and_the_targets_of_its_segment(dawn: Any) -> None:
    recordings, labels = dawn
    wide = {"look_back_s": 2.0, "look_ahead_s": 1.0, "late_normalize": False}
    dataset = WaveAllFileDataset(recordings, labels, wide)
    whole = np.pad(load_audio(recordings["audio_path"][0]), (64_000, 10 * 32_000))
    assert len(dataset) == 13
    for index, (_, start) in enumerate(dataset.windows):
        np.testing.assert_allclose(dataset[index].wave, whole[start : start + 256_000], atol=1e-6)
    plain = WaveAllFileDataset(recordings, labels)
    np.testing.assert_array_equal(dataset.window_targets(), plain.window_targets())
    train = WaveDataset(recordings, labels, wide)
    drawn = train.draw(Draw(0, 0, 1))
    first = drawn.first.start
    np.testing.assert_allclose(train.apply(drawn).wave, whole[first : first + 256_000], atol=1e-6)


EVERYTHING = {
    "mixup": {"probability": 0.5, "alpha": 0.4},
    "label_smoothing": 0.05,
    "early_transforms": [{"name": "PolarityInversion"}, {"name": "Gain", "params": {"p": 0.5}}],
    "late_transforms": [
        {"name": "OneOf", "transforms": [{"name": "AddGaussianSNR"}, {"name": "TimeMask"}]},
    ],
}


@pytest.fixture
def everything(birds: Any, data_factory: Any, tmp_path: Path) -> Any:
    """A maker of datasets with all that the recipe draws."""
    recordings, labels = birds
    noise = data_factory.tone("../noise/rain.wav", duration_s=8, frequency_hz=500, noise=0.3).parent
    night = data_factory.tone("../nights/H1.wav", duration_s=30).parent
    pseudo = tmp_path / "pseudo.csv"
    pseudo.write_text("row_id,species_0,species_1\nH1_5,0.9,0.2\nH1_20,0.05,0.8\n")
    settings = {
        **EVERYTHING,
        "background": [{"folder": noise}],
        "soundscape_pseudo_config": {"tables": [{"table": pseudo, "audio_dir": night}]},
    }

    def make(**streams: int) -> WaveDataset:
        return WaveDataset(recordings, labels, settings, **streams)

    return make


def batches(dataset: WaveDataset, *, epoch: int, num_workers: int = 0, seed: int = 3) -> torch.Tensor:
    sampler = ClipSampler(class_weights(dataset.item_labels, "inverse"), n_draws=12, seed=seed, fold=1)
    sampler.set_epoch(epoch)
    loader = DataLoader(dataset, batch_size=4, sampler=sampler, num_workers=num_workers)
    return torch.cat([torch.cat([wave, target], dim=1) for wave, target in loader])


def test_all_that_is_drawn_repeats_whatever_the_workers_and_differs_with_epoch_seed_and_fold(
    everything: Any,
) -> None:
    first = batches(everything(), epoch=0)
    for num_workers in (1, 2):
        assert torch.equal(batches(everything(), epoch=0, num_workers=num_workers), first)
    for other in (
        batches(everything(), epoch=1),
        batches(everything(seed=1), epoch=0),
        batches(everything(fold=2), epoch=0),
    ):
        assert not torch.isclose(other, first).all(dim=1).any()


def test_a_resumed_run_draws_what_an_undisturbed_one_draws(everything: Any) -> None:
    dataset = everything()
    undisturbed = [batches(dataset, epoch=epoch) for epoch in range(3)]
    assert torch.equal(batches(everything(), epoch=2), undisturbed[2])


def test_a_drawn_clip_can_be_made_again(everything: Any) -> None:
    dataset = everything()
    for position in range(20):
        drawn = dataset.draw(Draw(0, position, position % len(dataset)))
        first, again = dataset.apply(drawn), dataset.apply(drawn)
        assert torch.equal(first.wave, again.wave)
        assert torch.equal(first.target, again.target)


def test_a_cache_of_any_size_changes_nothing_and_keeps_to_its_size(birds: Any) -> None:
    recordings, labels = birds
    plain = WaveAllFileDataset(recordings, labels, {"step_s": 1.0})
    for gigabytes in (1e-9, 1e-3, 1.0):
        cached = WaveAllFileDataset(
            recordings, labels, {"step_s": 1.0, "use_audio_cache": True, "audio_cache_gb": gigabytes}
        )
        for index in range(len(plain)):
            torch.testing.assert_close(cached[index].wave, plain[index].wave, atol=1e-5, rtol=0)
            assert cached.audio._cache.n_bytes <= gigabytes * 1e9


def test_what_is_mixed_never_reaches_what_is_kept(birds: Any) -> None:
    recordings, labels = birds
    mixing = {"precompute": True, "mixup": {"probability": 1.0, "alpha": 0.4}}
    dataset = WaveDataset(recordings, labels, mixing)
    first = [dataset[Draw(0, position, position)].wave for position in range(8)]
    again = [dataset[Draw(0, position, position)].wave for position in range(8)]
    assert all(map(torch.equal, first, again))


def test_nocall_is_a_target_of_zeros(data_factory: Any) -> None:
    for name in ("nocall/a.wav", "robin/b.wav", "wren/c.wav"):
        data_factory.tone(name, duration_s=6.0)
    recordings = load_recordings(DataSettings(audio_dir=data_factory.root)).table
    dataset = WaveDataset(recordings, label_map_of(recordings), {"label_smoothing": 0.05})
    assert dataset[0].target.tolist() == [0, 0]
    assert dataset[1].target.tolist() == pytest.approx([0.975, 0.025])


@pytest.mark.parametrize("step_s", [5.1, 1e-6])
def test_a_step_that_would_miss_samples_is_refused(birds: Any, step_s: float) -> None:
    with pytest.raises(ConfigError, match="legal: above 0, at most segment_len"):
        WaveAllFileDataset(*birds, {"step_s": step_s})


def test_the_way_from_a_folder_to_clips_is_short(data_factory: Any) -> None:
    import dawnchorus

    root = data_factory.recordings(n_species=2, n_per_species=2)
    recordings = dawnchorus.load_recordings(root).table
    clips = dawnchorus.WaveDataset(recordings, dawnchorus.label_map_of(recordings))
    assert torch.equal(clips[-1].wave, clips[3].wave)
    with pytest.raises(IndexError):
        clips[4]


@pytest.mark.parametrize("recordings", ["birds", pd.DataFrame({"primary_label": ["x"]}), pd.DataFrame()])
def test_what_is_no_recordings_table_is_told_how_to_become_one(recordings: Any) -> None:
    with pytest.raises(DataError, match=r"load_recordings\(\"folder\"\)\.table is one"):
        WaveDataset(recordings, LabelMap(("x",)))


def test_a_plain_dataframe_is_enough(birds: Any) -> None:
    recordings, labels = birds
    plain = recordings[["filename", "primary_label"]]
    root = Path(recordings["audio_path"][0]).parents[1]
    for dataset_class in (WaveDataset, WaveAllFileDataset):
        dataset = dataset_class(plain, audio_dir=root)
        assert dataset.labels == labels
        assert torch.equal(dataset[3].wave, dataset_class(recordings, labels)[3].wave)
    whole_paths = plain.assign(filename=recordings["audio_path"])
    dataset = WaveDataset(whole_paths, ["species_1", "species_0"], {"segment_len": 2.0})
    assert dataset[0].target.tolist() == [0, 1]
    assert repr(dataset) == "WaveDataset(8 recordings, 2 labels, clips of 2 s at 32000 Hz)"


@pytest.mark.parametrize("dataset_class", [WaveDataset, WaveAllFileDataset])
def test_a_primary_label_that_is_no_class_is_refused(birds: Any, dataset_class: Any) -> None:
    recordings, _ = birds
    with pytest.raises(DataError, match=r"^species_1, the primary label of 4 of the 8 .* add it to them"):
        dataset_class(recordings, LabelMap(("species_0",)))
    foreign = recordings.assign(secondary_labels=[("wren",)] * len(recordings))
    assert dataset_class(foreign, LabelMap(("species_0", "species_1"))).labels.labels[1] == "species_1"


def test_settings_in_the_place_of_the_labels_are_noticed(birds: Any) -> None:
    with pytest.raises(ConfigError, match=r"not dict; name the settings: settings="):
        WaveDataset(birds[0], {"segment_len": 2.0})


@pytest.mark.parametrize(("num_workers", "stay"), [(0, False), (2, False), (2, True)])
def test_an_epoch_that_moves_by_itself_is_the_same_for_any_workers(
    birds: Any, num_workers: int, stay: bool
) -> None:
    recordings, labels = birds

    def epochs(n_workers: int, persistent: bool) -> list[torch.Tensor]:
        dataset = WaveDataset(recordings, labels, {"segment_len": 1.0})
        loader = DataLoader(
            dataset,
            batch_size=3,
            sampler=dataset.sampler(),
            num_workers=n_workers,
            persistent_workers=persistent,
        )
        return [torch.cat([wave for wave, _ in loader]) for _ in range(3)]

    first, second, third = epochs(num_workers, stay)
    assert not torch.equal(first, second)
    assert not torch.equal(second, third)
    assert all(map(torch.equal, (first, second, third), epochs(0, False)))


@pytest.mark.parametrize(("num_workers", "stay"), [(0, False), (2, False), (2, True)])
def test_integers_stand_for_the_epoch_that_is_set(birds: Any, num_workers: int, stay: bool) -> None:
    recordings, labels = birds
    dataset = WaveDataset(recordings, labels, {"segment_len": 1.0})
    loader = DataLoader(dataset, batch_size=3, num_workers=num_workers, persistent_workers=stay)
    for epoch in (0, 1, 0):
        dataset.set_epoch(epoch)
        clips = torch.cat([wave for wave, _ in loader])
        expected = torch.stack([dataset[Draw(epoch, item, item)].wave for item in range(len(dataset))])
        assert torch.equal(clips, expected)
    if not num_workers:
        with pytest.warns(UserWarning, match=r"had in epoch 0, and gets the same crops; draw with sampler="):
            list(loader)


@pytest.mark.parametrize("segment_len", [0, 1e-6, float("inf"), float("nan")])
def test_a_clip_has_a_length(birds: Any, segment_len: float) -> None:
    with pytest.raises(ConfigError, match="segment_len is"):
        WaveDataset(*birds, {"segment_len": segment_len})


def test_a_clip_is_what_the_recipe_says_step_by_step(birds: Any, data_factory: Any) -> None:
    """The oracle normalises after every step, as the recipe does; the dataset gets by with less."""
    recordings, labels = birds
    noise = data_factory.tone("../noise/rain.wav", duration_s=8, frequency_hz=500, noise=0.3).parent
    settings = {
        "mixup": {"probability": 0.7, "alpha": 0.5},
        "background": [{"folder": noise, "probability": 0.7}],
        "label_smoothing": 0.05,
    }
    dataset = WaveDataset(recordings.assign(rating=4.0), labels, settings)
    whole = [load_audio(path) for path in recordings["audio_path"]]
    rain = load_audio(noise / "rain.wav")

    def at_peak_one(wave: np.ndarray) -> np.ndarray:
        return wave / np.abs(wave).max()

    def crop(wave: np.ndarray, start: int) -> np.ndarray:
        piece = wave[start : start + N_SAMPLES].astype(np.float64)
        return at_peak_one(np.pad(piece, (N_SAMPLES - len(piece), 0)))

    def smoothed(primary_label: str) -> np.ndarray:
        rated = np.array([primary_label == label for label in labels.labels]) * 0.8
        return 0.95 * rated + 0.05 * rated.sum() / len(rated)

    for position in range(24):
        drawn = dataset.draw(Draw(0, position, position % len(dataset)))
        expected = crop(whole[drawn.first.row], drawn.first.start)
        target = smoothed(recordings["primary_label"][drawn.first.row])
        if drawn.second is not None:
            other = crop(whole[drawn.second.row], drawn.second.start)
            expected = at_peak_one(drawn.weight * expected + (1 - drawn.weight) * other)
            target = np.minimum(target + smoothed(recordings["primary_label"][drawn.second.row]), 1)
        if drawn.noise is not None:
            share = drawn.noise.share
            expected = at_peak_one((1 - share) * expected + share * crop(rain, drawn.noise.start))
        clip = dataset.apply(drawn)
        np.testing.assert_allclose(clip.wave, expected, atol=2e-5)
        np.testing.assert_allclose(clip.target, target, atol=1e-6)


def test_a_recording_too_large_for_the_cache_leaves_the_others_there() -> None:
    class Source:
        n_reads = 0

        def __init__(self, n_samples: int) -> None:
            self.n_samples = n_samples

        def read(self, start: int, n_samples: int) -> np.ndarray:
            self.n_reads += 1
            return np.zeros(n_samples, np.float32)

    cache = AudioCache(max_bytes=1000)
    short, long = Source(100), Source(1000)
    for recording, source in ((0, short), (1, long), (0, short), (1, long)):
        cache.read(recording, source, 0, 10)
    assert (short.n_reads, long.n_reads) == (1, 2)


def test_clips_are_mixed_with_several_others_or_stand_in_a_montage(birds: Any) -> None:
    recordings, labels = birds
    mixup = {"probability": 1.0, "alpha": 1.0, "max_partners": 3, "montage_probability": 0.5}
    dataset = WaveDataset(recordings, labels, {"mixup": mixup, "late_normalize": False})
    numbers, montages = set(), set()
    for position in range(20):
        drawn = dataset.draw(Draw(0, position, 0))
        each = [dataset.audio.clip(crop.row, crop.start) for crop in drawn.crops]
        assert sum(drawn.weights) == pytest.approx(1)
        expected = np.average(each, axis=0, weights=drawn.weights)
        if drawn.montage:
            ends = np.rint(np.cumsum(drawn.weights) * N_SAMPLES).astype(int)
            owner = np.searchsorted(ends, np.arange(N_SAMPLES), side="right").clip(max=len(each) - 1)
            expected = np.array(each)[owner, np.arange(N_SAMPLES)]
        wave, target = dataset.apply(drawn)
        np.testing.assert_allclose(wave, expected, atol=1e-6)
        of_crops = [dataset.audio.target(crop.row) for crop in drawn.crops]
        assert target.tolist() == np.minimum(np.sum(of_crops, axis=0), 1).tolist()
        numbers.add(len(each))
        montages.add(drawn.montage)
    assert (numbers, montages) == ({2, 3, 4}, {True, False})


def test_a_part_of_a_montage_has_the_labels_in_time_that_it_overlaps(birds: Any) -> None:
    recordings, labels = birds
    boxes = [((0.0, 1.0, "species_0"), (2.0, 3.0, "species_1"))] * len(recordings)
    settings = {"segment_len": 4.0, "mixup": {"probability": 1.0, "montage_probability": 1.0}}
    dataset = WaveDataset(recordings.assign(boxes=boxes), labels, settings)
    at_start = CropDraw(pseudo=False, row=0, start=0, early=0)
    late = CropDraw(pseudo=False, row=0, start=32_000, early=0)
    silent = CropDraw(pseudo=False, row=1, start=2 * 32_000, early=0)  # its second half begins at 4 s
    drawn = ClipDraw(at_start, silent, 0.5, None, 0, montage=True)
    assert dataset.apply(drawn).target.tolist() == [1, 0]
    assert dataset.apply(drawn._replace(first=late)).target.tolist() == [0, 1]
    assert dataset.apply(drawn._replace(montage=False)).target.tolist() == [1, 1]


def test_classes_that_unlabelled_sound_may_hold_are_unknown_where_a_clip_lacks_them(
    birds: Any, data_factory: Any
) -> None:
    recordings, labels = birds
    folder = data_factory.tone("wood/night.wav", duration_s=9.0, frequency_hz=300).parent
    noise = {"folder": str(folder), "probability": 0.5}
    plain = WaveDataset(recordings, labels, {"background": [noise], "label_smoothing": 0.1})
    for unknown in ("all", ["species_1"]):
        settings = {"background": [{**noise, "unknown_labels": unknown}], "label_smoothing": 0.1}
        masked = WaveDataset(recordings, labels, settings)
        seen = set()
        for position in range(16):
            drawn = masked.draw(Draw(0, position, position % len(masked)))
            clip, same = masked.apply(drawn), plain.apply(drawn)
            assert torch.equal(clip.wave, same.wave)
            expected = same.target.clone()
            own = recordings["primary_label"][drawn.first.row]
            for label in labels.labels if unknown == "all" else unknown:
                if drawn.noise is not None and label != own:
                    expected[labels.index(label)] = UNKNOWN
            assert torch.equal(clip.target, expected)
            seen.add((drawn.noise is not None, own))
        assert len(seen) == 4
    with pytest.raises(DataError, match="'crow' is not one of the 2 labels"):
        WaveDataset(recordings, labels, {"background": [{**noise, "unknown_labels": ["crow"]}]})


def test_a_loss_learns_nothing_of_the_classes_that_unlabelled_sound_may_hold(
    birds: Any, data_factory: Any
) -> None:
    recordings, labels = birds
    folder = data_factory.tone("wood/night.wav", duration_s=9.0, frequency_hz=300).parent
    noise = {"folder": str(folder), "probability": 1.0, "unknown_labels": "all"}
    _, target = WaveDataset(recordings, labels, {"background": [noise]})[0]
    logits = torch.zeros(1, 2, requires_grad=True)
    masked_bce_loss(logits, target[None]).backward()
    assert logits.grad is not None
    assert (logits.grad[0] != 0).tolist() == (target == 1).tolist() == [True, False]


def test_some_clips_are_a_noise_alone_without_species(birds: Any, data_factory: Any) -> None:
    recordings, labels = birds
    path = data_factory.tone("wood/night.wav", duration_s=9.0, frequency_hz=300)
    noise = {"folder": str(path.parent), "probability": 0.5}
    settings = {"background": [noise], "mixup": {}, "label_smoothing": 0.1}
    without = WaveDataset(recordings, labels, settings)
    dataset = WaveDataset(recordings, labels, {**settings, "empty_probability": 0.3})
    draws = [dataset.draw(Draw(0, position, position % len(dataset))) for position in range(600)]
    empty = [drawn for drawn in draws if drawn.empty is not None]
    assert len(empty) / len(draws) == pytest.approx(0.3, abs=0.06)
    whole = load_audio(path)
    start = empty[0].empty.start  # type: ignore[union-attr]
    crop = whole[start : start + N_SAMPLES]
    wave, target = dataset.apply(empty[0])
    np.testing.assert_allclose(wave, crop / np.abs(crop).max(), atol=1e-5)
    assert target.tolist() == [0, 0]
    other = next(drawn for drawn in draws if drawn.empty is None)
    assert torch.equal(dataset.apply(other).wave, without.apply(other).wave)
    may_hold = {**noise, "unknown_labels": "all"}
    with pytest.raises(ConfigError, match=r"empty_probability is 0.3, and background has no noise without"):
        WaveDataset(recordings, labels, {"background": [may_hold], "empty_probability": 0.3})
