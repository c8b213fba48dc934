"""``dawnchorus rounds``: training, labelling and training again."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from dawnchorus.cli.config_options import SetOption, config_changes

if TYPE_CHECKING:
    from dawnchorus.self_training.round_plan import RoundPlan


def rounds(
    config: Annotated[
        Path, typer.Argument(metavar="CONFIG", help="Config file, or a name that dawnchorus configs lists.")
    ],
    soundscapes: Annotated[Path, typer.Option(help="Folder of soundscapes that nobody has labelled.")],
    n_rounds: Annotated[
        int, typer.Option("--rounds", min=1, help="Rounds after the training on labels alone, at most.")
    ] = 4,
    labelled: Annotated[
        Path | None,
        typer.Option(help="Folder of labelled soundscapes with annotations.csv, to score rounds on."),
    ] = None,
    out_of_fold: Annotated[
        bool | None,
        typer.Option(
            "--out-of-fold/--all-folds",
            help="Each soundscape by one fold, which is not trained on it; else as the config says.",
        ),
    ] = None,
    patience: Annotated[
        int, typer.Option(min=1, help="Rounds in a row without a higher score, after which it stops.")
    ] = 1,
    dry_run: Annotated[bool, typer.Option("--dry-run", help="Only say what would be done.")] = False,
    audio: Annotated[Path | None, typer.Option(help="Audio folder instead of the config's.")] = None,
    features: Annotated[Path | None, typer.Option(help="HDF5 folder instead of the config's.")] = None,
    exp_name: Annotated[str | None, typer.Option(help="Name of the rounds instead of the config's.")] = None,
    changes: SetOption = None,
) -> None:
    """Train, label soundscapes with the best model so far, and train again, as long as the score rises.

    A killed job goes on when the same command is run again. Soundscapes that cannot be read are listed in
    failures.csv, and the exit code is 2.
    """
    from dawnchorus.config import find_config, load_train_config
    from dawnchorus.self_training.round_plan import plan_rounds
    from dawnchorus.self_training.rounds import PAGE_NAME
    from dawnchorus.self_training.rounds import rounds as train_rounds

    options = config_changes(audio=audio, features=features, exp_name=exp_name)
    experiment = load_train_config(find_config(config), options, given=changes or ())
    how: dict[str, Any] = {
        "n_rounds": n_rounds,
        "labelled": labelled,
        "out_of_fold": out_of_fold,
        "patience": patience,
    }
    if dry_run:
        _print_plan(plan_rounds(experiment, soundscapes, **how))
        return
    done = train_rounds(experiment, soundscapes, **how)
    for record in done.records:
        mark = "  best" if record.number == done.best else ""
        typer.echo(f"round {record.number}: {record.score.value:.4f}{mark}")
    typer.echo(f"scores: {done.records[-1].score.kind}")
    typer.echo(f"stopped: {done.stopped}")
    typer.echo(f"best run: {done.run.path}")
    typer.echo(f"rounds side by side: {done.folder / PAGE_NAME}")
    if done.failures:
        failed = done.folder / "failures.csv"
        typer.echo(f"{len(done.failures)} soundscapes failed; the reasons are in {failed}", err=True)
        raise typer.Exit(2)


def _print_plan(plan: RoundPlan) -> None:
    from dawnchorus.wording import counted

    n_soundscapes = counted(len(plan.soundscapes.recordings), "soundscape")
    by = "one fold each, not trained on them" if plan.settings.out_of_fold else "all folds"
    typer.echo(f"{n_soundscapes} below {plan.soundscapes.root}, labelled by {by}")
    if plan.labelled is None:
        typer.echo("rounds are compared out of fold, and by the agreement between folds")
    else:
        n_labelled = counted(len(plan.labelled.found.recordings), "labelled soundscape")
        typer.echo(f"rounds are compared on {n_labelled} below {plan.labelled.found.root}")
    for number in range(plan.n_rounds + 1):
        typer.echo(f"round {number}: {plan.run_dir(number)}, {plan.state_of(number)}")
        if number:
            exponent = plan.settings.exponent_of(number)
            typer.echo(f"    on {plan.table(number)}, probabilities to the power of {exponent:.3g}")
    typer.echo(f"it stops after {counted(plan.patience, 'round')} without a higher score")
