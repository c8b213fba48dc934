"""``dawnchorus convert``: detections handed on to other programs, standards and people."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from dawnchorus.cli.part_options import check_formats, own_parts_of


def convert(
    predictions: Annotated[
        Path,
        typer.Argument(
            metavar="PREDICTIONS",
            help="Folder that dawnchorus predict wrote, or a table of detections, also of other programs.",
        ),
    ],
    formats: Annotated[
        list[str],
        typer.Option(
            "--to",
            callback=check_formats,
            help="What to write; several with commas between them, or the option repeated.",
        ),
    ],
    out: Annotated[Path, typer.Option(help="Folder for what is written.")] = Path("handed_on"),
    verified: Annotated[
        Path | None,
        typer.Option(help="Table of a review, verified.csv: what reviewers refused is not handed on."),
    ] = None,
    audio: Annotated[
        Path | None,
        typer.Option(help="Folder of the recordings; needed where no table tells how long they are."),
    ] = None,
    sites: Annotated[
        Path | None,
        typer.Option(
            help="CSV of site, latitude, longitude, and if wanted time_zone and recordings, a pattern of "
            "names; the site * stands for all others."
        ),
    ] = None,
    species: Annotated[
        Path | None, typer.Option(help="List of the only species to hand on, also where never found.")
    ] = None,
    names: Annotated[
        Path | None,
        typer.Option(help="Table of names: scientific_name, common_name, species_code, gbif_key."),
    ] = None,
    language: Annotated[
        str | None, typer.Option(help="Of common names, such as de for the column common_name_de.")
    ] = None,
    recorder_name: Annotated[
        str | None,
        typer.Option(
            "--recorder-name", metavar="PATTERN", help="How names of sound files hold the time; see predict."
        ),
    ] = None,
    time_zone: Annotated[
        str | None,
        typer.Option(
            "--time-zone",
            metavar="OFFSET",
            help="Of the recorders' clocks, where not known; otherwise as predicted with.",
        ),
    ] = None,
    force: Annotated[bool, typer.Option("--force", help="Replace what is there.")] = False,
) -> None:
    """Hand detections on to standards, occupancy models and other programs.

    They are Camtrap DP, Darwin Core, eBird's records, detection histories and all tables of predict.
    """
    from dawnchorus.audio.recorder_names import RecorderTimes
    from dawnchorus.batch.exchange import ExchangeSettings, exchange
    from dawnchorus.batch.predicted_with import check_predicted
    from dawnchorus.errors import ConfigError
    from dawnchorus.files import refuse_existing
    from dawnchorus.formats import formats_of

    if language is not None and names is None:
        raise ConfigError("--language chooses a column of a table of names; give the table with --names")
    with own_parts_of(recorder_name, *formats):
        times = RecorderTimes(recorder_name, time_zone)
        check_predicted(predictions)
        refuse_existing(*(out / writer.goal for writer in formats_of(formats).values()), force=force)
        settings = ExchangeSettings(audio, verified, names, language, sites, species, times)
        for name, path in exchange(predictions, formats, out, settings).items():
            typer.echo(f"{name}: {path}")
