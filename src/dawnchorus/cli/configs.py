"""``dawnchorus configs``: a list of the experiments."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer


def configs(
    folder: Annotated[
        Path | None,
        typer.Argument(help="Folder of config files; train_configs here, or those of dawnchorus."),
    ] = None,
    differences: Annotated[
        bool, typer.Option("--differences", help="What each states beyond its bases, as a Markdown table.")
    ] = False,
) -> None:
    """List the configs of a folder with one line each."""
    from dawnchorus.config.config_list import differences_table, list_configs
    from dawnchorus.config.shipped import FOLDER_NAME, shipped_configs_dir

    if folder is None:
        folder = Path(FOLDER_NAME) if Path(FOLDER_NAME).is_dir() else shipped_configs_dir()
    listed = list_configs(folder)
    if differences:
        typer.echo(differences_table(listed))
        return
    width = max(len(config.path.stem) for config in listed)
    for config in listed:
        is_base = "" if config.is_experiment else " (a base of others)"
        typer.echo(f"{config.path.stem:{width}}  {config.summary.replace('``', '')}{is_base}")
