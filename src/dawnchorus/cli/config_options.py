"""Changes to a config from the options of a command."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Any

import typer

SetOption = Annotated[
    list[str] | None,
    typer.Option(
        "--set",
        metavar="KEY=VALUE",
        help="Change a value of the config, such as n_epochs=3 or optimizer.lr=1e-4; repeatable.",
    ),
]


def config_changes(
    *, audio: Path | None = None, features: Path | None = None, debug: bool = False, **others: Any
) -> dict[str, Any]:
    """Return the overrides of a config: ``others`` by their keys, or dicts of them, where they are given.

    Another audio folder has another table and, unless ``features`` is given, no HDF5 files; so it replaces
    all dataset roots of the config.
    """
    changes: dict[str, Any] = {}
    for key, value in others.items():
        given = {k: v for k, v in value.items() if v is not None} if isinstance(value, dict) else value
        if given not in (None, {}):
            changes[key] = given
    if audio is not None:
        changes["data"] = ({"audio_dir": audio, "features_dir": features},)
    elif features is not None:
        changes["data"] = {"features_dir": features}
    if debug:
        changes["train_function_args"] = {**changes.get("train_function_args", {}), "debug": True}
    return changes
