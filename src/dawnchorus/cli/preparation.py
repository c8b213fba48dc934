"""``dawnchorus precompute`` and ``dawnchorus folds``: before training."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer


def precompute(
    audio: Annotated[Path, typer.Argument(help="Folder of recordings, with any sub-folders.")],
    features: Annotated[Path, typer.Argument(help="Folder for the HDF5 files.")],
    n_cores: Annotated[int, typer.Option("--n_cores", "--n-cores", min=1, help="Processes.")] = 1,
    sample_rate: Annotated[int, typer.Option("--sr", min=1, help="Sample rate of the store, Hz.")] = 32_000,
    normalize: Annotated[
        bool, typer.Option("--do_normalize", "--do-normalize", help="Divide each recording by its peak.")
    ] = False,
    only_biggest: Annotated[
        bool, typer.Option("--only_biggest", "--only-biggest", help="Largest files first, see --leave_gb.")
    ] = False,
    leave_gb: Annotated[
        float | None,
        typer.Option("--leave_gb", "--leave-gb", min=0, help="Stop while this much disk is free, GB."),
    ] = None,
) -> None:
    """Convert a folder of wav, flac, ogg or mp3 to HDF5: about ten times faster to train from.

    What is done is skipped; a killed conversion is run again. Recordings that cannot be read are
    listed in FEATURES/failures.csv, and the exit code is then 2.
    """
    from dawnchorus.audio.precompute import PrecomputeSettings, precompute_folder

    settings = PrecomputeSettings(
        sample_rate=sample_rate,
        n_cores=n_cores,
        normalize=normalize,
        only_biggest=only_biggest,
        leave_gb=leave_gb,
    )
    report = precompute_folder(audio, features, settings)
    typer.echo(
        f"{report.n_done} converted ({report.hours_done:.2f} h), {report.n_skipped} already there, "
        f"{report.n_left_out} left out, {len(report.failures)} failed"
    )
    if report.failures:
        typer.echo(f"the reasons are in {features / 'failures.csv'}", err=True)
        raise typer.Exit(2)


def folds(
    audio: Annotated[Path, typer.Argument(help="Folder of recordings.")],
    recordings: Annotated[
        Path | None, typer.Option(help="Table of the recordings; otherwise AUDIO/recordings.csv, or folders.")
    ] = None,
    n_folds: Annotated[int, typer.Option("--n_folds", "--n-folds", min=2, help="Number of folds.")] = 5,
    group_column: Annotated[
        str, typer.Option("--group_column", "--group-column", help="Rows that share this stay together.")
    ] = "author",
    fewer_if_needed: Annotated[
        bool, typer.Option("--fewer_if_needed", "--fewer-if-needed", help="Fewer folds where groups are few.")
    ] = False,
    seed: Annotated[int, typer.Option(min=0, help="Seed of the split.")] = 42,
    out: Annotated[Path, typer.Option(help="Table to write.")] = Path("folds.csv"),
    force: Annotated[bool, typer.Option("--force", help="Overwrite the table.")] = False,
) -> None:
    """Deal recordings to folds so that no recordist is on both sides, and print the counts."""
    import pandas as pd

    from dawnchorus.config import DataSettings, FoldSettings
    from dawnchorus.data.folds import assign_folds, save_folds
    from dawnchorus.data.recordings import load_recordings
    from dawnchorus.errors import DataError

    if out.exists() and not force:
        raise DataError(f"{out} exists; choose another --out, or overwrite it with --force")
    table = load_recordings(DataSettings(audio_dir=audio, recordings=recordings))
    settings = FoldSettings(n_folds=n_folds, group_column=group_column, fewer_if_needed=fewer_if_needed)
    assignment = assign_folds(table, settings, seed=seed)
    save_folds(out, table, assignment.folds)
    typer.echo(pd.crosstab(table["primary_label"], assignment.folds, colnames=["fold"]).to_string())
    for note in assignment.notes:
        typer.echo(note, err=True)
    typer.echo(f"written to {out}")
