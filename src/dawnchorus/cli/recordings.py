"""``dawnchorus recordings`` and ``dawnchorus show-augmentations``: checks before training."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from dawnchorus.cli.config_options import SetOption, config_changes

if TYPE_CHECKING:
    from dawnchorus.config import TrainConfig


def recordings(
    source: Annotated[Path, typer.Argument(help="Folder of recordings, or a training config.")],
    table: Annotated[
        Path | None, typer.Option(help="Table of the recordings, such as train.csv; for a folder.")
    ] = None,
    annotations: Annotated[
        Path | None, typer.Option(help="Labels in time: CSV, Raven, Audacity, or a folder of such.")
    ] = None,
    faults: Annotated[Path | None, typer.Option(help="CSV table to write all faults to.")] = None,
    out: Annotated[Path | None, typer.Option(help="CSV table to write the checked recordings to.")] = None,
    changes: SetOption = None,
    force: Annotated[bool, typer.Option("--force", help="Overwrite the tables.")] = False,
) -> None:
    """Check recordings and their tables, list everything that is wrong, and count what is there.

    Exit code 0: nothing is wrong; 2: the faults are listed, and the other recordings counted.
    """
    from dawnchorus.audio.decode import SAMPLE_RATE
    from dawnchorus.config import DataSettings, names_config
    from dawnchorus.errors import ConfigError
    from dawnchorus.files import refuse_existing
    from dawnchorus.formats.faults import FaultyTableError, describe_faults, faults_of, write_faults
    from dawnchorus.formats.text_tables import some
    from dawnchorus.recordings.labels import read_labels
    from dawnchorus.recordings.recordings_table import (
        count_recordings,
        leave_out_unreadable,
        load_recordings,
        unlisted_files,
        write_recordings,
    )

    refuse_existing(faults, out, force=force)
    labels, sample_rate = None, SAMPLE_RATE
    if not source.is_dir() and names_config(source):
        if table is not None or annotations is not None:
            raise ConfigError(f"{source} names its own tables; --table and --annotations are for a folder")
        config = _load(source, changes)
        roots = config.data
        sample_rate = config.train_function_args.train_dataset_config.get("sample_rate", SAMPLE_RATE)
        labels = read_labels(config.labels) if config.labels is not None else None
    elif changes:
        raise ConfigError(f"{source} is no training config (.py), and --set changes one; leave it out")
    else:
        roots = (DataSettings(audio_dir=source, recordings=table, annotations=annotations),)
    lenient = [root.model_copy(update={"faulty": "leave_out"}) for root in roots]
    try:
        found = load_recordings(lenient, labels=labels)
    except FaultyTableError as error:
        if faults is not None:
            write_faults(faults, error.faults)
        raise
    readable, failures = leave_out_unreadable(found.table, roots, sample_rate=sample_rate)
    all_faults = [*found.faults, *faults_of(failures)]
    if out is not None:
        write_recordings(out, readable)
    typer.echo(count_recordings(readable).to_string())
    unlisted = unlisted_files(roots, found.table["audio_path"])
    if unlisted:
        typer.echo(f"not used, being in no table or faulty: {some(unlisted)}", err=True)
    if faults is not None:
        write_faults(faults, all_faults)
    if all_faults:
        typer.echo(describe_faults(all_faults), err=True)
        raise typer.Exit(2)


def show_augmentations(
    config: Annotated[Path, typer.Argument(help="Training config.")],
    audio: Annotated[Path | None, typer.Option(help="Audio folder instead of the config's.")] = None,
    features: Annotated[Path | None, typer.Option(help="HDF5 folder instead of the config's.")] = None,
    recording: Annotated[
        str | None, typer.Option(help="Recording to show, as its table names it; otherwise the first.")
    ] = None,
    seed: Annotated[int | None, typer.Option(min=0, help="Other draws than the config's seed gives.")] = None,
    changes: SetOption = None,
    out: Annotated[Path, typer.Option(help="PNG to write.")] = Path("augmentations.png"),
    force: Annotated[bool, typer.Option("--force", help="Overwrite the picture.")] = False,
) -> None:
    """Draw one clip, each augmentation of a config alone, and all of them as training draws them."""
    from dawnchorus.files import refuse_existing
    from dawnchorus.pipelines.augmentation_panels import show_augmentations

    refuse_existing(out, force=force)
    experiment = _load(config, changes, audio=audio, features=features, seed=seed)
    for title in show_augmentations(experiment, out, filename=recording):
        typer.echo(title)
    typer.echo(f"written to {out}")


def _load(config: Path, given: Sequence[str] | None, **options: Any) -> TrainConfig:
    from dawnchorus.config import load_train_config

    return load_train_config(config, config_changes(**options), given=given or ())
