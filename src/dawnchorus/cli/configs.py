"""``dawnchorus configs``: which experiments there are."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

if TYPE_CHECKING:
    from dawnchorus.config.listing import ListedConfig


def configs(
    folder: Annotated[Path, typer.Argument(help="Folder of config files.")] = Path("train_configs"),
    differences: Annotated[
        bool, typer.Option("--differences", help="What each states beyond its bases, as a Markdown table.")
    ] = False,
) -> None:
    """List the configs of a folder with one line each."""
    from dawnchorus.config.listing import list_configs

    listed = list_configs(folder)
    if differences:
        typer.echo(differences_table(listed))
        return
    width = max(len(config.path.stem) for config in listed)
    for config in listed:
        is_base = "" if config.is_experiment else " (a base of others)"
        typer.echo(f"{config.path.stem:{width}}  {config.summary.replace('``', '')}{is_base}")


def differences_table(listed: list[ListedConfig]) -> str:
    """Return a Markdown table: each config, what it is laid over, and each value that it states itself."""
    from dawnchorus.config.listing import OwnSetting, own_settings
    from dawnchorus.config.reading import bases_of

    lines = ["| config | laid over | key | value |", "|---|---|---|---|"]
    for config in listed:
        over = ", ".join(base.stem for base in bases_of(config.path))
        name = config.path.stem
        for setting in own_settings(config.path) or [OwnSetting("", "")]:
            key, value = (f"`{text}`" if text else "" for text in setting)
            lines.append(f"| {name} | {over} | {key} | {value.replace('|', '&#124;')} |")
            name = over = ""
    return "\n".join(lines)
