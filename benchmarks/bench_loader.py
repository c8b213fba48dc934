"""How many training clips a second come through ``WaveDataset``, and what does a clip cost on the batch?

The first rival is the same recipe written plainly: float32 HDF5 opened at each read, NumPy, the same
mixup, late noise, normalisations and label smoothing. The second are per-sample loops for what is done to
a batch. Memory of the loader's workers is followed over ten epochs.
"""

from __future__ import annotations

import tempfile
import warnings
from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import Any

import h5py
import numpy as np
import scipy.signal
import torch
from bench_frontend import librosa_logmel
from common import SHARED_DATA, median_seconds, parse_arguments, report, two_minute_recordings
from torch.utils.data import DataLoader, Dataset

from dawnchorus.audio.decode import load_audio
from dawnchorus.audio.listing import list_audio_files
from dawnchorus.audio.precompute import PrecomputeSettings, precompute_recordings
from dawnchorus.augment.batch_augmentations import ON_SPECTROGRAM, ON_WAVE, BatchAugmentations
from dawnchorus.aviary.aviary_settings import AviarySettings
from dawnchorus.aviary.synthesis import make_aviary
from dawnchorus.config import BatchAugmentationSettings, DataSettings, LoaderSettings
from dawnchorus.datasets.loaders import ClipLoader
from dawnchorus.datasets.sampling import ClipSampler, class_weights
from dawnchorus.datasets.wave_dataset import WaveDataset
from dawnchorus.features.frontend import LogMelFrontend
from dawnchorus.features.logmel import FrontendSettings
from dawnchorus.recordings.labels import LabelMap
from dawnchorus.recordings.recordings_table import load_recordings
from dawnchorus.report.measurements import Measurement

N_SAMPLES, SAMPLE_RATE, N_CLASSES = 160_000, 32_000, 206
BATCH = 64
LABELS = LabelMap(tuple(f"species_{k:03d}" for k in range(N_CLASSES)))
SMOOTHING = 0.05


class Places:
    """Recordings and noises, as our store and as float32 HDF5."""

    def __init__(self, folder: Path, *, n_recordings: int, n_noises: int) -> None:
        self.audio, self.noise = folder / "audio" / "birds", folder / "noise"
        self.audio.mkdir(parents=True)
        two_minute_recordings(self.audio, n_files=n_recordings)
        sounds = sorted(SHARED_DATA.glob("esc10/*/*.ogg"))
        if not sounds:
            aviary = make_aviary(folder / "aviary", AviarySettings(n_recordings=40, n_soundscapes=1))
            sounds = list_audio_files(aviary.recordings_dir)
        self.noise.mkdir()
        for number, sound in enumerate(sounds[:n_noises]):
            (self.noise / f"{number:03d}{sound.suffix}").symlink_to(sound)
        self.stores = folder / "stores"
        self.noise_stores = folder / "noise_stores"
        precompute_recordings(self.audio.parent, self.stores, PrecomputeSettings(n_cores=2))
        precompute_recordings(self.noise, self.noise_stores, PrecomputeSettings(n_cores=2))
        self.plain = [_as_float32(path, folder / "plain") for path in list_audio_files(self.audio)]
        self.plain_noise = [
            _as_float32(path, folder / "plain_noise") for path in list_audio_files(self.noise)
        ]
        self.classes = np.random.default_rng(0).integers(N_CLASSES, size=n_recordings)


def _as_float32(path: Path, folder: Path) -> Path:
    folder.mkdir(exist_ok=True)
    stored = folder / f"{path.name}.hdf5"
    with h5py.File(stored, "w") as file:
        file["au"] = load_audio(path)
    return stored


class PlainDataset(Dataset[Any]):
    """The same recipe as it is usually written."""

    def __init__(self, places: Places) -> None:
        self.paths, self.noises = places.plain, places.plain_noise
        self.targets = np.eye(N_CLASSES, dtype=np.float32)[places.classes]
        self.rng = np.random.default_rng(0)

    def __len__(self) -> int:
        return len(self.paths)

    def __getitem__(self, index: int) -> tuple[torch.Tensor, torch.Tensor]:
        wave, target = self._normalized(self._crop(self.paths[index])), self.targets[index]
        if self.rng.random() < 0.5:
            other = int(self.rng.integers(len(self)))
            wave = self._normalized(0.5 * wave + 0.5 * self._normalized(self._crop(self.paths[other])))
            target = np.clip(target + self.targets[other], 0, 1)
        for _ in range(2):
            if self.rng.random() < 0.5:
                share = self.rng.uniform(0.25, 0.75)
                noise = self._normalized(self._crop(self.noises[self.rng.integers(len(self.noises))]))
                wave = self._normalized((1 - share) * wave + share * noise)
                break
        target = target * (1 - SMOOTHING) + SMOOTHING * target.sum() / len(target)
        return torch.from_numpy(wave.astype(np.float32)), torch.from_numpy(target.astype(np.float32))

    def _crop(self, path: Path) -> np.ndarray:
        with h5py.File(path, "r") as file:
            sound = file["au"]
            start = self.rng.integers(max(len(sound) - N_SAMPLES, 0) + 1)
            wave = sound[start : start + N_SAMPLES]
        return np.pad(wave, (N_SAMPLES - len(wave), 0)) if len(wave) < N_SAMPLES else wave

    def _normalized(self, wave: np.ndarray) -> np.ndarray:
        peak = np.abs(wave).max()
        return wave / peak if peak > 0 else wave


def our_dataset(places: Places) -> WaveDataset:
    """Return the winning config's training set, but for its augmentations of the batch."""
    table = load_recordings(DataSettings(audio_dir=places.audio.parent, features_dir=places.stores)).table
    table["primary_label"] = [LABELS.labels[k] for k in places.classes]
    noise = {"folder": places.noise, "features_dir": places.noise_stores, "probability": 0.5}
    settings = {"label_smoothing": SMOOTHING, "mixup": {"probability": 0.5}, "background": [noise, noise]}
    return WaveDataset(table, LABELS, settings)


def loaders(places: Places, *, n_workers: int, n_clips: int) -> dict[str, Any]:
    """Return our loader, and PyTorch's for the same dataset and for the rival."""
    ours, plain = our_dataset(places), PlainDataset(places)
    sampler = ClipSampler(class_weights(ours.item_labels, "inverse"), n_draws=n_clips, seed=0, fold=0)
    plain_sampler = torch.utils.data.RandomSampler(plain, replacement=True, num_samples=n_clips)
    settings = LoaderSettings(batch_size=BATCH, num_workers=n_workers)

    def torch_loader(dataset: Dataset[Any], sampler: Any) -> DataLoader[Any]:
        keep = n_workers > 0
        return DataLoader(dataset, BATCH, sampler=sampler, num_workers=n_workers, persistent_workers=keep)

    return {
        "WaveDataset": ClipLoader(ours, settings, sampler=sampler),
        "WaveDataset, PyTorch's loader": torch_loader(ours, sampler),
        "plain recipe": torch_loader(plain, plain_sampler),
    }


def go_through(loader: Any) -> None:
    """Take every batch, as a training loop does."""
    for waves, _ in loader:
        assert waves.shape[1] == N_SAMPLES


def measure_loader(places: Places, *, n_clips: int, n_runs: int) -> list[Measurement]:
    """Return clips a second of ours and the plain recipe, read in this process and by two workers."""
    rows = []
    for n_workers in (0, 2):
        pair = loaders(places, n_workers=n_workers, n_clips=n_clips)
        seconds = median_seconds(
            {name: partial(go_through, loader) for name, loader in pair.items()}, n_runs=n_runs
        )
        where = "in this process" if n_workers == 0 else f"by {n_workers} workers"
        ours = seconds["WaveDataset"]
        for rival, wanted in (("plain recipe", 3), ("WaveDataset, PyTorch's loader", None)):
            ratio = seconds[rival] / ours
            rows.append(Measurement(f"WaveDataset, {where}", n_clips / ours, "clips/s", rival, ratio, wanted))
        rows.append(Measurement(f"plain recipe, {where}", n_clips / seconds["plain recipe"], "clips/s"))
    dataset, plain = our_dataset(places), PlainDataset(places)
    draws = list(ClipSampler(class_weights(dataset.item_labels, "inverse"), n_draws=n_clips, seed=0, fold=0))
    alone = median_seconds(
        {
            "WaveDataset": lambda: [len(dataset[draw].wave) for draw in draws],
            "plain recipe": lambda: [len(plain[draw.item][0]) for draw in draws],
        },
        n_runs=n_runs,
    )
    ratio = alone["plain recipe"] / alone["WaveDataset"]
    rows.append(
        Measurement(
            "WaveDataset, a clip alone", 1000 * alone["WaveDataset"] / n_clips, "ms", "plain recipe", ratio
        )
    )
    return rows


def measure_memory(places: Places, *, n_clips: int) -> list[Measurement]:
    """Return how a worker's own memory grows from the second to the tenth epoch."""
    loader = loaders(places, n_workers=2, n_clips=n_clips)["WaveDataset"]
    held = []
    for _ in range(10):
        go_through(loader)
        workers = loader.loader._iterator._workers
        held.append(max(_own_memory_mb(worker.pid) for worker in workers))
    return [
        Measurement("memory of a loader worker, epoch 2", held[1], "MB"),
        Measurement("its growth until epoch 10", held[-1] - held[1], "MB"),
    ]


def _own_memory_mb(pid: int) -> float:
    """Return the memory of a process that no other shares, MB."""
    lines = Path(f"/proc/{pid}/smaps_rollup").read_text().splitlines()
    return sum(int(line.split()[1]) for line in lines if line.startswith("Private")) / 1024


def measure_batch(device: str, *, batch: int, n_runs: int) -> list[Measurement]:
    """Return what filtering, front-end and masks cost on a batch, against loops over its examples."""
    waves = torch.from_numpy(np.random.default_rng(0).uniform(-1, 1, (batch, N_SAMPLES)).astype(np.float32))
    on_device = waves.to(device)
    settings = BatchAugmentationSettings.model_validate({"random_filtering": {}, "spectrogram_masks": {}})
    on_wave, on_spectrogram = (BatchAugmentations(settings, names) for names in (ON_WAVE, ON_SPECTROGRAM))
    frontend = LogMelFrontend(FrontendSettings()).to(device)
    generator = torch.Generator(device)

    def whole(waves: torch.Tensor) -> torch.Tensor:
        logmel = on_spectrogram(frontend(on_wave(waves, generator)), generator)
        if device == "cuda":
            torch.cuda.synchronize()
        return logmel

    def torch_loop() -> None:
        torch.cat([whole(wave[None]) for wave in on_device])

    rng = np.random.default_rng(0)
    rivals: dict[str, Callable[[], object]] = {
        "a loop of the same": torch_loop,
        "a loop with scipy and librosa": lambda: [scipy_example(wave, rng) for wave in waves.numpy()],
    }
    rows = []
    for (
        name,
        rival,
    ) in rivals.items():  # one by one: what one leaves in caches and heap, the next would pay for
        with torch.inference_mode():
            seconds = median_seconds({"ours": lambda: whole(on_device), name: rival}, n_runs=n_runs)
        per_clip_ms, ratio = 1000 * seconds["ours"] / batch, seconds[name] / seconds["ours"]
        what = f"augmentation and front-end, {device}, per clip"
        rows.append(Measurement(what, per_clip_ms, "ms", name, ratio, 5))
    return rows


def scipy_example(wave: np.ndarray, rng: np.random.Generator) -> np.ndarray:
    """Return one example filtered, as a log-mel picture, with masks: one call after the other."""
    _, _, spectrum = scipy.signal.stft(wave, nperseg=1024, noverlap=512)
    gains_db = rng.uniform(-20, 0, 4)
    curve_db = np.interp(np.linspace(0, 3, 513), np.arange(4), gains_db)
    _, filtered = scipy.signal.istft(spectrum * 10 ** (curve_db[:, None] / 20), nperseg=1024, noverlap=512)
    filtered = (filtered / np.abs(filtered).max()).astype(np.float32)
    logmel = librosa_logmel(filtered[:N_SAMPLES], FrontendSettings())
    logmel = (logmel - logmel.mean()) / (logmel.std() + 1e-6)
    logmel = (logmel - logmel.min()) / (logmel.max() - logmel.min() + 1e-6)
    for length, widest in ((logmel.shape[0], 10), (logmel.shape[1], 20)):
        if rng.random() < 0.3:
            for _ in range(rng.integers(1, 4)):
                width = int(rng.integers(1, widest + 1))
                start = int(rng.integers(0, length - width + 1))
                bar = slice(start, start + width)
                logmel[(bar, slice(None)) if widest == 10 else (slice(None), bar)] = 0
    return logmel


def main() -> None:
    """Time the loader and the batch, and print the table."""
    arguments = parse_arguments(str(__doc__).splitlines()[0])
    warnings.simplefilter("ignore")
    quick = arguments.quick
    with tempfile.TemporaryDirectory() as folder:
        places = Places(Path(folder), n_recordings=20 if quick else 60, n_noises=40)
        rows = measure_loader(places, n_clips=384 if quick else 1024, n_runs=3 if quick else 7)
        rows += measure_memory(places, n_clips=128 if quick else 512)
    rows += measure_batch("cpu", batch=16 if quick else BATCH, n_runs=3 if quick else 7)
    if torch.cuda.is_available():
        rows += measure_batch("cuda", batch=BATCH, n_runs=20)
    report("Loader", rows, arguments)


if __name__ == "__main__":
    main()
