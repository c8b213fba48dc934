"""``dawnchorus pseudo-label``: a model's labels of soundscapes, to train the next one on."""

from __future__ import annotations

import json
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from dawnchorus.cli.cluster_options import ClusterOption, WorkersOption, cluster_of
from dawnchorus.cli.join_command import ShardOption, print_shard, shard_of
from dawnchorus.cli.prediction import (
    AddOption,
    BatchOption,
    EngineOption,
    ExponentOption,
    ForceOption,
    ModelArgument,
    RecordingsArgument,
    ScaleOption,
    ShiftOption,
    SmoothOption,
    ThreadsOption,
    WeightOption,
    check_model_first,
    ensemble_of,
)

if TYPE_CHECKING:
    from dawnchorus.pipelines.run_pseudo_labels import PseudoLabelled
    from dawnchorus.predict.recording_files import RecordingFiles

OutOption = Annotated[
    Path, typer.Option(help="Table to write, .parquet or .csv; a page of the same name lies beside it.")
]
OutOfFoldOption = Annotated[
    bool,
    typer.Option("--out-of-fold", help="Each soundscape by one fold, a labelled recording by its own."),
]
MinProbOption = Annotated[
    float,
    typer.Option(
        "--min-probability",
        "--min-prob",
        min=0,
        max=1,
        help="Leave rows out whose best probability is below; training does too.",
    ),
]


def pseudo_label(
    model: ModelArgument,
    recordings: RecordingsArgument,
    out: OutOption = Path("pseudo_labels.parquet"),
    out_of_fold: OutOfFoldOption = False,
    min_prob: MinProbOption = 0.0,
    add: AddOption = None,
    weight: WeightOption = 1.0,
    exponent: ExponentOption = 1.0,
    shift: ShiftOption = None,
    smooth: SmoothOption = False,
    scale_by_maximum: ScaleOption = None,
    engine: EngineOption = None,
    threads: ThreadsOption = None,
    batch_size: BatchOption = None,
    force: ForceOption = False,
    shard: ShardOption = None,
    cluster: ClusterOption = None,
    workers: WorkersOption = None,
) -> None:
    """Write the probabilities of soundscapes nobody has labelled, for a next model to be trained on.

    A killed job goes on when the same command is run again. Soundscapes that cannot be read are listed in
    failures.csv, in a folder beside the table, and the exit code is 2.
    """
    from dawnchorus.engines.engine_settings import frontend_threads
    from dawnchorus.pipelines.run_pseudo_labels import pseudo_label as run
    from dawnchorus.pipelines.run_pseudo_labels import pseudo_label_shard
    from dawnchorus.predict.postprocess import NEIGHBOUR_KERNEL, PostprocessSettings
    from dawnchorus.predict.recording_files import find_recordings, names_from_stdin
    from dawnchorus.pseudo_labels.pseudo_label_settings import LabellingSettings
    from dawnchorus.wording import counted

    spread_over = cluster_of(cluster, threads, workers, shard=shard)
    if spread_over is not None:
        threads = spread_over.n_cores
    settings = LabellingSettings(
        out,
        min_prob,
        PostprocessSettings(
            shift_s=shift,
            smoothing=NEIGHBOUR_KERNEL if smooth else None,
            scale_exponent=scale_by_maximum,
        ),
        n_workers=frontend_threads(threads),
    )
    check_model_first(model, recordings)
    found = find_recordings(recordings, names=names_from_stdin())
    ensemble = ensemble_of(
        [model], add or [], (weight, exponent), engine=engine, threads=threads, batch_size=batch_size
    )
    part, out_dir = shard_of(shard), work_folder(out)
    if part is not None:
        done = pseudo_label_shard(
            ensemble, found, out_dir, settings, part, out_of_fold=out_of_fold, force=force
        )
        counts = f"{counted(done.n_recordings, 'soundscape')}, {done.n_new} predicted now"
        print_shard(part, counts, done.failures, out)
        return
    result = run(
        ensemble, found, out_dir, settings, out_of_fold=out_of_fold, force=force, cluster=spread_over
    )
    print_labelled(result, out_dir)


def work_folder(table: Path) -> Path:
    """Return the folder beside a table that holds what the models said."""
    return table.with_name(f"{table.stem}_work")


def config_lines(
    table: Path, found: RecordingFiles, *, row_s: float, out_of_fold: bool, is_stored: bool
) -> list[str]:
    """Return the lines of a training config that use a table."""
    root = str(found.root.absolute())
    entry = {"table": str(table.absolute()), "audio_dir": root}
    if is_stored:
        entry |= {"audio_dir": "folder of their audio files", "features_dir": root}
    values = {"tables": json.dumps([entry], ensure_ascii=False), "row_s": f"{row_s:g}"}
    if out_of_fold:
        values["out_of_fold"] = "True"
    lines = (f'    "{name}": {value},' for name, value in values.items())
    return ['"soundscape_pseudo_config": {', *lines, "},"]


def print_labelled(result: PseudoLabelled, out_dir: Path) -> None:
    """Print the paths written and how to use them; exit with code 2 where soundscapes failed."""
    from dawnchorus.audio.source import STORE_SUFFIXES
    from dawnchorus.files import FAILURES_NAME

    made, survey, found = result.made, result.survey, result.found
    typer.echo(
        f"{made.n_rows} rows of {made.n_soundscapes} soundscapes; {survey.n_labels_kept} of "
        f"{len(survey.labels)} classes have rows above 0.5"
    )
    if made.n_new < made.n_soundscapes:
        typer.echo(f"{made.n_soundscapes - made.n_new} soundscapes were predicted before", err=True)
    typer.echo(f"table: {made.table}")
    typer.echo(f"report: {result.page}")
    is_stored = any(recording.path.suffix.lower() in STORE_SUFFIXES for recording in found.recordings)
    typer.echo("to train on it, in train_function_args, train_dataset_config:")
    row_s = result.card.segment_len
    out_of_fold = result.out_of_fold
    lines = config_lines(made.table, found, row_s=row_s, out_of_fold=out_of_fold, is_stored=is_stored)
    if result.is_labelled:
        table = json.dumps(str(made.table.absolute()), ensure_ascii=False)
        lines = [f'"out_of_fold_targets": {{"table": {table}, "row_s": {row_s:g}}},']
    for line in lines:
        typer.echo(f"    {line}")
    if made.failures:
        failed = out_dir / FAILURES_NAME
        typer.echo(f"{len(made.failures)} soundscapes failed; the reasons are in {failed}", err=True)
        raise typer.Exit(2)
