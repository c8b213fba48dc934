"""``--salvage``, and what commands say at their end of odd and of salvaged recordings."""

from __future__ import annotations

from collections.abc import Iterable
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

if TYPE_CHECKING:
    from dawnchorus.files import Failure

SalvageOption = Annotated[
    bool,
    typer.Option(
        "--salvage",
        help="Read recordings that are cut off, claim no sound, or hold NaN as far as they go; notes.csv "
        "says what is missing.",
    ),
]


def print_notes(notes: Iterable[Failure], file: Path) -> None:
    """Print how many recordings sound odd, and how many were salvaged."""
    from dawnchorus.audio.salvage import is_salvage_note
    from dawnchorus.wording import counted

    notes = list(notes)
    salvaged = {note.path for note in notes if is_salvage_note(note.reason)}
    odd = {note.path for note in notes if not is_salvage_note(note.reason)}
    if odd:
        n_odd = counted(len(odd), "recording")
        verb = "sounds" if len(odd) == 1 else "sound"
        typer.echo(f"{n_odd} {verb} odd; what is odd is in {file}", err=True)
    if salvaged:
        typer.echo(f"{counted(len(salvaged), 'recording')} salvaged; what is missing is in {file}", err=True)
