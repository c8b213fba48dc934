"""Damaged files of every kind that commands read: each reading succeeds, or ends in one sentence."""

from __future__ import annotations

import csv
import importlib.util
import json
import os
import shutil
import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from functools import partial
from pathlib import Path
from typing import Any

import h5py
import numpy as np
import pytest
import soundfile
import torch

from dawnchorus.audio.decode import load_audio, read_crop, read_info
from dawnchorus.audio.listing import list_recordings
from dawnchorus.audio.precompute import PrecomputeSettings
from dawnchorus.audio.recorder_times import recorder_time
from dawnchorus.audio.shard_stores import join_stores, precompute_shard
from dawnchorus.audio.source import open_stored
from dawnchorus.audio.store_layout import StoreSettings
from dawnchorus.audio.store_writing import write_store
from dawnchorus.augment.background import BackgroundSettings, _listed
from dawnchorus.aviary.synthesis import read_card
from dawnchorus.batch.bulk import BulkSettings, predict_bulk
from dawnchorus.batch.segments import SegmentSettings, cut_segments
from dawnchorus.batch.shard_join import join_predictions
from dawnchorus.batch.shard_predictions import predict_shard
from dawnchorus.competition.kaggle.download_record import (
    ArchiveRecord,
    DownloadRecord,
    PartRecord,
    read_record,
    write_record,
)
from dawnchorus.competition.kaggle.kaggle_credentials import find_credentials
from dawnchorus.competition.pipeline_steps import DoneStep
from dawnchorus.competition.submission.form import read_submission
from dawnchorus.config import load_train_config, read_json, read_json_if_sound, to_jsonable
from dawnchorus.config.saved_config import from_json_file
from dawnchorus.datasets.pseudo_clips import _kept_rows
from dawnchorus.datasets.self_training_settings import PseudoLabelSettings
from dawnchorus.downloads.recording_catalogue import COLUMNS, read_table, write_table
from dawnchorus.downloads.species_list import read_species as read_asked_species
from dawnchorus.engines.engine_settings import default_settings, read_tuned, with_tuned
from dawnchorus.engines.opening import _warn_if_outdated, open_file
from dawnchorus.errors import DataError
from dawnchorus.evaluate.calibration import ClassThreshold, write_thresholds
from dawnchorus.evaluate.out_of_fold import saved_out_of_fold
from dawnchorus.files import Failure, read_failures, write_failures
from dawnchorus.files.shards import Shard
from dawnchorus.formats.annotations import read_annotations
from dawnchorus.formats.array_archives import read_arrays
from dawnchorus.formats.detection_tables import read_detections
from dawnchorus.models.card import ModelCard
from dawnchorus.models.checkpoint_file import write_checkpoint
from dawnchorus.models.weights import load_state_dict_file
from dawnchorus.predict.detections import DetectionSettings, read_species
from dawnchorus.predict.recording_files import find_recordings
from dawnchorus.predict.thresholds import read_thresholds
from dawnchorus.predict.window_predictions import WindowPredictions
from dawnchorus.predict.window_tables import read_windows, window_table
from dawnchorus.pseudo_labels.pseudo_label_settings import check_earlier
from dawnchorus.pseudo_labels.pseudo_label_table import pseudo_label_table
from dawnchorus.recordings.labels import LabelMap, read_labels
from dawnchorus.recordings.table_readers import read_recordings_table
from dawnchorus.report.pseudo_label_survey import survey_table
from dawnchorus.report.run_page import write_run_page
from dawnchorus.runs import Run, build_model
from dawnchorus.training.auto_batch import FoundBatch
from dawnchorus.training.checkpoints import SafetensorsIO, epoch_metrics, epochs_done

_spec = importlib.util.spec_from_file_location("mutations", Path(__file__).with_name("mutations.py"))
mutations = importlib.util.module_from_spec(_spec)  # type: ignore[arg-type]
sys.modules["mutations"] = mutations
_spec.loader.exec_module(mutations)  # type: ignore[union-attr]
Kind = mutations.Kind

LABELS = ("owl", "wren")
CONFIG = """
from pathlib import Path

from dawnchorus import WaveAllFileDataset, WaveCNNAttenClassifier, WaveDataset, lightning_training

CONFIG = {
    "exp_name": "tiny",
    "data": {"audio_dir": Path(__file__).parent / "recordings"},
    "nn_model_class": WaveCNNAttenClassifier,
    "nn_model_config": {"backbone": "test_resnet.r160_in1k"},
    "train_function": lightning_training,
    "train_function_args": {
        "train_dataset_class": WaveDataset,
        "val_dataset_class": WaveAllFileDataset,
        "train_dataset_config": {"segment_len": 1.0},
        "val_dataset_config": {"segment_len": 1.0},
    },
}
"""


def _write_csv(path: Path, *rows: tuple[object, ...], separator: str = ",") -> Path:
    with path.open("w", newline="", encoding="utf-8") as file:
        csv.writer(file, delimiter=separator).writerows(rows)
    return path


def _write_json(path: Path, value: Any) -> Path:
    path.write_text(json.dumps(value, indent=2), encoding="utf-8")
    return path


@pytest.fixture(scope="module")
def run(tmp_path_factory: pytest.TempPathFactory, card: Callable[..., ModelCard]) -> Run:
    """A run of one fold, written without training."""
    folder = tmp_path_factory.mktemp("damaged") / "run"
    (folder / "fold_0" / "checkpoints").mkdir(parents=True)
    (folder / "config.py").write_text(CONFIG)
    _write_json(folder / "config.json", to_jsonable(load_train_config(folder / "config.py")))
    (folder / "model_card.json").write_text(card(labels=LABELS, folds=(0,)).to_json())
    rows = [(f"{label}/XC{k}.wav", label, "Ada", k % 2, True) for label in LABELS for k in range(3)]
    _write_csv(folder / "folds.csv", ("filename", "primary_label", "author", "fold", "validated"), *rows)
    _write_csv(folder / "fold_0" / "per_class.csv", ("label", "n_positive", "roc_auc"), ("owl", 3, 0.8))
    _write_json(folder / "metrics.json", {"cmap": {"heading": "padded cMAP", "format": ".4f"}})
    report = {
        "best_checkpoint": "best.safetensors",
        "best_epoch": 3,
        "val_macro_roc_auc": 0.9,
        "seconds": 3.5,
    }
    _write_json(folder / "fold_0" / "finished.json", report)
    logs = folder / "fold_0" / "logs" / "version_0"
    logs.mkdir(parents=True)
    _write_csv(logs / "metrics.csv", ("epoch", "val_cmap", "train_loss"), (0, 0.5, ""), (0, "", 0.4))
    checkpoint = {
        "epoch": 3,
        "metrics": {"val_cmap": 0.5},
        "state_dict": {"model.head.weight": torch.zeros(8, 4), "loss.weight": torch.ones(2)},
        "optimizer_states": [
            {"state": {0: {"step": torch.tensor(3.0)}}, "param_groups": [{"lr": 0.1, "betas": (0.9, 0.99)}]}
        ],
    }
    io = SafetensorsIO(card(labels=LABELS))
    for name in ("best", "last"):
        io.save_checkpoint(checkpoint, folder / "fold_0" / "checkpoints" / f"{name}.safetensors")
    return Run(folder)


def _write_out_of_fold(run: Run) -> None:
    """Write out-of-fold predictions that are newer than the weights, and the recordings that they are of."""
    folds = run.folds()
    for name in folds["filename"]:
        path = run.path / "recordings" / name
        path.parent.mkdir(parents=True, exist_ok=True)
        soundfile.write(path, np.full(3200, 0.1), 32_000)
    table = folds[["filename", "primary_label", "fold"]].assign(owl=0.5, wren=0.25)
    table[table["fold"] == 0].to_parquet(run.oof_file)
    os.utime(run.oof_file, (2e9, 2e9))


GROUPS = ("run", "json", "tables", "arrays", "sounds", "batch", "models")


@pytest.fixture(scope="module")
def kinds(
    run: Run, tmp_path_factory: pytest.TempPathFactory, exported: Any, card: Any, stub: Any
) -> Iterator[dict[str, list[Any]]]:
    """Every kind of file, by its group."""
    root = tmp_path_factory.mktemp("kinds")
    with pytest.MonkeyPatch.context() as patch:
        yield {
            "run": list(_kinds_of_run(run)),
            "json": list(_kinds_of_json(root, patch)),
            "tables": list(_kinds_of_tables(root)),
            "arrays": list(_kinds_of_arrays(root)),
            "sounds": list(_kinds_of_sounds(root)),
            "batch": list(_kinds_of_batch(root, lambda: stub(card()))),
            "models": list(_kinds_of_models(exported, root)),
        }


def _kinds_of_run(run: Run) -> Iterator[Any]:
    json_changed, table_changed = mutations.json_changed, mutations.table_changed
    last = run.checkpoints_dir(0) / "last.safetensors"
    config = load_train_config(run.path / "config.py")

    def open_last() -> None:
        epochs_done(last)
        epoch_metrics(last)
        SafetensorsIO(run.card()).load_checkpoint(last)
        load_state_dict_file(last)

    def read_config() -> None:
        run.data()
        run.best_of_folds()
        run.check_made_from(config)
        from_json_file(run.config_file)

    def read_model_card() -> None:
        build_model(run.card(), where=str(run.card_file))

    def read_finished() -> None:
        run._repr_html_()
        run.best_of_folds()
        run.newest_weights_ns([0])

    _write_out_of_fold(run)

    saved = partial(saved_out_of_fold, run, config)
    assert saved() is not None
    yield Kind("oof_predictions.parquet", run.oof_file, saved, cost=8)
    yield Kind("config.json", run.config_file, read_config, json_changed)
    yield Kind("model_card.json", run.card_file, read_model_card, json_changed, cost=20)
    yield Kind("folds.csv", run.folds_file, lambda: run.chosen_folds(None), table_changed, cost=2)
    yield Kind("finished.json", run.finished_file(0), read_finished, json_changed)
    yield Kind("checkpoint of training", last, open_last, mutations.safetensors_changed)
    for file in (
        run.metrics_file,
        run.config_file,
        run.finished_file(0),
        run.card_file,
        run.folds_file,
        run.fold_dir(0) / "logs/version_0/metrics.csv",
        run.fold_dir(0) / "per_class.csv",
    ):
        form = json_changed if file.suffix == ".json" else table_changed
        yield Kind(f"page of a run, {file.name}", file, lambda: write_run_page(run), form, cost=200)


def _kinds_of_json(root: Path, patch: pytest.MonkeyPatch) -> Iterator[Any]:
    form = mutations.json_changed
    tuned = _write_json(root / "tuned.json", with_tuned({}, "onnx", default_settings(2), 12.5))
    yield Kind("tuned.json", tuned, lambda: read_tuned(root, "onnx"), form)
    settings = _write_json(root / "settings.json", {"out-of-fold": [0, 1], "min-prob": 0.1, "smooth": None})
    (root / "round_1.csv").touch()
    yield Kind(
        "settings.json of pseudo-labels",
        settings,
        lambda: check_earlier(root, root / "round_1.csv", {"min-prob": 0.1}, force=False),
        form,
    )
    archive = ArchiveRecord(n_bytes=10, version="2", files={"train.csv": 40})
    record = DownloadRecord(competition="birds", parts={"train": PartRecord(archives={"birds": archive})})
    write_record(root, record)
    yield Kind(".downloads.json", root / ".downloads.json", lambda: read_record(root, "birds"), form)
    for name in ("KAGGLE_API_TOKEN", "KAGGLE_USERNAME", "KAGGLE_KEY"):
        patch.delenv(name, raising=False)
    patch.setenv("KAGGLE_CONFIG_DIR", str(root))
    kaggle = _write_json(root / "kaggle.json", {"username": "somebody", "key": "a secret"})
    yield Kind("kaggle.json", kaggle, find_credentials, form)
    found = FoundBatch(batch_size=64, lr=0.001, clips_per_s={"32": 100.5, "64": 201.5})
    batch = _write_json(root / "auto_batch.json", found.model_dump())
    yield Kind("auto_batch.json", batch, lambda: read_json(batch, FoundBatch), form)
    (root / "owl").mkdir()
    (root / "owl" / "XC1.ogg").touch()
    names = _write_json(root / "list.json", ["owl/XC1.ogg", "wren/XC2.ogg"])
    yield Kind("list of recordings", names, lambda: list_recordings(names), form)
    aviary = _write_json(root / "aviary.json", {"grammar_version": 2, "seed": 42})
    yield Kind("aviary.json", aviary, lambda: read_card(aviary, "name another folder"), form)
    done = _write_json(root / "done.json", {"train": {"exit_code": 0, "fingerprint": "ab"}})
    yield Kind("done.json", done, lambda: read_json_if_sound(done, dict[str, DoneStep]), form)


def _kinds_of_tables(root: Path) -> Iterator[Any]:
    form = mutations.table_changed
    header = ("filename", "primary_label", "secondary_labels", "author", "rating", "boxes", "latitude")
    recordings = _write_csv(
        root / "recordings.csv",
        header,
        ("owl/XC1.ogg", "owl", "['wren']", "Ada", 4.5, '[[0, 1.5, "owl"]]', 48.2),
        ("wren/XC2.ogg", "wren", "", "Bea", "", "", ""),
    )
    yield Kind("recordings.csv", recordings, lambda: read_recordings_table(recordings, LABELS), form, cost=4)
    labels = _write_csv(root / "taxonomy.csv", ("primary_label", "name"), ("owl", "Owl"), ("wren", "Wren"))
    yield Kind("labels, CSV", labels, lambda: read_labels(labels), form, cost=2)
    lines = _write_csv(root / "labels.txt", ("owl",), ("wren",))
    yield Kind("labels, text", lines, lambda: read_labels(lines), form)
    line = ClassThreshold("wren", 0.4, precision=0.9, recall=0.7, n_positive=20, n_above=16, how="class")
    thresholds = root / "thresholds.csv"
    write_thresholds(thresholds, [line, line._replace(label="owl")])
    yield Kind("thresholds.csv", thresholds, lambda: read_thresholds(thresholds, LABELS), form, cost=2)
    row = dict.fromkeys(COLUMNS, "") | {"id": "XC1", "filename": "owl/XC1.mp3", "size_bytes": "4096"}
    write_table(root / "audio.csv", {"XC1": row, "XC2": row | {"id": "XC2"}})
    out = root / "audio.csv"
    yield Kind("table of downloads", out, lambda: write_table(root / "new.csv", read_table(out)), form)
    species = _write_csv(
        root / "asked.csv", ("scientific_name", "primary_label"), ("Turdus merula", "blackbird")
    )
    yield Kind("species to download", species, lambda: read_asked_species([str(species)]), form)
    wanted = _write_csv(root / "species.csv", ("owl", "Owl"), ("wren", "Wren"))
    yield Kind("species to predict", wanted, lambda: read_species(wanted, LABELS), form)
    write_failures(root, [Failure(Path("owl/XC5.wav"), "truncated"), Failure(Path("owl/XC6.wav"), "empty")])
    yield Kind("failures.csv", root / "failures.csv", lambda: read_failures(root), form)
    boxes = _write_csv(
        root / "boxes.csv",
        ("filename", "start_s", "end_s", "label"),
        ("a.ogg", 0, 1.5, "owl"),
        ("b.ogg", 1, 2, "wren"),
    )
    yield Kind("annotations, CSV", boxes, lambda: read_annotations(boxes, ["a.ogg", "b.ogg"]), form, cost=3)
    raven = _write_csv(
        root / "a.selections.txt",
        ("Selection", "View", "Begin Time (s)", "End Time (s)", "File Offset (s)", "Begin File", "Species"),
        (1, "Spectrogram 1", 0.5, 1.5, 0.5, "a.ogg", "owl"),
        (2, "Spectrogram 1", 2.5, 3.5, 2.5, "a.ogg", "wren"),
        separator="\t",
    )
    yield Kind("annotations, Raven", raven, lambda: read_annotations(raven, ["a.ogg"]), form, cost=3)
    audacity = _write_csv(root / "b.txt", (0.0, 1.5, "owl 0.9000"), (2.0, 3.0, "wren"), separator="\t")
    yield Kind("annotations, Audacity", audacity, lambda: read_annotations(audacity, ["b.ogg"]), form, cost=3)
    columns = ("filename", "start_s", "end_s", "label", "probability")
    detections = _write_csv(
        root / "detections.csv", columns, ("a.ogg", 0, 5, "owl", 0.9), ("a.ogg", 5, 10, "owl", 0.7)
    )

    yield Kind("detections.csv", detections, lambda: read_detections(detections), form, cost=2)
    submission = _write_csv(
        root / "submission.csv", ("row_id", "owl", "wren"), ("night_5", 0.9, 0.1), ("night_10", 0, 1)
    )
    yield Kind("submission.csv", submission, lambda: read_submission(submission), form, cost=2)
    (root / "noise").mkdir()
    (root / "noise" / "a.wav").touch()
    noise = _write_csv(root / "noise.csv", ("filename", "start_s", "end_s", "label"), ("a.wav", 0, 1, "rain"))
    settings = BackgroundSettings(folder=root / "noise", table=noise, labels=("rain",))
    yield Kind("table of noise", noise, lambda: _listed(settings), form, cost=2)
    windows = root / "windows.parquet"
    with window_table(windows, LABELS) as written:
        starts = np.arange(20) * 32_000
        shares = np.tile(np.float32([[0.9, 0.1]]), (20, 1))
        written.add("night.ogg", WindowPredictions(starts, starts + 32_000, shares, 32_000))
    yield Kind("windows.parquet", windows, lambda: read_windows(windows, "owl", ["night.ogg"]), cost=4)
    for suffix in (".csv", ".parquet"):
        yield _kind_of_pseudo_labels(root, suffix)


def _kind_of_pseudo_labels(root: Path, suffix: str) -> Any:
    """Return the kind of a table of pseudo-labels."""
    folder = root / f"pseudo{suffix}"
    (folder / "soundscapes").mkdir(parents=True)
    table = folder / f"round_1{suffix}"
    with pseudo_label_table(table, list(LABELS), has_folds=True) as written:
        for fold, name in enumerate(("night", "dusk")):
            soundfile.write(folder / "soundscapes" / f"{name}.flac", np.zeros(64_000), 32_000)
            ends = np.arange(1.0, 21.0)
            written.add(name, ends, np.float32(np.tile([[0.9, 0.1], [0.2, 0.8]], (10, 1))), fold=fold)
    settings = PseudoLabelSettings(
        tables=[{"table": table, "audio_dir": folder / "soundscapes"}], out_of_fold=True
    )

    def read() -> None:
        _kept_rows(settings, LabelMap(LABELS), 0)
        survey_table(table)

    form = mutations.table_changed if suffix == ".csv" else mutations.bytes_changed
    return Kind(f"pseudo-labels, {suffix[1:]}", table, read, form, cost=4)


def _kinds_of_arrays(root: Path) -> Iterator[Any]:
    wave = np.float32(0.1) * np.random.default_rng(0).standard_normal(20_000).astype(np.float32)
    store = root / "XC1.ogg.hdf5"
    write_store(store, [wave], StoreSettings(), n_samples=len(wave))

    def read(path: Path) -> None:
        recording = open_stored(path)
        recording.verify()
        recording.read(0, 160_000)

    yield Kind("HDF5 store", store, lambda: read(store))
    arrays = root / "night.npz"
    np.savez(arrays, starts=np.arange(50), probabilities=np.zeros((50, 3), np.float32), made_of=np.array("a"))
    yield Kind("archive of arrays, .npz", arrays, lambda: read_arrays(arrays), mutations.zip_changed)
    for name, options in (("contiguous", {}), ("compressed", {"compression": "gzip", "chunks": (4096,)})):
        path = root / f"{name}.hdf5"
        with h5py.File(path, "w") as file:
            file.create_dataset("au", data=wave, **options)
            file["sr"] = 32_000
            file["do_normalize"] = True
        yield Kind(f"published store, {name}", path, lambda path=path: read(path), cost=2)


SOUNDS = {
    "WAV, 16 bits": (".wav", "PCM_16", "WAV"),
    "WAV, 24 bits, extensible": (".wav", "PCM_24", "WAVEX"),
    "WAV, float": (".wav", "FLOAT", "WAV"),
    "RF64": (".wav", "PCM_16", "RF64"),
    "AIFF": (".aiff", "PCM_16", "AIFF"),
    "FLAC": (".flac", "PCM_16", "FLAC"),
    "OGG, Vorbis": (".ogg", "VORBIS", "OGG"),
    "OGG, Opus": (".opus", "OPUS", "OGG"),
    "MP3": (".mp3", "MPEG_LAYER_III", "MP3"),
    "CAF": (".caf", "PCM_16", "CAF"),
}


def _kinds_of_sounds(root: Path) -> Iterator[Any]:
    time_s = np.arange(8000) / 16_000
    noise = 0.05 * np.random.default_rng(0).standard_normal((2, len(time_s)))
    wave = (0.5 * np.sin(2 * np.pi * 1500 * time_s) + noise).T

    def read(path: Path) -> None:
        read_info(path)
        load_audio(path)
        read_crop(path, 4000, 4000)
        recorder_time(path)

    for name, (suffix, subtype, form) in SOUNDS.items():
        path = root / f"20240501_033000_{form}_{subtype}{suffix}"
        soundfile.write(path, wave, 16_000, subtype=subtype, format=form)
        yield Kind(f"recording, {name}", path, partial(read, path), cost=4)


def _kinds_of_batch(root: Path, make_engine: Callable[[], Any]) -> Iterator[Any]:
    """Yield the files that predicting and cutting out keep for the next call."""
    sounds, out = root / "sounds", root / "out"
    sounds.mkdir()
    for number, name in enumerate(("20240501_033000.wav", "owl.flac")):
        rng = np.random.default_rng(number)
        soundfile.write(sounds / name, 0.1 * rng.standard_normal(40_000), 16_000)
    found = find_recordings([str(sounds)])
    settings = BulkSettings(DetectionSettings(np.full(3, 0.01, np.float32)), formats=("csv", "raven"))

    def predict(folder: Path = out) -> None:
        predict_bulk(make_engine(), found, folder, settings)

    def shard(folder: Path) -> None:
        predict_shard(make_engine(), found, folder, settings, Shard(1, 1))

    def segments(folder: Path) -> None:
        detections = read_detections(folder / "detections.csv")
        cut_segments(detections, sounds, folder / "segments", SegmentSettings(per_species=1))

    def on_a_copy(work: Callable[[Path], None], copy: Path) -> None:
        """Leave the damaged file as it is, which the work would replace."""
        shutil.rmtree(copy, ignore_errors=True)
        shutil.copytree(out, copy)
        work(copy)

    predict()
    segments(out)
    journal = out / "journal"
    entry = min(journal.glob("??/*.npz"))
    form, checked = mutations.json_changed, mutations.checked_json_changed
    for name, file, changed in (
        ("predictions.json", out / "predictions.json", form),
        ("journal, network.json", journal / "network.json", form),
        ("journal, index.json", journal / "index.json", checked),
        ("journal, tables.json", journal / "tables.json", checked),
        ("journal, entry", entry, mutations.zip_changed),
    ):
        work = partial(on_a_copy, predict, root / "out_copy")
        yield Kind(name, file, work, changed, cost=20, folder=out)
    settings_file = out / "segments" / "segments.json"
    work = partial(on_a_copy, segments, root / "out_copy")
    yield Kind("segments.json", settings_file, work, form, cost=20, folder=out)
    yield from _kinds_of_shards(root, sounds, shard)


def _kinds_of_shards(root: Path, sounds: Path, predict: Callable[[Path], None]) -> Iterator[Any]:
    """Yield the records of shards, which a join reads."""
    predict(root / "parts")
    precompute_shard(sounds, root / "stores", PrecomputeSettings(), Shard(1, 1))

    def on_a_copy(join: Callable[[Path], object], folder: Path) -> None:
        copy = root / "copies" / folder.name
        shutil.rmtree(copy, ignore_errors=True)
        shutil.copytree(folder, copy)
        join(copy)

    for name, folder, below, join in (
        ("shard of predict", root / "parts", "journal/shards", join_predictions),
        ("shard of precompute", root / "stores", "shards", join_stores),
    ):
        file, work = folder / below / "1_of_1.json", partial(on_a_copy, join, folder)
        yield Kind(name, file, work, mutations.checked_json_changed, cost=10, folder=Path(folder.name))


def _predict(model: Path) -> None:
    open_file(model, default_settings(n_threads=1)).predict(np.zeros((1, 32_000), np.float32))


def _kinds_of_models(exported: Any, root: Path) -> Iterator[Any]:
    state = {f"model.{name}": tensor for name, tensor in exported.models[0].state_dict().items()}
    state = {name: state[name] for name in list(state)[-8:]}
    for suffix in (".ckpt", ".pt"):
        path = root / f"weights{suffix}"
        torch.save({"state_dict": state, "epoch": 3}, path)
        yield Kind(f"weights, {suffix}", path, lambda path=path: load_state_dict_file(path))
    legacy = root / "legacy.pth"
    torch.save(state, legacy, _use_new_zipfile_serialization=False)
    yield Kind("weights, .pth of old PyTorch", legacy, lambda: load_state_dict_file(legacy))
    named = root / "weights.safetensors"
    write_checkpoint(named, state)
    yield Kind(
        "weights, .safetensors", named, lambda: load_state_dict_file(named), mutations.safetensors_changed
    )
    copy = root / "exported"
    shutil.copytree(exported.run, copy)
    whole = copy / "whole_onnx" / "model.onnx"  # without the networks behind the front-end
    onnx, openvino = copy / "onnx_ensem_5first_folds", copy / "onnx_ensem_5first_folds_openvino_fp16"
    whole.parent.mkdir()
    for file in (onnx / "model.onnx", *onnx.glob("*.bin")):
        shutil.copy(file, whole.parent)
    for name, file, opened in (
        ("ONNX, model.onnx", whole, whole),
        ("ONNX, networks.onnx", onnx / "networks.onnx", onnx / "model.onnx"),
        ("ONNX, weights.bin", onnx / "weights.bin", onnx / "model.onnx"),
        ("OpenVINO, model.xml", openvino / "model.xml", openvino / "model.xml"),
        ("OpenVINO, model.bin", openvino / "model.bin", openvino / "model.xml"),
    ):
        yield Kind(name, file, partial(_predict, opened), cost=20)
    bundle = _write_json(onnx / "bundle.json", {"folds": [0, 1], "checkpoints": "torch abc"})
    yield Kind(
        "bundle.json", bundle, lambda: _warn_if_outdated(copy, onnx / "model.onnx"), mutations.json_changed
    )


def _survey(kinds: list[Any], n_mutations: int) -> dict[str, Any]:
    """Return the counts of all kinds, and add them to the table of counts."""
    counts = [(kind, mutations.count(kind, n_mutations)) for kind in kinds]
    mutations.write_counts((f"damaged: {kind.name}", counted) for kind, counted in counts)
    return {kind.name: counted for kind, counted in counts}


@pytest.mark.parametrize("group", GROUPS)
def test_a_damaged_file_is_read_or_refused_in_a_sentence(kinds: dict[str, list[Any]], group: str) -> None:
    counts = _survey([kind for kind in kinds[group] if kind.cost < 100], 200)
    assert counts
    assert {name: dict(counted.badly) for name, counted in counts.items() if counted.badly} == {}
    n_refused, n_tried = (sum(getattr(c, n) for c in counts.values()) for n in ("n_refused", "n_mutations"))
    assert n_refused > n_tried / 20, "the mutations do no harm"


@pytest.mark.stress
def test_thousands_of_damaged_files_take_neither_long_nor_much_memory(kinds: dict[str, list[Any]]) -> None:
    every = [kind for group in kinds.values() for kind in group]
    with _limited_memory(4 << 30):
        counts = _survey(every, 1000)
    assert sum(counted.n_mutations for counted in counts.values()) >= 10_000
    assert {name: dict(counted.badly) for name, counted in counts.items() if counted.badly} == {}
    assert {name: counted.longest_s for name, counted in counts.items() if counted.longest_s > 30} == {}


@contextmanager
def _limited_memory(n_bytes: int) -> Iterator[None]:
    """Let this process take only so many bytes of addresses more than it has."""
    resource = pytest.importorskip("resource")
    pages = int(Path("/proc/self/statm").read_text().split()[0])
    soft, hard = resource.getrlimit(resource.RLIMIT_AS)
    resource.setrlimit(resource.RLIMIT_AS, (pages * resource.getpagesize() + n_bytes, hard))
    try:
        yield
    finally:
        resource.setrlimit(resource.RLIMIT_AS, (soft, hard))


def test_a_count_tells_what_became_of_each_reading(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    file, readings = tmp_path / "owl.json", iter(range(101))
    file.write_text('{"owl": 1}')

    def read() -> None:
        number = next(readings)
        if number % 2:
            raise DataError(f"{file} is damaged; delete it")
        if number:  # the first is of the file as it was written
            raise KeyError("owl")

    monkeypatch.setenv(mutations.COUNTS_VARIABLE, str(tmp_path / "counts.jsonl"))
    counts = _survey([Kind("an owl", file, read, mutations.json_changed)], 100)
    assert (counts["an owl"].n_refused, dict(counts["an owl"].badly)) == (50, {"KeyError: 'owl'": 50})
    assert file.read_text() == '{"owl": 1}'
    row = json.loads((tmp_path / "counts.jsonl").read_text())
    assert row["kind"] == "damaged: an owl"
    assert (row["tried"], row["sentence"], row["badly"]) == (100, 50, 50)


def test_the_same_seed_makes_the_same_damage() -> None:
    table, document = b"a,b\n1,2\n", b'{"a": [1, {"b": 2}]}'
    for way, whole in (
        (mutations.bytes_changed, table),
        (mutations.table_changed, table),
        (mutations.json_changed, document),
    ):
        first, again = ([way(whole, rng) for _ in range(50)] for rng in map(np.random.default_rng, (1, 1)))
        assert first == again
        assert len(set(first)) > 20
