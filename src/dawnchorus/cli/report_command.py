"""``dawnchorus report``: a page on what was predicted."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer


def report(
    predictions: Annotated[
        Path,
        typer.Argument(help="Folder that dawnchorus predict wrote, or a table of detections."),
    ],
    out: Annotated[
        Path | None,
        typer.Option(help="Folder for the report; otherwise report in PREDICTIONS, or beside a table."),
    ] = None,
    audio: Annotated[
        Path | None,
        typer.Option(help="Folder of the recordings, where they are no longer where predict found them."),
    ] = None,
    sites: Annotated[
        Path | None,
        typer.Option(
            help="CSV of site, latitude, longitude, and if wanted time_zone and recordings, a pattern of "
            "names; the site * stands for all others."
        ),
    ] = None,
    species_shown: Annotated[
        int,
        typer.Option(min=0, help="Species with a picture and clips, the most detected; the table has all."),
    ] = 20,
    clips: Annotated[
        int, typer.Option(min=0, help="Clips of each of them: the surest, and as many of the most doubtful.")
    ] = 3,
    most_mb: Annotated[
        float,
        typer.Option("--most-mb", min=0, help="Megabytes that sounds and spectrograms may take in the page."),
    ] = 12.0,
    padding: Annotated[
        float, typer.Option(min=0, help="Seconds of sound before and after a detection.")
    ] = 1.0,
    force: Annotated[
        bool, typer.Option("--force", help="Replace a report.html that dawnchorus report did not write.")
    ] = False,
) -> None:
    """Write a page on who sang when, to open in a browser: report.html, its pictures and their tables.

    Exit code 2: clips of some recordings could not be read, and are named.
    """
    from dawnchorus.report.soundscapes.soundscape_page import ReportSettings, write_report
    from dawnchorus.wording import counted

    if out is None:
        out = (predictions if predictions.is_dir() else predictions.parent) / "report"
    settings = ReportSettings(species_shown, clips, most_mb, padding)
    made = write_report(predictions, out, audio_dir=audio, sites=sites, settings=settings, overwrite=force)
    activity = made.activity
    typer.echo(
        f"{counted(activity.n_detections, 'detection')} of {len(activity.species):,} species in "
        f"{counted(len(activity.recordings), 'recording')}: {made.page} ({made.n_bytes / 1e6:.1f} MB)"
    )
    for sentence in made.missing:
        typer.echo(f"missing: {sentence}", err=True)
    if made.failures:
        raise typer.Exit(2)
