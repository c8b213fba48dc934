"""``dawnchorus train``."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer


def train(
    config: Annotated[Path, typer.Argument(help="Config file, such as train_configs/smoke.py.")],
    folds: Annotated[
        list[int] | None, typer.Option("--folds", help="Folds to train, such as --folds 0 2; otherwise all.")
    ] = None,
    audio: Annotated[Path | None, typer.Option(help="Audio folder instead of the config's.")] = None,
    features: Annotated[Path | None, typer.Option(help="HDF5 folder instead of the config's.")] = None,
    exp_name: Annotated[str | None, typer.Option(help="Name of the run instead of the config's.")] = None,
    debug: Annotated[
        bool, typer.Option("--debug", help="A few recordings and steps: the whole line in seconds.")
    ] = False,
) -> None:
    """Train the folds of an experiment. A killed run goes on when the same command is run again."""
    from dawnchorus.cli.changes import config_changes
    from dawnchorus.config import load_train_config
    from dawnchorus.files import FAILURES_NAME, read_failures

    changes = config_changes(audio=audio, features=features, debug=debug, exp_name=exp_name)
    experiment = load_train_config(config, changes)
    run = experiment.train_function(experiment, folds=folds or None, config_file=config)
    typer.echo(f"trained folds {', '.join(map(str, run.finished_folds()))} are in {run.path}")
    left_out = read_failures(run.path)
    if left_out:
        typer.echo(f"{len(left_out)} recordings were left out; see {run.path / FAILURES_NAME}", err=True)
        raise typer.Exit(2)
