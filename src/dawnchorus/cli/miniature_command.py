"""``dawnchorus miniature``: a small invented competition to try everything on."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer


def miniature(
    folder: Annotated[Path, typer.Argument(help="New folder, such as data.")],
    seed: Annotated[int, typer.Option(min=0, help="Another seed is another competition.")] = 42,
    n_cores: Annotated[int, typer.Option("--n-cores", min=1, help="Files made at a time.")] = 2,
) -> None:
    """Make a miniature competition in BirdCLEF's layout, with the truth that a real one hides.

    Eight invented species, 128 labelled recordings, six soundscapes without labels and six to predict.
    """
    from dawnchorus.competition.miniature import MiniatureSettings, make_competition

    made = make_competition(folder, MiniatureSettings(seed=seed), n_cores=n_cores)
    typer.echo(f"a miniature competition is in {made}")
