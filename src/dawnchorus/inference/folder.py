"""A folder of soundscapes → tables on disk."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import NamedTuple

import pandas as pd

from dawnchorus.audio.listing import list_audio_files
from dawnchorus.errors import DataError
from dawnchorus.files import Failure, replacing, write_failures
from dawnchorus.inference.birds_inference import BirdsInference
from dawnchorus.inference.tables import (
    detections_of,
    window_table,
    write_csv,
    write_parquet,
    write_raven,
)


class FolderPredictions(NamedTuple):
    """What was predicted and where it was written.

    Attributes
    ----------
    windows, detections
        The tables of :mod:`dawnchorus.inference.tables`.
    failures
        Recordings that could not be decoded, also in ``failures.csv``.
    detections_csv, raven_dir, windows_parquet
        The files.
    """

    windows: pd.DataFrame
    detections: pd.DataFrame
    failures: list[Failure]
    detections_csv: Path
    raven_dir: Path
    windows_parquet: Path


def predict_folder(
    inference: BirdsInference, source: Path, out_dir: Path, *, threshold: float
) -> FolderPredictions:
    """Return the predictions of an audio file, or of every one in a folder, and write them.

    Raises
    ------
    DataError
        There is no audio, or none of it could be decoded.
    """
    paths = [source] if source.is_file() else list_audio_files(source)
    root = source.parent if source.is_file() else source
    out_dir.mkdir(parents=True, exist_ok=True)  # before the work: a folder that cannot be written shows now
    labels = inference.runtime.card.labels
    failures: list[Failure] = []
    tables = [
        window_table(path.relative_to(root).as_posix(), predictions, labels)
        for path, predictions in inference.predict_recordings(paths, failures)
    ]
    write_failures(out_dir, failures)
    if not tables:
        raise DataError(
            f"none of the {len(paths)} recordings in {source} could be decoded: {failures[0].reason}"
        )
    windows = pd.concat(tables, ignore_index=True)
    result = FolderPredictions(
        windows,
        detections_of(windows, threshold=threshold),
        failures,
        out_dir / "detections.csv",
        out_dir / "raven",
        out_dir / "windows.parquet",
    )
    _write(result, high_hz=inference.clip.sample_rate / 2)
    return result


def _write(result: FolderPredictions, *, high_hz: float) -> None:
    filenames: Sequence[str] = list(dict.fromkeys(result.windows["filename"]))
    write_csv(result.detections_csv, result.detections)
    with replacing(result.raven_dir) as folder:  # the whole folder, so that no older table stays in it
        write_raven(folder, result.detections, filenames, high_hz=high_hz)
    write_parquet(result.windows_parquet, result.windows)
