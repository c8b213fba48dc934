"""How fast does the store give 5-s crops of two-minute recordings, and how fast is it made?

Reading, against float32 HDF5 opened at every crop (the published layout) and against ``librosa.load`` of the
whole Ogg file: in one process, in two loader workers, and with a cold cache. Converting, against
``librosa.load`` and a float32 write in as many processes. The limits stand beside them: a copy of the crop
from memory, and decoding alone.
"""

from __future__ import annotations

import functools
import os
import re
import shutil
import statistics
import subprocess
import sys
import tempfile
import time
import warnings
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import NamedTuple

import h5py
import numpy as np
import soundfile
import torch
from common import median_seconds, parse_arguments, report, two_minute_recordings
from joblib import Parallel, delayed
from torch.utils.data import DataLoader, Dataset

from dawnchorus.audio import container, seeking
from dawnchorus.audio.decode import load_audio
from dawnchorus.audio.precompute import PrecomputeSettings, precompute_recordings
from dawnchorus.audio.source import open_source, open_stored
from dawnchorus.report.measurements import Measurement

CROP = 160_000
SAMPLE_RATE = 32_000
N_WORKERS = 2
DAY_S = 24 * 3600
DAY_RATE = 48_000
DAY_LIMIT_MB = 500
DAY_DISK_BYTES = 16e9

Reader = Callable[[int, int], np.ndarray]  # (recording, first sample) → crop

FRESH = "store, opened at every crop, every block checked"
RAW_FIRST = "raw Ogg, the first crop of a file"
STORE, PUBLISHED, RAW = "store", "float32 HDF5, opened at every crop", "raw Ogg, the crop alone"
LIBROSA, COPY = "librosa.load of the whole Ogg", "a copy of the crop from memory"


class Files(NamedTuple):
    """The same recordings in every form."""

    ogg: list[Path]
    store: list[Path]
    published: list[Path]


def make_files(folder: Path, *, n_files: int) -> Files:
    """Write the recordings, our stores and those of the published layout."""
    ogg = two_minute_recordings(folder / "ogg", n_files=n_files)
    precompute_recordings(folder / "ogg", folder / "store", PrecomputeSettings(n_cores=N_WORKERS))
    store = [folder / "store" / f"{path.name}.hdf5" for path in ogg]
    published = [folder / "published" / f"{path.stem}.hdf5" for path in ogg]
    published[0].parent.mkdir()
    for source, target in zip(ogg, published, strict=True):
        with h5py.File(target, "w") as file:
            file["au"], file["sr"], file["do_normalize"] = load_audio(source), SAMPLE_RATE, False
    return Files(ogg, store, published)


def make_readers(files: Files) -> dict[str, Reader]:
    """Return the rivals by name."""
    import librosa

    stored = [open_stored(path) for path in files.store]
    raw = [open_source(path) for path in files.ogg]
    memory = load_audio(files.ogg[0])

    def read_raw_first(recording: int, start: int) -> np.ndarray:
        container._known_infos.clear()
        seeking._cached_seek_rule.cache_clear()
        return raw[recording].read(start, CROP)

    def read_published(recording: int, start: int) -> np.ndarray:
        with h5py.File(files.published[recording], "r") as file:
            crop: np.ndarray = file["au"][start : start + CROP]
        return crop

    return {
        STORE: lambda recording, start: stored[recording].read(start, CROP),
        FRESH: lambda recording, start: open_stored(files.store[recording]).read(start, CROP),
        PUBLISHED: read_published,
        RAW: lambda recording, start: raw[recording].read(start, CROP),
        RAW_FIRST: read_raw_first,
        LIBROSA: lambda recording, start: librosa.load(files.ogg[recording], sr=SAMPLE_RATE)[0][
            start : start + CROP
        ],
        COPY: lambda recording, start: memory[start : start + CROP].copy(),
    }


def draw_crops(n_files: int, n_crops: int) -> list[tuple[int, int]]:
    """Return the same random crops for every rival."""
    rng = np.random.default_rng(0)
    return [(int(rng.integers(n_files)), int(rng.integers(110 * SAMPLE_RATE))) for _ in range(n_crops)]


def reading(read: Reader, crops: Sequence[tuple[int, int]]) -> Callable[[], None]:
    """Return a function that reads all crops."""

    def read_all() -> None:
        for recording, start in crops:
            read(recording, start)

    return read_all


def time_one_process(
    readers: dict[str, Reader], n_files: int, *, n_crops: int, n_runs: int
) -> list[Measurement]:
    """Compare the readers in this process, the files in the system's cache."""
    slow = (RAW, RAW_FIRST, LIBROSA)
    n_read = {name: max(2, n_crops // 100) if name in slow else n_crops for name in readers}
    seconds: dict[str, float] = {}
    # The first crop of a file empties the caches that the next ones live on: a group of its own.
    for group in (set(readers) - set(slow), {RAW, LIBROSA}, {RAW_FIRST}):
        jobs = {
            name: reading(readers[name], draw_crops(n_files, n_read[name]))
            for name in readers
            if name in group
        }
        seconds |= median_seconds(jobs, n_runs=n_runs)
    per_crop = {name: 1000 * value / n_read[name] for name, value in seconds.items()}
    rows = [Measurement(f"{name}, per crop", value, "ms") for name, value in per_crop.items()]
    for name, rival, target in (
        (STORE, PUBLISHED, 4.0),
        (STORE, LIBROSA, 300.0),
        (RAW, LIBROSA, 10.0),
        (RAW_FIRST, LIBROSA, 10.0),
        (FRESH, PUBLISHED, 4.0),
        (STORE, COPY, None),
    ):
        rows.append(Measurement(name, per_crop[name], "ms", rival, per_crop[rival] / per_crop[name], target))
    return rows


class CropDataset(Dataset[torch.Tensor]):
    """Crops for a loader, either whole, or only the seconds that reading them took."""

    def __init__(self, read: Reader, crops: Sequence[tuple[int, int]], *, whole: bool) -> None:
        self.read, self.crops, self.whole = read, crops, whole

    def __len__(self) -> int:
        return len(self.crops)

    def __getitem__(self, index: int) -> torch.Tensor:
        started = time.perf_counter()
        crop = self.read(*self.crops[index])
        seconds = time.perf_counter() - started
        return torch.from_numpy(crop) if self.whole else torch.tensor(seconds)


def time_loader(readers: dict[str, Reader], n_files: int, *, n_crops: int, n_runs: int) -> list[Measurement]:
    """Compare the readers in two forked loader workers: reading alone, and all that a loader does."""
    crops = draw_crops(n_files, n_crops)

    def loader(name: str, *, whole: bool) -> DataLoader[torch.Tensor]:
        return DataLoader(
            CropDataset(readers[name], crops, whole=whole),
            batch_size=32,
            num_workers=N_WORKERS,
            persistent_workers=True,
            multiprocessing_context="fork",
        )

    names = (STORE, PUBLISHED)
    timed = {name: loader(name, whole=False) for name in names}
    in_workers: dict[str, list[float]] = {name: [] for name in names}
    for run in range(n_runs + 1):
        for name in names:
            seconds = float(torch.cat(list(timed[name])).median())
            if run > 0:
                in_workers[name].append(seconds)
    reading_s = {name: statistics.median(values) for name, values in in_workers.items()}
    whole = {name: loader(name, whole=True) for name in names}
    jobs = {name: functools.partial(exhaust, batches) for name, batches in whole.items()}
    delivering_s = {name: value / n_crops for name, value in median_seconds(jobs, n_runs=n_runs).items()}
    rows = []
    for what, found, target in (
        (f"{STORE}, read in one of {N_WORKERS} loader workers", reading_s, 4.0),
        (f"{STORE}, read and delivered by {N_WORKERS} loader workers", delivering_s, None),
    ):
        rows.append(
            Measurement(what, 1000 * found[STORE], "ms", PUBLISHED, found[PUBLISHED] / found[STORE], target)
        )
    return rows


def exhaust(batches: DataLoader[torch.Tensor]) -> None:
    """Go through all batches."""
    for _ in batches:
        pass


def forget(paths: Sequence[Path]) -> None:
    """Drop files from the system's cache."""
    for path in paths:
        with path.open("rb") as file:
            os.fsync(file.fileno())
            os.posix_fadvise(file.fileno(), 0, 0, os.POSIX_FADV_DONTNEED)


def time_cold(readers: dict[str, Reader], files: Files, *, n_crops: int, n_runs: int) -> list[Measurement]:
    """Compare first reads, which come from the disk."""
    paths = {STORE: files.store, PUBLISHED: files.published}
    times: dict[str, list[float]] = {name: [] for name in paths}
    crops = draw_crops(len(files.ogg), n_crops)
    for _ in range(n_runs):
        for name, forgotten in paths.items():
            forget(forgotten)
            started = time.perf_counter()
            reading(readers[name], crops)()
            times[name].append((time.perf_counter() - started) / n_crops)
    cold = {name: statistics.median(values) for name, values in times.items()}
    ratio = cold[PUBLISHED] / cold[STORE]
    return [Measurement(f"{STORE}, cold cache", 1000 * cold[STORE], "ms", f"{PUBLISHED}, cold", ratio)]


def compare_sound(readers: dict[str, Reader], files: Files, folder: Path) -> list[Measurement]:
    """Return the sizes on disk and the largest errors."""
    share = sum(path.stat().st_size for path in files.store) / sum(
        path.stat().st_size for path in files.published
    )
    rows = [Measurement("bytes on disk", 100 * share, "%", "float32 HDF5", 1 / share, 2.0)]
    wholes = {recording: load_audio(files.ogg[recording]) for recording in range(3)}
    errors: dict[str, float] = {}
    for name in (STORE, RAW):
        for recording, start in draw_crops(len(wholes), 20):
            difference = np.abs(
                readers[name](recording, start) - wholes[recording][start : start + CROP]
            ).max()
            errors[name] = max(errors.get(name, 0.0), float(difference))
    rows.append(Measurement(f"{STORE}, largest error on float sound, of full scale", errors[STORE]))
    rows.append(Measurement(f"{RAW}, largest difference from decoding the whole", errors[RAW]))
    (folder / "sixteen").mkdir()
    soundfile.write(folder / "sixteen/a.wav", wholes[0], SAMPLE_RATE, subtype="PCM_16")
    precompute_recordings(folder / "sixteen", folder / "sixteen")
    stored = open_stored(folder / "sixteen/a.wav.hdf5")
    error = np.abs(stored.read(0, stored.n_samples) - load_audio(folder / "sixteen/a.wav")).max()
    return [*rows, Measurement(f"{STORE}, largest error on 16-bit sound, of full scale", float(error))]


def convert_ours(audio: Path, target: Path) -> None:
    """Convert a folder anew."""
    shutil.rmtree(target, ignore_errors=True)
    precompute_recordings(audio, target, PrecomputeSettings(n_cores=N_WORKERS))


def convert_with_librosa(sources: list[Path], target: Path) -> None:
    """Convert recordings anew, as the published program does."""
    shutil.rmtree(target, ignore_errors=True)
    target.mkdir()
    Parallel(N_WORKERS)(delayed(librosa_conversion)(path, target / path.name) for path in sources)


def librosa_conversion(source: Path, target: Path) -> None:
    """Load a recording with librosa and write it as float32."""
    import librosa

    with warnings.catch_warnings(), h5py.File(target, "w") as file:
        warnings.simplefilter("ignore")
        file["au"], file["sr"] = librosa.load(source, sr=SAMPLE_RATE)[0], SAMPLE_RATE


def decode_alone(source: Path) -> None:
    """Decode a recording with libsndfile, and return nothing, which costs nothing to send."""
    soundfile.read(source, dtype="float32")


def decode_all(sources: list[Path]) -> None:
    """Decode recordings with libsndfile, and no more."""
    Parallel(N_WORKERS)(delayed(decode_alone)(path) for path in sources)


def time_converting(files: Files, folder: Path, *, n_files: int, n_runs: int) -> list[Measurement]:
    """Compare conversions in two processes, whose start does not count."""
    waves = [load_audio(path) for path in files.ogg[:n_files]]
    rows = []
    for kind, suffix, rate, n_channels in (
        ("Ogg Vorbis 32 kHz", ".ogg", 32_000, 1),
        ("FLAC 48 kHz", ".flac", 48_000, 1),
        ("MP3 44.1 kHz stereo", ".mp3", 44_100, 2),
    ):
        sources = files.ogg[:n_files]
        audio = folder / f"convert{suffix}"
        audio.mkdir()
        if suffix == ".ogg":
            sources = [Path(shutil.copy(path, audio)) for path in sources]
        else:
            sources = [audio / f"{path.stem}{suffix}" for path in sources]
            for source, wave in zip(sources, waves, strict=True):
                soundfile.write(source, np.repeat(wave[:, None], n_channels, axis=1), rate)

        jobs: dict[str, Callable[[], object]] = {
            "ours": functools.partial(convert_ours, audio, folder / "converted"),
            "librosa": functools.partial(convert_with_librosa, sources, folder / "with_librosa"),
            "decoding": functools.partial(decode_all, sources),
        }
        seconds = {
            name: value / n_files
            for name, value in median_seconds(jobs, n_runs=n_runs, before=os.sync).items()
        }
        milliseconds, rival = 1000 * seconds["ours"], "librosa.load and a float32 write"
        rows.append(
            Measurement(
                f"converting {kind}, per file",
                milliseconds,
                "ms",
                rival,
                seconds["librosa"] / seconds["ours"],
                2.0,
            )
        )
        limit = seconds["decoding"] / seconds["ours"]
        rows.append(
            Measurement(
                f"converting {kind}, per file", milliseconds, "ms", "libsndfile decoding alone", limit
            )
        )
    return rows


PEAK_MEMORY = """
import re, sys
from pathlib import Path
from dawnchorus.audio.precompute import precompute_recordings
assert precompute_recordings(Path(sys.argv[1]), Path(sys.argv[2])).n_done == 1
print(re.search(r"VmHWM:\\s+(\\d+) kB", Path("/proc/self/status").read_text())[1])
"""


def convert_a_day(clip: Path, folder: Path) -> list[Measurement]:
    """Convert a recording of 24 hours at 48 kHz; return the time and the peak memory."""
    if shutil.disk_usage(folder).free < DAY_DISK_BYTES:
        print(f"24 hours are not converted: they need {DAY_DISK_BYTES / 1e9:g} GB of disk")
        return []
    minute = np.resize(load_audio(clip, sample_rate=DAY_RATE), 60 * DAY_RATE)
    (folder / "day").mkdir()
    with soundfile.SoundFile(folder / "day/day.wav", "w", DAY_RATE, 1, "PCM_16", format="RF64") as file:
        for _ in range(DAY_S // 60):
            file.write(minute)
    started = time.perf_counter()
    command = [sys.executable, "-c", PEAK_MEMORY, str(folder / "day"), str(folder / "day_store")]
    done = subprocess.run(command, check=True, capture_output=True, text=True)
    seconds = time.perf_counter() - started
    peak_mb = int(re.findall(r"\d+", done.stdout)[-1]) / 1024
    return [
        Measurement("converting 24 hours at 48 kHz", seconds, "s"),
        Measurement(
            "converting 24 hours, peak memory",
            peak_mb,
            "MB",
            f"{DAY_LIMIT_MB} MB",
            DAY_LIMIT_MB / peak_mb,
            1.0,
        ),
    ]


def main() -> None:
    """Make the files, time everything and print the table."""
    arguments = parse_arguments(str(__doc__).splitlines()[0])
    warnings.simplefilter("ignore")
    n_files, n_crops, n_runs = (12, 300, 3) if arguments.quick else (50, 1000, 9)
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        (folder / "ogg").mkdir()
        files = make_files(folder, n_files=n_files)
        readers = make_readers(files)
        rows = [
            *time_cold(readers, files, n_crops=n_crops // 5, n_runs=3),
            *time_one_process(readers, n_files, n_crops=n_crops, n_runs=n_runs),
            *time_loader(readers, n_files, n_crops=n_crops, n_runs=n_runs),
            *compare_sound(readers, files, folder),
            *time_converting(files, folder, n_files=n_files, n_runs=1 if arguments.quick else 3),
        ]
        if not arguments.quick:
            rows += convert_a_day(files.ogg[0], folder)
    report("The audio store", rows, arguments)


if __name__ == "__main__":
    main()
