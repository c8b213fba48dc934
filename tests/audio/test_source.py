"""One handle for a recording, wherever its sound comes from."""

from __future__ import annotations

import logging
import os
import pickle

import h5py
import numpy as np
import pandas as pd
import pytest

from dawnchorus.audio.decode import count_samples, load_audio, stream_audio
from dawnchorus.audio.source import open_source, stream_recording
from dawnchorus.audio.store_layout import StoreSettings
from dawnchorus.audio.store_writing import write_store
from dawnchorus.datasets.labelled_audio import composition, open_recordings
from dawnchorus.errors import AudioError, StoreError
from dawnchorus.files import FileVersion


def store(path, stored, **settings):
    settings = StoreSettings(**settings)
    n_samples = count_samples(path, sample_rate=settings.sample_rate)
    blocks = stream_audio(path, sample_rate=settings.sample_rate)
    write_store(stored, blocks, settings, n_samples=n_samples, source=FileVersion.of(path))


def test_both_kinds_give_the_same_sound_here_and_after_pickling(data_factory, tmp_path):
    path = data_factory.tone("a.ogg", duration_s=3, sample_rate=44_100)
    stored = tmp_path / "a.ogg.hdf5"
    store(path, stored)
    whole = load_audio(path)
    for source, kind in ((open_source(path), "raw"), (open_source(path, stored=stored), "hdf5")):
        assert (source.kind, source.n_samples, source.sample_rate) == (kind, 96_000, 32_000)
        source = pickle.loads(pickle.dumps(source))
        np.testing.assert_allclose(source.read(1_000, 16_000), whole[1_000:17_000], atol=1e-4)
        assert len(source.read(95_000, 16_000)) == 1_000


def test_a_store_is_enough_where_the_recording_is_elsewhere(data_factory, tmp_path):
    path, stored = data_factory.tone("a.wav"), tmp_path / "a.hdf5"
    store(path, stored)
    path.unlink()
    assert open_source(path, stored=stored).n_samples == 32_000
    with pytest.raises(AudioError, match="cannot be read; No such file"):
        open_source(path)


def test_a_store_at_another_rate_is_refused_with_the_remedy(data_factory, tmp_path):
    path, stored = data_factory.tone("a.wav"), tmp_path / "a.hdf5"
    store(path, stored, sample_rate=16_000)
    with pytest.raises(
        StoreError, match=r"a\.hdf5: holds sound at 16000 Hz .* `dawnchorus precompute --sr 32"
    ):
        open_source(path, stored=stored)


def test_a_store_of_another_version_of_the_recording_is_not_read_and_counted(data_factory, tmp_path, caplog):
    for name in ("a.wav", "b.wav", "c.wav"):
        store(data_factory.tone(name), tmp_path / "features" / f"{name}.hdf5")
    data_factory.tone("b.wav", duration_s=2)
    os.utime(data_factory.root / "c.wav", ns=(0, 0))
    names = ["a.wav", "b.wav", "c.wav"]
    table = pd.DataFrame(
        {
            "audio_path": [str(data_factory.root / name) for name in names],
            "stored_path": [str(tmp_path / "features" / f"{name}.hdf5") for name in names],
        }
    )
    with caplog.at_level(logging.WARNING):
        sources = open_recordings(table, sample_rate=32_000, use_h5py=True)
    assert [source.kind for source in sources] == ["hdf5", "raw", "raw"]
    assert [source.n_samples for source in sources] == [32_000, 64_000, 32_000]
    assert composition(sources) == "Dataset composition: 1 HDF5 files, 2 raw audio files"
    assert "2 of the HDF5 files were made from other versions" in caplog.text
    assert "run `dawnchorus precompute` again" in caplog.text


@pytest.mark.parametrize("name", ["a.wav", "a.OGG"])
@pytest.mark.parametrize("sample_rate", [44_100, 32_000])
def test_a_recording_streams_the_samples_of_the_whole(data_factory, name, sample_rate):
    path = data_factory.tone("a" + name[1:].lower(), duration_s=9.5, sample_rate=44_100).rename(
        data_factory.root / name
    )
    n_samples, blocks = stream_recording(path, sample_rate=sample_rate)
    wave = np.concatenate(list(blocks))
    assert n_samples == len(wave) == round(9.5 * sample_rate)
    assert wave.dtype == np.float32
    np.testing.assert_array_equal(wave, load_audio(path, sample_rate=sample_rate))


@pytest.mark.parametrize("is_recording_there", [True, False])
def test_a_store_streams_the_samples_that_are_in_it(data_factory, tmp_path, is_recording_there):
    path, stored = data_factory.tone("a.wav", duration_s=70), tmp_path / "a.wav.hdf5"
    store(path, stored)
    whole = load_audio(path)
    if not is_recording_there:
        path.unlink()
    n_samples, blocks = stream_recording(stored)
    blocks = list(blocks)
    assert n_samples == len(whole) == sum(map(len, blocks))
    assert max(map(len, blocks)) < len(whole), "it comes in pieces"
    np.testing.assert_allclose(np.concatenate(blocks), whole, atol=1e-4)


def test_a_store_of_the_published_layout_streams_too(tmp_path):
    wave = np.random.default_rng(0).uniform(-0.5, 0.5, 40_000).astype(np.float32)
    with h5py.File(tmp_path / "XC1.hdf5", "w") as file:
        file["au"], file["sr"], file["do_normalize"] = wave, 32_000, 0
    n_samples, blocks = stream_recording(tmp_path / "XC1.hdf5")
    assert n_samples == 40_000
    np.testing.assert_array_equal(np.concatenate(list(blocks)), wave)


def test_a_recording_that_cannot_be_streamed_is_told(data_factory, tmp_path):
    with pytest.raises(AudioError, match="cannot be read; No such file"):
        stream_recording(tmp_path / "gone.wav")
    with pytest.raises(StoreError, match=r"gone\.hdf5"):
        stream_recording(tmp_path / "gone.hdf5")
    (tmp_path / "bad.hdf5").write_bytes(b"no store")
    with pytest.raises(StoreError, match=r"bad\.hdf5"):
        stream_recording(tmp_path / "bad.hdf5")
    store(data_factory.tone("a.wav"), tmp_path / "a.hdf5", sample_rate=16_000)
    with pytest.raises(StoreError, match="holds sound at 16000 Hz where 32000 Hz is asked for"):
        stream_recording(tmp_path / "a.hdf5")
