"""``dawnchorus segments``: clips of detections, to listen to."""

from __future__ import annotations

from enum import StrEnum
from pathlib import Path
from typing import Annotated

import typer

from dawnchorus.cli.salvage_option import SalvageOption, print_notes


class SegmentOrder(StrEnum):
    """Choices of the detections that become clips."""

    surest = "surest"
    doubtful = "doubtful"
    random = "random"
    strata = "strata"


class SegmentFormat(StrEnum):
    """Kinds of sound file that clips are written as."""

    flac = "flac"
    wav = "wav"


def segments(
    predictions: Annotated[
        Path,
        typer.Argument(
            help="Folder that dawnchorus predict wrote, or a table: detections.csv, or one of Raven, "
            "Audacity, BirdNET-Analyzer or Kaleidoscope, or a folder of such."
        ),
    ],
    audio: Annotated[Path, typer.Argument(help="Folder of the recordings, as predict was given it.")],
    out: Annotated[Path, typer.Option(help="Folder for the clips, one a species in it.")] = Path(
        "predictions/segments"
    ),
    per_species: Annotated[int, typer.Option(min=1, help="Clips of each species at most.")] = 10,
    order: Annotated[
        SegmentOrder,
        typer.Option(
            help="Take the surest; the most doubtful, nearest to 0.5; random ones; or strata, as many from "
            "each tenth of the scale."
        ),
    ] = SegmentOrder.surest,
    seed: Annotated[int, typer.Option(min=0, help="Of random and strata.")] = 42,
    min_probability: Annotated[float, typer.Option(min=0, max=1, help="Leave out what is less sure.")] = 0.0,
    padding: Annotated[float, typer.Option(min=0, help="Seconds of sound kept before and after.")] = 0.0,
    longest: Annotated[
        float | None,
        typer.Option(min=0, help="Seconds of a clip at most, around the surest window, without padding."),
    ] = None,
    format: Annotated[SegmentFormat, typer.Option(help="Kind of sound file.")] = SegmentFormat.flac,
    sample_rate: Annotated[
        int | None, typer.Option(min=1, help="In Hz; otherwise each recording's own.")
    ] = None,
    channel: Annotated[
        str,
        typer.Option(
            metavar="CHANNEL", help="Of several, where a row names none: a number from 1, mean, or loudest."
        ),
    ] = "mean",
    salvage: SalvageOption = False,
) -> None:
    """Cut detections of each species out of the recordings, to listen to: the surest, or others.

    Clips that are there already are left alone. Exit code 2: some recordings failed.
    """
    from dawnchorus.audio.channels import checked_channel
    from dawnchorus.batch.segments import SegmentSettings, cut_segments
    from dawnchorus.errors import DataError
    from dawnchorus.files import FAILURES_NAME, NOTES_NAME, write_failures
    from dawnchorus.formats.detection_tables import read_detections
    from dawnchorus.predict.window_tables import WINDOWS_NAME
    from dawnchorus.wording import counted

    settings = SegmentSettings(
        per_species=per_species,
        min_probability=min_probability,
        padding_s=padding,
        format=format.value,
        sample_rate=sample_rate,
        order=order.value,
        seed=seed,
        longest_s=longest,
        channel=checked_channel(channel, each=False),
        salvage=salvage,
    )
    _check_order(predictions, audio)
    audio_dir = audio.parent if audio.is_file() else audio  # predict takes a single recording too
    if not audio_dir.is_dir():
        raise DataError(f"{audio}: no such folder; name the folder of the recordings")
    detections = read_detections(predictions, audio_dir)
    folder = predictions if predictions.is_dir() else predictions.parent
    windows = folder / WINDOWS_NAME
    report = cut_segments(
        detections, audio_dir, out, settings, windows=windows if windows.is_file() else None
    )
    write_failures(out, report.failures)
    typer.echo(f"{report.n_written} clips written, {report.n_there_already} there already: {report.index}")
    if report.notes:
        write_failures(out, report.notes, name=NOTES_NAME)
        print_notes(report.notes, out / NOTES_NAME)
    if report.failures:
        failed = out / FAILURES_NAME
        n_failed = counted(len(report.failures), "recording")
        typer.echo(f"{n_failed} failed; the reasons are in {failed}", err=True)
        raise typer.Exit(2)


def _check_order(predictions: Path, audio: Path) -> None:
    from dawnchorus.errors import DataError
    from dawnchorus.formats.detection_tables import DETECTIONS_NAME

    has_none = predictions.is_dir() and not (predictions / DETECTIONS_NAME).is_file()
    if has_none and (audio / DETECTIONS_NAME).is_file():
        raise DataError(
            f"{predictions} holds no detections, and {audio} does; the predictions come first, as in "
            f"{audio} {predictions}"
        )
