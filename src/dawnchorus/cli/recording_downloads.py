"""``dawnchorus download xeno-canto``, ``inaturalist``, ``recordings``: labelled recordings for training."""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from dawnchorus.cli.part_options import own_parts_of

if TYPE_CHECKING:
    from dawnchorus.downloads.download_source import DownloadSource

Species = Annotated[
    list[str] | None,
    typer.Option(
        help="Scientific name, or a list: .txt with a name a line, or .csv with scientific_name and, for "
        "labels, primary_label, such as BirdCLEF's taxonomy.csv. Repeat it for several."
    ),
]
Licences = Annotated[
    list[str] | None,
    typer.Option(
        "--license",
        "--licence",
        help="Only recordings under this licence, such as cc-by-nc-sa; cc-by* for all that begin so. "
        "Repeat it for several.",
    ),
]
AtMost = Annotated[
    int | None, typer.Option("--max", min=1, help="At most so many recordings a species, the best first.")
]
Table = Annotated[
    Path | None, typer.Option(help="Table of the recordings to write; otherwise OUT.csv, beside the folder.")
]
LeaveGb = Annotated[
    float,
    typer.Option("--leave-gb", min=0, help="Stop before less than this much disk is free, GB."),
]
DryRun = Annotated[bool, typer.Option("--dry-run", help="Only count what would be fetched.")]


def xeno_canto(
    species: Species = None,
    quality: Annotated[
        list[str] | None, typer.Option(help="Only this quality, A to E; repeat it for several.")
    ] = None,
    country: Annotated[str | None, typer.Option(help="Only from this country.")] = None,
    group: Annotated[
        str | None, typer.Option(help="Only birds, grasshoppers, bats, frogs or land mammals.")
    ] = None,
    license_: Licences = None,
    min_s: Annotated[float | None, typer.Option("--min-s", min=0, help="At least so long, seconds.")] = None,
    max_s: Annotated[float | None, typer.Option("--max-s", min=0, help="At most so long, seconds.")] = None,
    at_most: AtMost = None,
    out: Annotated[Path, typer.Option(help="Folder for the recordings.")] = Path("data/xeno_canto"),
    table: Table = None,
    leave_gb: LeaveGb = 5.0,
    dry_run: DryRun = False,
) -> None:
    """Download recordings of species from xeno-canto, with the table that training reads.

    Wants your key in the environment variable XENO_CANTO_KEY; it is on https://xeno-canto.org/account.
    Without --species, all species of --group and --country are taken. A download that was cut off is
    simply run again; one with more species or a larger --max adds to what is there.

    Exit code 0: all is there; 2: some recordings failed, and OUT/failures.csv has the reasons; 1: an error.
    """
    from dawnchorus.downloads.xeno_canto import XenoCanto, XenoCantoFilters

    filters = XenoCantoFilters(
        qualities=tuple(letter.upper() for letter in quality or ()),
        country=country,
        group=group,
        licences=tuple(license_ or ()),
        min_s=min_s,
        max_s=max_s,
    )
    _download(XenoCanto(filters), species, at_most, out, table, leave_gb=leave_gb, dry_run=dry_run)


def inaturalist(
    species: Species = None,
    place: Annotated[
        list[int] | None,
        typer.Option(help="Only from the place with this number on iNaturalist; repeat it for several."),
    ] = None,
    license_: Licences = None,
    all_rights_reserved: Annotated[
        bool,
        typer.Option(
            "--all-rights-reserved",
            help="Also recordings without a licence, which nobody may pass on.",
        ),
    ] = False,
    at_most: AtMost = None,
    out: Annotated[Path, typer.Option(help="Folder for the recordings.")] = Path("data/inaturalist"),
    table: Table = None,
    leave_gb: LeaveGb = 5.0,
    dry_run: DryRun = False,
) -> None:
    """Download recordings of species from iNaturalist, with the table that training reads.

    Only observations of research grade are taken; a group such as Aves stands for all its species.
    iNaturalist asks for less than 24 GB a day, and what is more waits. A download that was cut off is
    simply run again; one with more species or a larger --max adds to what is there.

    Exit code 0: all is there; 2: some recordings failed, and OUT/failures.csv has the reasons; 1: an error.
    """
    from dawnchorus.downloads.inaturalist import INaturalist, INaturalistFilters

    filters = INaturalistFilters(
        places=tuple(place or ()),
        licences=tuple(license_ or ()),
        all_rights_reserved=all_rights_reserved,
        at_most=at_most,
    )
    _download(INaturalist(filters), species, at_most, out, table, leave_gb=leave_gb, dry_run=dry_run)


def recordings(
    source: Annotated[
        str,
        typer.Option(
            metavar="NAME|package.module:Source",
            help="A registered source, or the import path of your own.",
        ),
    ],
    species: Species = None,
    license_: Licences = None,
    at_most: AtMost = None,
    option: Annotated[
        list[str] | None,
        typer.Option(metavar="NAME=VALUE", help="What the source is made with; repeat it for several."),
    ] = None,
    out: Annotated[
        Path | None, typer.Option(help="Folder for the recordings; otherwise data/ and the source's name.")
    ] = None,
    table: Table = None,
    leave_gb: LeaveGb = 5.0,
    dry_run: DryRun = False,
) -> None:
    """Download recordings of species from a source of your own, with the table that training reads.

    A source is a small class in Python, dawnchorus.downloads.download_source.DownloadSource. A download that
    was cut off is simply run again. The sources that come with dawnchorus have commands of their own, with
    more options.

    Exit code 0: all is there; 2: some recordings failed, and OUT/failures.csv has the reasons; 1: an error.
    """
    from dawnchorus.downloads.download_source import source_of
    from dawnchorus.errors import ConfigError

    options = {}
    for text in option or ():
        name, separator, value = text.partition("=")
        if not separator:
            raise ConfigError(f"--option {text} sets nothing; write NAME=VALUE")
        options[name] = value
    with own_parts_of(source):
        opened = source_of(source, options)
    folder = Path("data") / re.sub(r"\W+", "_", opened.name.lower()) if out is None else out
    _download(
        opened,
        species,
        at_most,
        folder,
        table,
        licences=license_ or (),
        leave_gb=leave_gb,
        dry_run=dry_run,
    )


def _download(
    source: DownloadSource,
    species: list[str] | None,
    at_most: int | None,
    out: Path,
    table: Path | None,
    *,
    licences: Sequence[str] = (),
    leave_gb: float,
    dry_run: bool,
) -> None:
    from dawnchorus.downloads.download_source import wanted_of
    from dawnchorus.downloads.http_service import connected
    from dawnchorus.downloads.recording_download import ANSWERS_NAME, default_table, fetch_recordings
    from dawnchorus.downloads.species_list import read_species
    from dawnchorus.files import FAILURES_NAME

    asked = read_species(species or ())
    table = default_table(out) if table is None else table
    with connected(
        source.name, source.rate_limit(), answers=None if dry_run else out / ANSWERS_NAME
    ) as service:
        found = source.find(service, asked)
        for note in found.notes:
            typer.echo(note, err=True)
        for reason, n_left_out in sorted(found.left_out.items()):
            typer.echo(f"left out {reason}: {n_left_out}", err=True)
        wanted = wanted_of(source, found, licences=licences, at_most=at_most)
        if dry_run:
            _tell_wanted(wanted)
            return
        report = fetch_recordings(service, wanted, out, table, leave_gb=leave_gb)
    for name in report.species:
        n_fetched, n_there, n_failed = report.fetched[name], report.there[name], report.failed[name]
        typer.echo(f"{name}: {n_fetched} fetched, {n_there} there, {n_failed} failed")
    typer.echo(
        f"{report.fetched.total()} fetched ({report.n_bytes / 1e9:.2f} GB), {report.there.total()} there, "
        f"{report.failed.total()} failed; the table is {table}"
    )
    if report.failures:
        typer.echo(f"the reasons are in {out / FAILURES_NAME}; the same command tries these again", err=True)
        raise typer.Exit(2)


def _tell_wanted(wanted: Any) -> None:
    n_recordings = Counter[str]()
    seconds = Counter[str]()
    for recording in wanted:
        n_recordings[recording.scientific_name] += 1
        seconds[recording.scientific_name] += recording.duration_s or 0
    for name in sorted(n_recordings):
        typer.echo(f"{name}: {_amount(n_recordings[name], seconds[name])}")
    typer.echo(
        f"{_amount(n_recordings.total(), seconds.total())} of {len(n_recordings)} species; none fetched"
    )


def _amount(n_recordings: int, duration_s: float) -> str:
    return f"{n_recordings} recordings" + (f", {duration_s / 3600:.2f} h" if duration_s else "")
