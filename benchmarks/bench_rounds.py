"""Self-training from clips to soundscapes: ESC-10's sounds, far away, over quiet stretches of birdeep.

A seed deals ESC-10's five official folds, which no source clip crosses: two to train on as clips, two to be
mixed into unlabelled soundscapes, one into those that are scored. Backgrounds of the two are of different
recordings. Phoebe's birds are left out: their recordists cannot be dealt to three parts.
"""

from __future__ import annotations

import argparse
import warnings
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import numpy.typing as npt
import pandas as pd
import soundfile
from accuracy import over_seeds, rows_over_seeds
from common import SHARED_DATA as SHARED
from common import parse_arguments
from results import Result, Trial, described_result
from scipy import signal

import dawnchorus as dc
from dawnchorus.audio.decode import stream_audio
from dawnchorus.evaluate.soundscape_truth import window_truth
from dawnchorus.files import write_text
from dawnchorus.metrics import macro_roc_auc, padded_cmap
from dawnchorus.report.measurements import Measurement, machine_description, print_measurements
from dawnchorus.self_training.round_scores import LabelledSoundscapes, window_table

RATE, CLIP_S, SOUNDSCAPE_S = 16_000, 5.0, 30.0
SNR_DB, REVERB_S, LOW_PASS_HZ = (-5.0, 15.0), (0.2, 1.0), (2500.0, 7000.0)
WORDLESS = {"abiotic noise", "No audio"}
"""Labels of birdeep under which a stretch is still quiet of birds."""

NETWORK: dict[str, Any] = {
    "backbone": "test_resnet.r160_in1k",
    "frontend": {"sample_rate": RATE, "n_fft": 1024, "hop_length": 640, "n_mels": 48, "f_max_hz": RATE / 2},
}
"""Small enough that a seed takes minutes on two cores; the winners' backbones need a GPU."""

NOISY: dict[str, Any] = {"recipe": "noisy_student", "drop_path_rate": None}
METHODS: dict[str, dict[str, Any]] = {
    "published recipe": {},
    "noisy student": NOISY,
    "noisy student, rows": {**NOISY, "drawing": "rows"},
    "noisy student, no cap": {**NOISY, "max_label_sum": None},
    "noisy student, no power": {**NOISY, "powers": [1.0]},
    "noisy student, sum of targets": {**NOISY, "target_rule": "sum"},
    "noisy student, half of the clips": {**NOISY, "sampling_prob": 0.5},
}
"""Settings of soundscape_pseudo_config by method; what follows the second is it without one technique."""

CLIPS_PER_EPOCH = 160
ORACLE, NOTHING = "oracle", "no pseudo-labels"
TARGET_SHARE = 0.5  # of the distance between no pseudo-labels and the oracle


class Place(NamedTuple):
    """What a seed trains, labels and is scored on."""

    clips: Path
    unlabelled: Path
    scored: Path


def make_place(folder: Path, seed: int, *, n_unlabelled: int, n_scored: int) -> Place:
    """Return the folders of a seed, made where they are not there yet."""
    place = Place(folder / "clips", folder / "unlabelled", folder / "scored")
    whole = folder / "whole"
    if whole.is_file():
        return place
    rng = np.random.default_rng(seed)
    table = pd.read_csv(SHARED / "esc10" / "recordings.csv")
    part_of = dict(zip(rng.permutation(np.arange(1, 6)).tolist(), (0, 0, 1, 1, 2), strict=True))
    parts = table["fold"].map(part_of)
    quiet = sorted((SHARED / "birdeep").glob("*.ogg"))
    backgrounds = [[quiet[at] for at in half] for half in np.array_split(rng.permutation(len(quiet)), 2)]
    clips = table[parts == 0]
    for filename in clips["filename"]:
        wave = read(SHARED / "esc10" / filename)
        write(place.clips / Path(filename).with_suffix(".wav"), wave)
    names = [str(Path(name).with_suffix(".wav")) for name in clips["filename"]]
    rows = clips.assign(filename=names, author=clips["source_clip"].astype(str))
    rows[["filename", "primary_label", "author"]].to_csv(place.clips / "recordings.csv", index=False)
    for part, goal, n_soundscapes in ((1, place.unlabelled, n_unlabelled), (2, place.scored, n_scored)):
        boxes = make_soundscapes(goal, table[parts == part], backgrounds[part - 1], n_soundscapes, rng)
        truth = goal / "annotations.csv" if part == 2 else folder / "truth_of_unlabelled.csv"
        boxes.to_csv(truth, index=False)
    whole.touch()
    return place


def make_soundscapes(
    goal: Path, clips: pd.DataFrame, backgrounds: Sequence[Path], n_soundscapes: int, rng: np.random.Generator
) -> pd.DataFrame:
    """Write soundscapes of clips over backgrounds; return their boxes."""
    quiet = [stretch for path in backgrounds for stretch in quiet_stretches(path)]
    boxes = []
    for number in range(n_soundscapes):
        wave = background(quiet, rng)
        for row in clips.sample(int(rng.integers(2, 5)), random_state=int(rng.integers(2**31))).itertuples():
            sound = far_away(loud_part(read(SHARED / "esc10" / row.filename)), rng)
            start = int(rng.integers(0, len(wave) - len(sound)))
            level = 10 ** (rng.uniform(*SNR_DB) / 20) * power(wave[start : start + len(sound)]) ** 0.5
            wave[start : start + len(sound)] += sound * np.float32(level / power(sound) ** 0.5)
            edges = start / RATE, (start + len(sound)) / RATE
            boxes.append((f"{goal.name}_{number:03}.wav", *edges, row.primary_label))
        write(goal / f"{goal.name}_{number:03}.wav", wave / np.abs(wave).max())
    return pd.DataFrame(boxes, columns=["filename", "start_s", "end_s", "label"])


def read(path: Path) -> npt.NDArray[np.float32]:
    """Return a recording at 16 kHz, shape (n_samples,)."""
    return np.concatenate(list(stream_audio(path, sample_rate=RATE)))


def write(path: Path, wave: npt.NDArray[np.float32]) -> None:
    """Write a WAV file."""
    path.parent.mkdir(parents=True, exist_ok=True)
    soundfile.write(path, wave, RATE)


def power(wave: npt.NDArray[np.float32]) -> float:
    """Return the mean square."""
    return float(np.mean(wave**2)) + 1e-12


def quiet_stretches(path: Path) -> Iterator[npt.NDArray[np.float32]]:
    """Yield the stretches of 2 s or more of a birdeep recording in which no animal is annotated."""
    boxes = pd.read_csv(SHARED / "birdeep" / "annotations.csv")
    boxes = boxes[(boxes["filename"] == path.name) & ~boxes["label"].isin(WORDLESS)]
    wave = read(path)
    silent = np.ones(len(wave), dtype=bool)
    for box in boxes.itertuples():
        silent[round(box.start_s * RATE) : round(box.end_s * RATE)] = False
    edges = np.flatnonzero(np.diff(np.concatenate([[0], silent, [0]])))
    for start, stop in zip(edges[::2], edges[1::2], strict=True):
        if stop - start >= 2 * RATE:
            yield wave[start:stop]


def background(quiet: Sequence[npt.NDArray[np.float32]], rng: np.random.Generator) -> npt.NDArray[np.float32]:
    """Return a soundscape's length of quiet stretches, one after the other."""
    wave: npt.NDArray[np.float32] = np.zeros(0, np.float32)
    while len(wave) < SOUNDSCAPE_S * RATE:
        wave = np.concatenate([wave, quiet[int(rng.integers(len(quiet)))]])
    return wave[: round(SOUNDSCAPE_S * RATE)].copy()


def loud_part(wave: npt.NDArray[np.float32]) -> npt.NDArray[np.float32]:
    """Return a clip without the silence that ESC-10 pads it with."""
    loud = np.flatnonzero(np.abs(wave) > 0.02 * np.abs(wave).max())
    part = wave[loud[0] : loud[-1] + 1]
    return part if len(part) >= RATE // 4 else wave[loud[0] : loud[0] + RATE // 4]


def far_away(wave: npt.NDArray[np.float32], rng: np.random.Generator) -> npt.NDArray[np.float32]:
    """Return a sound as a distant microphone has it: with decaying echoes, and without its highest parts."""
    decay_s = rng.uniform(*REVERB_S)
    time_s = np.arange(round(decay_s * RATE)) / RATE
    echoes = rng.standard_normal(len(time_s)) * 10 ** (-3 * time_s / decay_s) * 0.1
    echoes[0] = 1.0
    wet = signal.fftconvolve(wave, echoes)[: len(wave)]
    filtered = signal.sosfilt(signal.butter(2, rng.uniform(*LOW_PASS_HZ), fs=RATE, output="sos"), wet)
    return np.asarray(filtered, dtype=np.float32)


def experiment(place: Place, work: Path, seed: int, *, n_epochs: int, pseudo: dict[str, Any]) -> Any:
    """Return the config of an experiment."""
    return {
        "base": "smoke",
        "exp_name": "rounds",
        "logdir": work,
        "seed": seed,
        "data": {"audio_dir": place.clips, "features_dir": None},
        "nn_model_config": NETWORK,
        "train_function_args": {
            "train_dataset_config": {
                "sample_rate": RATE, "use_h5py": False, "use_audio_cache": True,
                "soundscape_pseudo_config": pseudo,
            },
            "val_dataset_config": {"sample_rate": RATE, "use_h5py": False},
            "clips_per_epoch": CLIPS_PER_EPOCH,
            "n_epochs": n_epochs,
            "main_metric": "val_macro_roc_auc",
        },
    }  # fmt: skip


def scores_of(run: Any, place: Place, work: Path) -> dict[str, float]:
    """Return macro ROC-AUC and cmAP of a run on the windows of the scored soundscapes."""
    scored = LabelledSoundscapes(place.scored)
    engine = dc.open_engine(run.path, "torch", config=run.experiment)
    windows = window_table(engine, scored.found, work / "scored")
    truth = window_truth(windows, scored.boxes, engine.card.labels)
    given = windows[list(engine.card.labels)].to_numpy()
    return {"macro ROC-AUC": macro_roc_auc(truth, given), "cmAP": padded_cmap(truth, given)}


def trials_of(seed: int, arguments: argparse.Namespace, done: set[tuple[str, int]]) -> Iterator[Trial]:
    """Train what is not done yet of a seed, and yield its scores."""
    quick = arguments.quick
    n_rounds, n_epochs = (1, 2) if quick else (arguments.rounds, arguments.epochs)
    n_unlabelled, n_scored = (8, 8) if quick else (40, 40)
    folder = arguments.work / f"seed_{seed}"
    place = make_place(folder, seed, n_unlabelled=n_unlabelled, n_scored=n_scored)

    def trial(method: str, run: Any, work: Path) -> Trial:
        scores = scores_of(run, place, work)
        print(f"{method}, seed {seed}: macro ROC-AUC {scores['macro ROC-AUC']:.4f}", flush=True)
        return Trial(task="far away", method=method, seed=seed, scores=scores)

    chosen = dict(list(METHODS.items())[: 2 if quick or not arguments.ablation else None])
    for method, pseudo in chosen.items():
        last = f"{method}, round {n_rounds}"
        if (last, seed) in done:
            continue
        work = folder / method.replace(" ", "_").replace(",", "")
        config = experiment(place, work, seed, n_epochs=n_epochs, pseudo=pseudo)
        found = dc.rounds(config, place.unlabelled, n_rounds=n_rounds, patience=n_rounds + 1)
        for record in found.records:
            name = f"{method}, round {record.number}" if record.number else NOTHING
            if (name, seed) not in done:
                done.add((name, seed))
                run = dc.open_run(work / f"rounds_round_{record.number}")
                yield trial(name, run, work / f"round_{record.number}")
    if (ORACLE, seed) not in done:
        work = folder / "oracle"
        pseudo = {**NOISY, "max_label_sum": None, "tables": [true_table(folder, place, work)]}
        config = experiment(place, work, seed, n_epochs=n_epochs, pseudo={**pseudo, "powers": [1.0]})
        yield trial(ORACLE, dc.train(config), work)


def true_table(folder: Path, place: Place, work: Path) -> dict[str, str]:
    """Return the table of the unlabelled soundscapes with their true labels, as an entry of ``tables``."""
    boxes = pd.read_csv(folder / "truth_of_unlabelled.csv")
    labels = sorted(boxes["label"].unique())
    names = sorted(path.name for path in place.unlabelled.glob("*.wav"))
    ends_s = np.arange(CLIP_S, SOUNDSCAPE_S + 1e-6, CLIP_S)
    windows = pd.DataFrame([(name, end_s - CLIP_S, end_s) for name in names for end_s in ends_s])
    windows.columns = pd.Index(["filename", "start_s", "end_s"])
    table = pd.DataFrame(window_truth(windows, boxes, labels), columns=labels)
    table.insert(0, "row_id", [f"{Path(n).stem}_{e:g}" for n, e in windows[["filename", "end_s"]].to_numpy()])
    work.mkdir(parents=True, exist_ok=True)
    table.to_csv(work / "truth.csv", index=False)
    return {"table": str((work / "truth.csv").absolute()), "audio_dir": str(place.unlabelled.absolute())}


def rows_of(trials: Sequence[Trial]) -> list[Measurement]:
    """Return the scores of each method, and how much of the distance to the oracle it closes."""
    rows = rows_over_seeds(trials, ("macro ROC-AUC", "cmAP"))
    means = {name: mean for name, (mean, *_) in over_seeds(trials, "macro ROC-AUC").items()}
    if {NOTHING, ORACLE} <= set(means) and means[ORACLE] > means[NOTHING]:
        for method, mean in means.items():
            if method not in (NOTHING, ORACLE):
                share = (mean - means[NOTHING]) / (means[ORACLE] - means[NOTHING])
                is_wanted = method.startswith("noisy student, round")
                target = TARGET_SHARE if is_wanted else None
                rows.append(Measurement(f"share of the way to the oracle: {method}", share, target=target))
    return rows


def main() -> None:
    """Run what the JSON file lacks, renew it after each trial, and print the table."""

    def options(parser: argparse.ArgumentParser) -> None:
        parser.add_argument("--seeds", type=int, nargs="+", default=[0, 1, 2, 3, 4])
        parser.add_argument("--rounds", type=int, default=2)
        parser.add_argument("--epochs", type=int, default=16)
        parser.add_argument("--ablation", action="store_true", help="also each technique switched off")
        parser.add_argument("--work", type=Path, default=Path("bench_rounds_work"))

    arguments = parse_arguments(str(__doc__).partition("\n")[0], add_options=options)
    if arguments.quick:
        arguments.seeds = arguments.seeds[:1]
    warnings.simplefilter("ignore")
    file: Path | None = arguments.json
    trials: list[Trial] = []
    if file is not None and file.is_file():
        trials = list(Result.model_validate_json(file.read_text(encoding="utf-8")).trials)
    title = "Rounds of self-training"
    for seed in arguments.seeds:
        for trial in trials_of(seed, arguments, {(one.method, one.seed) for one in trials}):
            trials.append(trial)
            if file is not None:
                seeds = sorted({one.seed for one in trials})
                found = described_result(title, rows_of(trials), quick=arguments.quick, seeds=seeds)
                result = found.model_copy(update={"trials": tuple(trials)})
                write_text(file, result.model_dump_json(indent=2) + "\n")
    print_measurements(f"{title} · {machine_description()}", rows_of(trials))


if __name__ == "__main__":
    main()
