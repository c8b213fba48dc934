"""The store: what goes in comes out, whole or not at all; damage is named and never heard."""

from __future__ import annotations

import multiprocessing
import os
import re
import time
from concurrent.futures import ProcessPoolExecutor, ThreadPoolExecutor
from pathlib import Path

import h5py
import numpy as np
import pytest

from dawnchorus.audio.source import find_stored, open_stored
from dawnchorus.audio.store import StoredRecording, is_current, open_store, store_path
from dawnchorus.audio.store_layout import BLOCK, StoreSettings
from dawnchorus.audio.store_writing import write_store
from dawnchorus.errors import StoreError
from dawnchorus.files import FileVersion

N_SAMPLES = 3 * BLOCK + 777
LENGTHS = [1, 4, BLOCK - 1, BLOCK, BLOCK + 1, 8 * BLOCK, 8 * BLOCK + 1, 20 * BLOCK + 5]


def noise(n_samples: int = N_SAMPLES, peak: float = 0.8) -> np.ndarray:
    wave = np.random.default_rng(0).uniform(-1, 1, n_samples)
    return (peak * wave / np.abs(wave).max()).astype(np.float32)


def write(path: Path, wave: np.ndarray, *, source: Path | None = None, **settings) -> StoredRecording:
    fingerprint = None if source is None else FileVersion.of(source)
    write_store(path, [wave], StoreSettings(**settings), n_samples=len(wave), source=fingerprint)
    stored = open_store(path)
    assert stored is not None
    return stored


def read_all(stored) -> np.ndarray:
    return stored.read(0, stored.n_samples)


@pytest.mark.parametrize("peak", [1e-30, 0.001, 0.8, 1.0, 7.5, 1e30])
def test_sound_comes_back_within_half_a_step_of_its_own_peak(tmp_path, peak):
    wave = noise(peak=peak)
    stored = write(tmp_path / "a.wav.hdf5", wave)
    assert (stored.n_samples, stored.sample_rate) == (N_SAMPLES, 32_000)
    np.testing.assert_allclose(read_all(stored), wave, atol=0.51 * peak / 32_767, rtol=0)


@pytest.mark.parametrize("n_samples", LENGTHS)
def test_any_crop_of_any_length_is_a_part_of_the_whole(tmp_path, n_samples):
    stored = write(tmp_path / "a.hdf5", noise(n_samples))
    whole = stored.read(0, n_samples + 99)
    assert whole.shape == (n_samples,)
    assert whole.dtype == np.float32
    rng = np.random.default_rng(1)
    for start, n in [(0, 0), (n_samples, 5), (n_samples + 7, 5), *rng.integers(n_samples + 1, size=(50, 2))]:
        np.testing.assert_array_equal(stored.read(int(start), int(n)), whole[start : start + n])


def test_sixteen_bit_sound_is_stored_without_loss_and_a_quiet_block_is_as_precise_as_a_loud_one(tmp_path):
    codes = np.random.default_rng(0).integers(-32_768, 32_768, N_SAMPLES)
    wave = (codes / 32_768).astype(np.float32)
    np.testing.assert_array_equal(read_all(write(tmp_path / "a.hdf5", wave)), wave)
    quiet = noise()
    quiet[BLOCK:] *= 1e-3
    error = np.abs(read_all(write(tmp_path / "b.hdf5", quiet)) - quiet)
    assert error[BLOCK:].max() <= 0.51 * 0.8e-3 / 32_767


def test_a_lossless_store_gives_every_bit_back(tmp_path):
    wave = noise(peak=3.0)
    stored = write(tmp_path / "a.hdf5", wave, lossless=True)
    np.testing.assert_array_equal(read_all(stored), wave)
    np.testing.assert_array_equal(stored.read(BLOCK - 5, 100), wave[BLOCK - 5 : BLOCK + 95])


def test_silence_stays_silence_and_normalising_makes_the_peak_one(tmp_path):
    silent = write(tmp_path / "a.hdf5", np.zeros(10, np.float32), normalize=True)
    np.testing.assert_array_equal(read_all(silent), np.zeros(10))
    for lossless in (False, True):
        wave = noise(peak=0.01)
        stored = write(tmp_path / "b.hdf5", wave, normalize=True, lossless=lossless)
        assert np.abs(read_all(stored)).max() == pytest.approx(1)
        np.testing.assert_allclose(read_all(stored), wave / 0.01, atol=2e-5)


@pytest.mark.parametrize("lossless", [False, True])
def test_the_file_is_half_of_float32_contiguous_and_read_by_plain_h5py(tmp_path, lossless):
    wave = noise(2_000_000)
    path = write(tmp_path / "a.hdf5", wave, sample_rate=16_000, lossless=lossless).path
    assert path.stat().st_size / wave.nbytes == pytest.approx(1.0 if lossless else 0.5, abs=0.002)
    with h5py.File(path) as file:
        sound, scale = file["au"], file["blocks"]["scale"]
        assert sound.chunks is None
        assert file["sr"][()] == 16_000
        plain = sound[:] * np.repeat(scale, sound.attrs["block_samples"])[: len(wave)] * sound.attrs["gain"]
        np.testing.assert_allclose(plain, wave, atol=1e-4)


def test_the_same_recording_gives_the_same_bytes_at_any_time_and_in_any_pieces(tmp_path):
    wave = noise(300_000)
    for n_pieces in (1, 7, 300):
        path = tmp_path / f"{n_pieces}.hdf5"
        write_store(path, np.array_split(wave, n_pieces), StoreSettings(normalize=True), n_samples=len(wave))
        time.sleep(0.6)  # HDF5 counts time in seconds
    assert (tmp_path / "1.hdf5").read_bytes() == (tmp_path / "7.hdf5").read_bytes()
    assert (tmp_path / "1.hdf5").read_bytes() == (tmp_path / "300.hdf5").read_bytes()


def test_a_failure_while_writing_leaves_nothing_and_keeps_the_old_store(tmp_path):
    path = tmp_path / "a.hdf5"

    def blocks():
        yield noise()
        raise OSError("the cable was pulled")

    with pytest.raises(OSError, match="the cable was pulled"):
        write_store(path, blocks(), StoreSettings(), n_samples=99_999)
    assert list(tmp_path.iterdir()) == []
    before = write(path, noise()).path.read_bytes()
    for n_samples in (N_SAMPLES - 1, N_SAMPLES + 1, 16 * BLOCK):
        with pytest.raises(ValueError, match=f"{n_samples} samples were announced, and they end at or go on"):
            write_store(path, [noise()], StoreSettings(), n_samples=n_samples)
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
    assert not is_current(path, source, StoreSettings())
    write(path, noise(), source=source)
    assert is_current(path, source, StoreSettings())
    for other in (
        {"sample_rate": 16_000},
        {"normalize": True},
        {"lossless": True},
        {"decoder": "torchaudio"},
    ):
        assert not is_current(path, source, StoreSettings(**other))
    os.utime(source, ns=(0, 0))
    assert not is_current(path, source, StoreSettings())
    write(path, noise(), source=source)
    path.write_bytes(path.read_bytes()[:-1])
    assert not is_current(path, source, StoreSettings())
    source.unlink()
    assert not is_current(path, source, StoreSettings())


@pytest.mark.parametrize("rate", [32_000, np.array([32_000])])
@pytest.mark.parametrize("options", [{}, {"chunks": (1_000,)}, {"compression": "gzip"}])
def test_files_of_the_published_system_are_read_as_they_are(tmp_path, options, rate):
    path, wave = tmp_path / "XC1.hdf5", noise()
    with h5py.File(path, "w") as file:
        file.create_dataset("au", data=wave, **options)
        file["sr"], file["do_normalize"] = rate, False
    stored = open_stored(path)
    assert (stored.n_samples, stored.sample_rate) == (N_SAMPLES, 32_000)
    np.testing.assert_array_equal(stored.read(10, 100), wave[10:110])
    np.testing.assert_array_equal(stored.read(N_SAMPLES - 5, 100), wave[-5:])
    assert len(stored.read(N_SAMPLES + 5, 100)) == 0
    stored.verify()


def test_a_damaged_foreign_or_missing_file_is_named_with_the_remedy(tmp_path):
    path = tmp_path / "a.hdf5"
    with pytest.raises(StoreError, match=r"a\.hdf5: no such file; run `dawnchorus precompute`"):
        open_stored(path)
    whole = write(path, noise()).path.read_bytes()
    for content in (b"", b"hello", whole[:-3_000], whole[:600], bytes(len(whole)), b"x" + whole[1:]):
        path.write_bytes(content)
        with pytest.raises(StoreError, match=r"a\.hdf5: damaged or not a store .*delete it and run"):
            open_stored(path)
    for contents, missing in (
        ({"x": 1}, "`au`"),
        ({"au": np.zeros((2, 2))}, "`au`"),
        ({"au": np.zeros(3, np.int16)}, "`au`"),
        ({"au": [0.5]}, "`sr`"),
        ({"au": [0.5], "sr": 0}, "1 samples at 0 Hz"),
    ):
        with h5py.File(path, "w") as file:
            file.update(contents)
        with pytest.raises(StoreError, match=missing):
            open_stored(path)


def test_damage_after_opening_is_noticed_at_the_crop_it_touches_and_by_verifying(tmp_path):
    stored = write(tmp_path / "a.hdf5", noise())
    whole, start = stored.path.read_bytes(), BLOCK - 100
    assert len(read_all(stored)) == N_SAMPLES  # all blocks are checked, and are again when the file changes
    for position in (stored.header.au_at + 2 * BLOCK + 9, stored.header.blocks_at + 16 + 3):
        damaged = bytearray(whole)
        damaged[position] ^= 0x10
        stored.path.write_bytes(damaged)
        assert len(stored.read(0, BLOCK)) == BLOCK
        with pytest.raises(StoreError, match=rf"a\.hdf5: damaged .*samples {start} … {start + 1000} are not"):
            stored.read(start, 1_000)
        with pytest.raises(StoreError, match="its checksum is not that of what was written"):
            open_stored(stored.path).verify()
    stored.path.write_bytes(whole[:-10])
    with pytest.raises(StoreError, match="it ends before byte"):
        stored.read(N_SAMPLES - 100, 100)
    stored.path.unlink()
    with pytest.raises(StoreError, match="no such file; run `dawnchorus precompute`"):
        stored.read(0, 10)


def test_what_was_zeroed_exchanged_or_moved_is_never_heard(tmp_path):
    stored = write(
        tmp_path / "a.hdf5", np.random.default_rng(2).uniform(-1, 1, 60 * BLOCK).astype(np.float32)
    )
    whole = stored.path.read_bytes()
    au_at, block = stored.header.au_at, 2 * BLOCK
    for position, n_bytes, distance in [(0, 512, 512), (0, 4_096, 4_096), (0, block, block), (0, 100, 9_000)]:
        a, b = au_at + position, au_at + position + distance
        data = bytearray(whole)
        data[a : a + n_bytes], data[b : b + n_bytes] = whole[b : b + n_bytes], whole[a : a + n_bytes]
        stored.path.write_bytes(data)
        with pytest.raises(StoreError, match="are not those that were written"):
            read_all(open_stored(stored.path))
    for n_kept in (512 + 8, 1_000, 1_500, au_at, au_at + 99):  # as a copy that was interrupted leaves it
        stored.path.write_bytes(whole[:n_kept].ljust(len(whole), b"\0"))
        for start in (0, 5 * BLOCK, 40 * BLOCK):
            with pytest.raises(StoreError, match="are not those that were written"):
                open_stored(stored.path).read(start, 100)


def test_a_store_written_again_is_read_by_those_who_opened_it_before(tmp_path):
    stored = write(tmp_path / "a.hdf5", noise())
    before = stored.read(100, 1_000)
    write(tmp_path / "a.hdf5", -noise())
    np.testing.assert_array_equal(stored.read(100, 1_000), -before)


@pytest.mark.parametrize("lossless", [False, True])
@pytest.mark.parametrize("peak", [1e-44, 1e-39, 1e-31])
def test_normalising_what_is_next_to_silence_gives_no_nan(tmp_path, peak, lossless):
    wave = np.full(N_SAMPLES, peak, np.float32)
    assert np.isfinite(read_all(write(tmp_path / "a.hdf5", wave, normalize=True, lossless=lossless))).all()


@pytest.mark.skipif(not hasattr(os, "mkfifo"), reason="this system has no pipes with names")
def test_a_pipe_is_refused_and_not_waited_for(tmp_path):
    os.mkfifo(tmp_path / "a.hdf5")
    with pytest.raises(StoreError, match=r"a\.hdf5: "):
        open_stored(tmp_path / "a.hdf5")


def test_a_negative_crop_is_refused(tmp_path):
    stored = write(tmp_path / "a.hdf5", noise())
    for start, n_samples in ((0, -1), (-1, 5)):
        with pytest.raises(ValueError, match="must not be negative"):
            stored.read(start, n_samples)


def _crops(job) -> list[bytes]:
    recordings, starts = job
    return [recording.read(start, 5_000).tobytes() for recording in recordings for start in starts]


@pytest.fixture
def recordings(tmp_path) -> list:
    for k in range(20):
        write(tmp_path / f"{k}.hdf5", noise(100_000, peak=0.1 + k))
    with h5py.File(tmp_path / "20.hdf5", "w") as file:
        file["au"], file["sr"] = noise(100_000), 32_000
    with h5py.File(tmp_path / "21.hdf5", "w") as file:
        file.create_dataset("au", data=noise(100_000), compression="gzip")
        file["sr"] = 32_000
    return [open_stored(path) for path in sorted(tmp_path.iterdir())]


@pytest.mark.filterwarnings("ignore:.*use of fork:DeprecationWarning")
@pytest.mark.parametrize("method", ["fork", "spawn"])
def test_processes_read_what_this_one_reads(recordings, method):
    if method not in multiprocessing.get_all_start_methods():
        pytest.skip(f"{method} does not exist on this system")
    job = recordings, [0, 7, 50_000, 99_000]
    expected = _crops(job)
    with ProcessPoolExecutor(2, multiprocessing.get_context(method)) as pool:
        assert all(found == expected for found in pool.map(_crops, [job] * 4))


@pytest.mark.skipif(not Path("/proc/self/fd").is_dir(), reason="this system does not count open files")
def test_threads_read_the_same_and_no_file_stays_open(recordings):
    job = recordings, [0, 7, 50_000, 99_000]
    expected = _crops(job)
    n_open = len(list(Path("/proc/self/fd").iterdir()))
    with ThreadPoolExecutor(16) as pool:
        results = list(pool.map(_crops, [job] * 100))
    assert all(found == expected for found in results)
    assert len(list(Path("/proc/self/fd").iterdir())) == n_open


@pytest.mark.parametrize("lossless", [False, True])
def test_a_mutated_store_gives_the_sound_that_was_written_or_an_error(tmp_path, mutated, lossless):
    stored = write(tmp_path / "a.hdf5", noise(), lossless=lossless)
    whole, sound = stored.path.read_bytes(), read_all(stored)
    rng = np.random.default_rng(0)
    refusals = []
    for _ in range(1_500):
        stored.path.write_bytes(mutated(whole, rng))
        try:
            found = read_all(open_stored(stored.path))
        except StoreError as error:
            refusals.append(str(error))
        else:
            np.testing.assert_array_equal(found, sound)
    assert len(refusals) > 1_000
    assert all(re.search(r"a\.hdf5: damaged or not a store \(.+\); delete it and run", r) for r in refusals)


@pytest.mark.parametrize("options", [{}, {"compression": "gzip"}])
def test_a_mutated_file_of_the_published_system_is_read_or_named(tmp_path, mutated, options):
    path = tmp_path / "XC1.hdf5"
    with h5py.File(path, "w") as file:
        file.create_dataset("au", data=noise(20_000), **options)
        file["sr"], file["do_normalize"] = 32_000, False
    whole = path.read_bytes()
    rng = np.random.default_rng(0)
    refusals = []
    for _ in range(500):
        path.write_bytes(mutated(whole, rng))
        try:
            found = open_stored(path).read(0, 5_000)
        except StoreError as error:
            refusals.append(str(error))
        else:
            assert found.dtype == np.float32
    assert len(refusals) > 100
    assert all(refusal.startswith(f"{path}: ") for refusal in refusals)
