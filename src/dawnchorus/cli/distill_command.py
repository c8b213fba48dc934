"""``dawnchorus distill``: one student of an ensemble."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from dawnchorus.cli.config_options import SetOption, config_changes
from dawnchorus.cli.run_commands import ConfigOption, RunArgument, open_run


def distill(
    run: RunArgument,
    student: Annotated[
        Path, typer.Option(help="Config of the student, such as student_fast or student_same.")
    ] = Path("student_fast"),
    soundscapes: Annotated[Path | None, typer.Option(help="Folder of unlabelled soundscapes.")] = None,
    labelled: Annotated[
        Path | None, typer.Option(help="Folder of labelled soundscapes, to compare the two on.")
    ] = None,
    int8: Annotated[bool, typer.Option("--int8", help="Write an export in 8 bits too.")] = False,
    exp_name: Annotated[str | None, typer.Option(help="Name of the student instead of the config's.")] = None,
    config: ConfigOption = None,
    changes: SetOption = None,
) -> None:
    """Train one network on what a run's folds say, export it, and compare it with them.

    A killed job goes on when the same command is run again. Exit code 2: some recordings could not be read.
    """
    from dawnchorus.config import find_config, load_train_config
    from dawnchorus.self_training.distillation import distill as run_distill

    teachers, _ = open_run(run, config, None, debug=False)
    experiment = load_train_config(
        find_config(student), config_changes(exp_name=exp_name), given=changes or ()
    )
    made = run_distill(teachers, experiment, soundscapes=soundscapes, labelled=labelled, int8=int8)
    typer.echo(f"student: {made.run.path}, taught by {made.run.card().teachers[0]}")
    for parity in made.parities:
        typer.echo(f"{parity.engine}: largest difference from PyTorch {parity.largest_difference:.2g}")
    if made.student_score is not None:
        typer.echo(
            f"macro ROC-AUC on labelled soundscapes: student {made.student_score:.4f}, teachers "
            f"{made.teacher_score:.4f}"
        )
    if made.failures:
        typer.echo(f"{len(made.failures)} recordings failed; see failures.csv below {made.folder}", err=True)
        raise typer.Exit(2)
