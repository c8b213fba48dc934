"""``dawnchorus segments``: clips of detections, to listen to."""

from __future__ import annotations

from enum import StrEnum
from pathlib import Path
from typing import Annotated

import typer


class SegmentFormat(StrEnum):
    """Kinds of sound file that clips are written as."""

    flac = "flac"
    wav = "wav"


def segments(
    predictions: Annotated[
        Path, typer.Argument(help="Folder that dawnchorus predict wrote, or a detections.csv.")
    ],
    audio: Annotated[Path, typer.Argument(help="Folder of the recordings, as predict was given it.")],
    out: Annotated[Path, typer.Option(help="Folder for the clips, one a species in it.")] = Path(
        "predictions/segments"
    ),
    per_species: Annotated[int, typer.Option(min=1, help="Clips of each species, the surest.")] = 10,
    min_probability: Annotated[float, typer.Option(min=0, max=1, help="Leave out what is less sure.")] = 0.0,
    padding: Annotated[float, typer.Option(min=0, help="Seconds of sound kept before and after.")] = 0.0,
    format: Annotated[SegmentFormat, typer.Option(help="Kind of sound file.")] = SegmentFormat.flac,
    sample_rate: Annotated[
        int | None, typer.Option(min=1, help="In Hz; otherwise each recording's own.")
    ] = None,
) -> None:
    """Cut the surest detections of each species out of the recordings, to listen to.

    Clips that are there already are left alone. Exit code 2: some recordings failed.
    """
    from dawnchorus.batch.segments import SegmentSettings, cut_segments
    from dawnchorus.errors import DataError
    from dawnchorus.files import FAILURES_NAME, write_failures
    from dawnchorus.formats.detection_tables import read_detections

    settings = SegmentSettings(
        per_species=per_species,
        min_probability=min_probability,
        padding_s=padding,
        format=format.value,
        sample_rate=sample_rate,
    )
    detections = read_detections(predictions)
    audio_dir = audio.parent if audio.is_file() else audio  # predict takes a single recording too
    if not audio_dir.is_dir():
        raise DataError(f"{audio}: no such folder; name the folder of the recordings")
    report = cut_segments(detections, audio_dir, out, settings)
    write_failures(out, report.failures)
    typer.echo(f"{report.n_written} clips written, {report.n_there_already} there already: {report.index}")
    if report.failures:
        failed = out / FAILURES_NAME
        typer.echo(f"{len(report.failures)} recordings failed; the reasons are in {failed}", err=True)
        raise typer.Exit(2)
