"""The store: what goes in comes out, whole or not at all; damage is named."""

from __future__ import annotations

import os
import time
from pathlib import Path

import h5py
import numpy as np
import pytest

from dawnchorus.audio import store
from dawnchorus.audio.store import (
    find_stored,
    is_current,
    read_stored_crop,
    store_path,
    stored_n_samples,
    stored_sample_rate,
    write_store,
)
from dawnchorus.errors import StoreError


def noise(n_samples: int = 5_000, peak: float = 0.8) -> np.ndarray:
    wave = np.random.default_rng(0).uniform(-1, 1, n_samples)
    return (peak * wave / np.abs(wave).max()).astype(np.float32)


@pytest.mark.parametrize("peak", [0.001, 0.8, 1.0, 7.5])
def test_sound_comes_back_within_half_a_step_of_its_own_peak(tmp_path, peak):
    wave = noise(peak=peak)
    path = tmp_path / "a.wav.hdf5"
    assert write_store(path, [wave[:100], wave[100:]], sample_rate=32_000) == len(wave)
    np.testing.assert_allclose(read_stored_crop(path, 0, 9_999), wave, atol=0.501 * peak / 32_767)
    np.testing.assert_array_equal(read_stored_crop(path, 70, 60), read_stored_crop(path, 0, 9_999)[70:130])
    assert (stored_n_samples(path), stored_sample_rate(path)) == (5_000, 32_000)


def test_the_file_is_half_of_float32_contiguous_and_read_by_plain_h5py(tmp_path):
    path = tmp_path / "a.hdf5"
    wave = noise(100_000)
    write_store(path, [wave], sample_rate=16_000)
    assert path.stat().st_size <= 0.5 * wave.nbytes + 4096
    with h5py.File(path) as file:
        assert file["au"].dtype == np.int16
        assert file["au"].chunks is None
        assert file["sr"][()] == 16_000
        np.testing.assert_allclose(file["au"][:] * file["au"].attrs["scale"], wave, atol=1e-4)


def test_silence_stays_silence_and_normalising_makes_the_peak_one(tmp_path):
    path = tmp_path / "a.hdf5"
    write_store(path, [np.zeros(10, np.float32)], sample_rate=32_000, normalize=True)
    np.testing.assert_array_equal(read_stored_crop(path, 0, 10), np.zeros(10))
    write_store(path, [noise(peak=0.01)], sample_rate=32_000, normalize=True)
    assert np.abs(read_stored_crop(path, 0, 5_000)).max() == pytest.approx(1)


def test_a_recording_longer_than_the_memory_allowed_is_the_same(tmp_path, monkeypatch):
    wave = noise(20_000)
    write_store(tmp_path / "small.hdf5", [wave], sample_rate=32_000)
    monkeypatch.setattr(store, "_SPOOL_BYTES", 1_000)
    monkeypatch.setattr(store, "_CHUNK", 777)
    write_store(tmp_path / "large.hdf5", np.array_split(wave, 50), sample_rate=32_000)
    assert (tmp_path / "small.hdf5").read_bytes() == (tmp_path / "large.hdf5").read_bytes()


def test_the_same_recording_gives_the_same_bytes_at_any_time(tmp_path):
    for name in ("now.hdf5", "later.hdf5"):
        write_store(tmp_path / name, [noise()], sample_rate=32_000)
        time.sleep(1.1)  # HDF5 counts time in seconds
    assert (tmp_path / "now.hdf5").read_bytes() == (tmp_path / "later.hdf5").read_bytes()


def test_a_failure_while_writing_leaves_nothing_and_keeps_the_old_store(tmp_path):
    path = tmp_path / "a.hdf5"

    def blocks():
        yield noise()
        raise OSError("the cable was pulled")

    with pytest.raises(OSError, match="the cable was pulled"):
        write_store(path, blocks(), sample_rate=32_000)
    assert list(tmp_path.iterdir()) == []
    write_store(path, [noise()], sample_rate=32_000)
    before = path.read_bytes()
    with pytest.raises(ValueError, match="a recording without samples cannot be stored"):
        write_store(path, [], sample_rate=32_000)
    assert path.read_bytes() == before
    assert list(tmp_path.iterdir()) == [path]


def test_names_never_collide_and_ours_is_found_before_the_published(tmp_path):
    names = [Path("s/XC1.ogg"), Path("s/XC1.wav"), Path("t/XC1.ogg"), Path("s/XC1")]
    assert len({store_path(tmp_path, name) for name in names}) == 4
    assert find_stored(tmp_path, names[0]) is None
    (tmp_path / "s").mkdir()
    (tmp_path / "s/XC1.hdf5").touch()
    assert find_stored(tmp_path, names[0]) == tmp_path / "s/XC1.hdf5"
    store_path(tmp_path, names[0]).touch()
    assert find_stored(tmp_path, names[0]) == tmp_path / "s/XC1.ogg.hdf5"


def test_a_changed_source_or_setting_makes_a_store_outdated(tmp_path):
    source, path = tmp_path / "a.wav", tmp_path / "a.wav.hdf5"
    source.write_bytes(b"12")
    assert not is_current(path, source)
    write_store(path, [noise()], sample_rate=32_000, source=source)
    assert is_current(path, source)
    assert is_current(path, source, sample_rate=32_000, normalize=False)
    assert not is_current(path, source, sample_rate=16_000)
    assert not is_current(path, source, normalize=True)
    os.utime(source, ns=(0, 0))
    assert not is_current(path, source)
    write_store(path, [noise()], sample_rate=32_000, source=source)
    path.write_bytes(path.read_bytes()[:-1])
    assert not is_current(path, source)
    source.unlink()
    assert not is_current(path, source)


def test_files_of_the_published_system_are_read_as_they_are(tmp_path):
    path, wave = tmp_path / "XC1.hdf5", noise()
    with h5py.File(path, "w") as file:
        file["au"], file["sr"], file["do_normalize"] = wave, 32_000, False
    np.testing.assert_array_equal(read_stored_crop(path, 10, 100), wave[10:110])
    assert (stored_n_samples(path), stored_sample_rate(path)) == (5_000, 32_000)


def test_a_damaged_foreign_or_missing_file_is_named_with_the_remedy(tmp_path):
    path = tmp_path / "a.hdf5"
    with pytest.raises(StoreError, match=r"a\.hdf5: no such file; run `dawnchorus precompute`"):
        stored_n_samples(path)
    write_store(path, [noise()], sample_rate=32_000)
    whole = path.read_bytes()
    for content in (b"", b"hello", whole[:-3_000], whole[:600], bytes(len(whole))):
        path.write_bytes(content)
        with pytest.raises(StoreError, match=r"a\.hdf5: damaged or not a store .*delete it and run"):
            read_stored_crop(path, 0, 10)
    for contents, missing in (
        ({"x": 1}, "`au`"),
        ({"au": np.zeros((2, 2))}, "`au`"),
        ({"au": [0.5]}, "`sr`"),
    ):
        with h5py.File(path, "w") as file:
            file.update(contents)
        with pytest.raises(StoreError, match=missing):
            stored_sample_rate(path)


def test_a_negative_crop_is_refused(tmp_path):
    with pytest.raises(ValueError, match="must not be negative"):
        read_stored_crop(tmp_path / "a.hdf5", 0, -1)
