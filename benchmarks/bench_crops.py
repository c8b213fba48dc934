"""How long does a random 5-s crop of a two-minute recording take to read?

Rivals: ``librosa.load`` of the whole Ogg file and then the crop; float32 HDF5 opened at every crop,
the published layout.
"""

from __future__ import annotations

import tempfile
import warnings
from collections.abc import Callable
from pathlib import Path

import h5py
import numpy as np
from common import median_seconds, parse_arguments, report, two_minute_recordings

from dawnchorus.audio.decode import load_audio, read_crop
from dawnchorus.audio.store import read_stored_crop, write_store
from dawnchorus.report.measurements import Measurement

CROP = 160_000
SAMPLE_RATE = 32_000


def published_crop(path: Path, start: int) -> np.ndarray:
    """Return a crop of a float32 store."""
    with h5py.File(path, "r") as file:
        return file["au"][start : start + CROP]


def librosa_crop(path: Path, start: int) -> np.ndarray:
    """Return a crop of an audio file that is decoded whole."""
    import librosa

    return librosa.load(path, sr=SAMPLE_RATE)[0][start : start + CROP]


def reading(read: Callable[[Path, int], object], paths: list[Path], *, n_crops: int) -> Callable[[], None]:
    """Return a function that reads random crops, the same ones at each call and for every rival."""
    rng = np.random.default_rng(0)
    crops = [(int(rng.integers(len(paths))), int(rng.integers(110 * SAMPLE_RATE))) for _ in range(n_crops)]

    def read_all() -> None:
        for index, start in crops:
            read(paths[index], start)

    return read_all


def main() -> None:
    """Make the files, time the readers and print the table."""
    arguments = parse_arguments(str(__doc__).splitlines()[0])
    warnings.simplefilter("ignore")
    n_files, n_crops, n_slow = (12, 200, 4) if arguments.quick else (50, 1000, 10)
    with tempfile.TemporaryDirectory() as folder:
        audio = two_minute_recordings(Path(folder), n_files=n_files)
        ours, published = [], []
        for path in audio:
            wave = load_audio(path)
            ours.append(path.with_suffix(".ours.hdf5"))
            write_store(ours[-1], [wave], sample_rate=SAMPLE_RATE)
            published.append(path.with_suffix(".published.hdf5"))
            with h5py.File(published[-1], "w") as file:
                file["au"], file["sr"] = wave, SAMPLE_RATE
        n_runs = 3 if arguments.quick else 7
        fast = median_seconds(
            {
                "store": reading(lambda p, s: read_stored_crop(p, s, CROP), ours, n_crops=n_crops),
                "float32 HDF5": reading(published_crop, published, n_crops=n_crops),
            },
            n_runs=n_runs,
        )
        slow = median_seconds(
            {
                "raw file, the crop alone": reading(
                    lambda p, s: read_crop(p, s, CROP), audio, n_crops=n_slow
                ),
                "librosa.load of the whole": reading(librosa_crop, audio, n_crops=n_slow),
            },
            n_runs=n_runs,
        )
        share = sum(path.stat().st_size for path in ours) / sum(path.stat().st_size for path in published)
    per_crop = {name: value / n_crops for name, value in fast.items()}
    per_crop |= {name: value / n_slow for name, value in slow.items()}
    rows = [Measurement(f"{name}, per crop", 1000 * value, "ms") for name, value in per_crop.items()]
    whole = "librosa.load of the whole"
    for name, rival, target in (
        ("store", whole, 10.0),
        ("store", "float32 HDF5", None),
        ("raw file, the crop alone", whole, None),
    ):
        ratio = per_crop[rival] / per_crop[name]
        rows.append(Measurement(name, 1000 * per_crop[name], "ms", rival, ratio, target))
    rows.append(Measurement("bytes on disk", share, "of float32", "float32 HDF5", 1 / share))
    report("Reading crops", rows, arguments.json)


if __name__ == "__main__":
    main()
