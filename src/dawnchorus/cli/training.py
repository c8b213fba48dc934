"""``dawnchorus train``, ``choose-checkpoints`` and ``extract-backbone``."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from dawnchorus.cli.cluster_options import ClusterOption, WorkersOption, cluster_of
from dawnchorus.cli.config_options import SetOption, config_changes


def train(
    config: Annotated[
        Path, typer.Argument(metavar="CONFIG", help="Config file, or a name that dawnchorus configs lists.")
    ],
    folds: Annotated[
        list[str] | None,
        typer.Option(
            "--folds",
            "--fold",
            help="Folds to train, such as --folds 0 2; else all of the config.",
        ),
    ] = None,
    audio: Annotated[Path | None, typer.Option(help="Audio folder instead of the config's.")] = None,
    features: Annotated[Path | None, typer.Option(help="HDF5 folder instead of the config's.")] = None,
    exp_name: Annotated[str | None, typer.Option(help="Name of the run instead of the config's.")] = None,
    devices: Annotated[
        int | None,
        typer.Option(min=1, help="GPUs of this machine, or processes on a CPU, that share a fold."),
    ] = None,
    num_nodes: Annotated[
        int | None, typer.Option(min=1, help="Machines that share a fold; run the same command on each.")
    ] = None,
    auto_batch: Annotated[
        bool,
        typer.Option("--auto-batch", help="Find the batch size for the device; scale the learning rate."),
    ] = False,
    changes: SetOption = None,
    debug: Annotated[
        bool, typer.Option("--debug", help="A few recordings and steps: the whole line in seconds.")
    ] = False,
    cluster: ClusterOption = None,
    workers: WorkersOption = None,
    threads: Annotated[
        int | None, typer.Option(min=1, help="With --cluster, cores of each worker; otherwise one.")
    ] = None,
) -> None:
    """Train the folds of an experiment. A killed run goes on when the same command is run again.

    At the end, scores are calibrated on the recordings that each fold was not trained on.
    """
    from dataclasses import replace

    from dawnchorus.config import find_config, load_train_config
    from dawnchorus.files import FAILURES_NAME, read_failures
    from dawnchorus.pipelines.cluster_training import train_on_cluster
    from dawnchorus.pipelines.frozen_baseline import baseline_after_training
    from dawnchorus.pipelines.run_score_calibration import calibrate_after_training, summary_of
    from dawnchorus.training.processes import this_process

    speed = {"devices": devices, "num_nodes": num_nodes, "auto_batch": auto_batch or None}
    options = config_changes(
        audio=audio, features=features, debug=debug, exp_name=exp_name, train_function_args=speed
    )
    config = find_config(config)
    experiment = load_train_config(config, options, given=changes or ())
    spread_over = cluster_of(cluster, threads, workers)
    if spread_over is not None:
        run = train_on_cluster(
            config, spread_over, folds=_fold_numbers(folds), options=options, given=changes or ()
        )
    else:
        run = experiment.train_function(experiment, folds=_fold_numbers(folds), config_file=config)
    if this_process(experiment.train_function_args).rank > 0:
        return  # the first process of a data-parallel training prints for all
    trained = replace(run, experiment=experiment)
    baseline = baseline_after_training(trained, experiment)
    calibration = calibrate_after_training(trained, experiment)
    typer.echo(f"trained folds {', '.join(map(str, run.finished_folds()))} are in {run.path}")
    if baseline is not None:
        typer.echo(f"in the same folds: {baseline.sentence()}")
    if calibration is not None:
        typer.echo(summary_of(calibration))
    typer.echo(f"what happened is on one page: {run.path / 'report.html'}")
    left_out = read_failures(run.path)
    if left_out:
        typer.echo(f"{len(left_out)} recordings were left out; see {run.path / FAILURES_NAME}", err=True)
        raise typer.Exit(2)


def choose_checkpoints(
    run: Annotated[Path, typer.Argument(help="Run directory, or the training config of the run.")],
    by: Annotated[
        str, typer.Option(help="Metric whose best epoch is taken, such as cmap; loss; or last.")
    ] = "macro_roc_auc",
    average: Annotated[int, typer.Option(min=1, help="Average the weights of this many of the best.")] = 1,
    folds: Annotated[
        list[int] | None, typer.Option("--folds", "--fold", help="Folds to choose for; otherwise all.")
    ] = None,
) -> None:
    """Take another of the kept checkpoints as the model of each fold, or an average, and score it."""
    from dawnchorus.report.run_page import write_run_page
    from dawnchorus.runs import open_run
    from dawnchorus.training.checkpoint_choice import choose_checkpoints as choose

    opened = open_run(run)
    for fold, checkpoint, report in choose(opened, opened.config(), by, average=average, folds=folds):
        scores = ", ".join(f"{name} {report[name]:.4f}" for name in report if name.startswith("val_"))
        typer.echo(f"fold {fold}: {checkpoint}, {scores}")
    write_run_page(opened)
    typer.echo("what was exported, scored or calibrated before is of the earlier weights", err=True)


def extract_backbone(
    checkpoint: Annotated[
        Path, typer.Argument(help="Checkpoint of a whole model, or a run, whose best fold is taken.")
    ],
    out: Annotated[Path, typer.Argument(help="File to write, .safetensors or .pth.")],
    fold: Annotated[int | None, typer.Option(min=0, help="Fold of the run, instead of its best.")] = None,
    force: Annotated[bool, typer.Option("--force", help="Overwrite the file.")] = False,
) -> None:
    """Write the backbone of a checkpoint, for other models to start from."""
    from dawnchorus.errors import ConfigError, DataError
    from dawnchorus.files import refuse_existing
    from dawnchorus.models.backbone_extraction import extract_backbone as extract
    from dawnchorus.runs import Run

    if not checkpoint.exists():
        raise DataError(
            f"{checkpoint}: there is no such weights file; give a checkpoint or a run, and the file to write "
            "after it"
        )
    refuse_existing(out, force=force)
    if checkpoint.is_dir():
        checkpoint = Run.open(checkpoint).best_of_folds(fold)
    elif fold is not None:
        raise ConfigError(f"--fold is {fold}, and {checkpoint} is a single checkpoint; leave it out")
    n_tensors = extract(checkpoint, out)
    typer.echo(f"{n_tensors} tensors of the backbone of {checkpoint} are in {out}")


def _fold_numbers(given: list[str] | None) -> list[int] | None:
    """Return the folds of ``--folds``, or None for all."""
    if not given or given == ["all"]:
        return None
    for text in given:
        if not text.isdigit():
            raise typer.BadParameter(f"{text!r} is no fold; give numbers such as --folds 0 2, or all")
    return [int(text) for text in given]
