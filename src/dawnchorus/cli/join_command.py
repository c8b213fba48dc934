"""``dawnchorus join``, and the option ``--shard`` of the commands whose shards it joins."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

if TYPE_CHECKING:
    from dawnchorus.files import Failure
    from dawnchorus.files.shards import Shard


def _checked_shard(text: str | None) -> str | None:
    """Return the value of ``--shard``; where it names none, the command was used wrongly."""
    from dawnchorus.errors import ConfigError

    try:
        shard_of(text)
    except ConfigError as error:
        raise typer.BadParameter(str(error)) from None
    return text


ShardOption = Annotated[
    str | None,
    typer.Option(
        "--shard",
        metavar="I/N",
        callback=_checked_shard,
        help="Do part I of N alone, beside the others on any machines; `dawnchorus join` ends the job.",
    ),
]


def shard_of(text: str | None) -> Shard | None:
    """Return the shard that ``--shard`` names, None where it is not given."""
    from dawnchorus.files.shards import Shard

    return None if text is None else Shard.parse(text)


def print_shard(shard: Shard, counts: str, failures: list[Failure], out: Path) -> None:
    """Print what a shard has done, and how to end the job; exit with code 2 where recordings failed."""
    from dawnchorus.wording import counted

    typer.echo(f"shard {shard}: {counts}; when all are done: dawnchorus join {out}")
    for failure in failures:
        typer.echo(failure.reason, err=True)
    if failures:
        typer.echo(f"{counted(len(failures), 'recording')} failed", err=True)
        raise typer.Exit(2)


def join(
    out: Annotated[
        Path, typer.Argument(metavar="OUT", help="Output of the command that was run with --shard.")
    ],
    formats: Annotated[
        list[str] | None,
        typer.Option("--format", help="Own writers of the shards, package.module:Writer."),
    ] = None,
    recorder_name: Annotated[
        str | None,
        typer.Option(
            "--recorder-name", metavar="FUNCTION", help="Own function of the shards, package.module:function."
        ),
    ] = None,
    force: Annotated[bool, typer.Option("--force", help="Replace tables made with other settings.")] = False,
) -> None:
    """End a job that was done in shards: write what the whole job would have written, bit for bit.

    Missing shards are named. Neither the model nor the recordings are needed. Exit code 2: some recordings
    failed in their shards, and are listed in OUT/failures.csv.
    """
    from dawnchorus.cli.part_options import own_parts_of
    from dawnchorus.files.shards import ShardRecords
    from dawnchorus.files.storage import given_path, is_remote

    if out.suffix.lower() in (".parquet", ".csv"):
        _join_labels(out, force=force)
        return
    out = given_path(out)
    if not is_remote(out) and ShardRecords(out).exist:
        _join_stores(out)
        return
    from dawnchorus.batch.shard_join import join_predictions
    from dawnchorus.cli.prediction import print_predictions

    given = formats or []
    with own_parts_of(*given, recorder_name):
        made = join_predictions(out, formats=given, recorder_name=recorder_name, force=force)
    print_predictions(made, out)


def _join_labels(table: Path, *, force: bool) -> None:
    from dawnchorus.cli.pseudo_labels import print_labelled, work_folder
    from dawnchorus.pipelines.run_pseudo_labels import join_pseudo_labels

    out_dir = work_folder(table)
    print_labelled(join_pseudo_labels(out_dir, table, force=force), out_dir)


def _join_stores(features: Path) -> None:
    from dawnchorus.audio.shard_stores import join_stores
    from dawnchorus.cli.preparation import print_precomputed

    print_precomputed(join_stores(features), features)
