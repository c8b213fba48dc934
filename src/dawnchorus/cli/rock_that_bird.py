"""``dawnchorus rock-that-bird``, which ``rock_that_bird.sh`` runs."""

from __future__ import annotations

import os
import re
import shutil
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

if TYPE_CHECKING:
    from dawnchorus.competition.pipeline_steps import Step


def rock_that_bird(
    gpu: Annotated[
        str, typer.Argument(help="GPUs to train on, such as 0 or 0,1; cpu takes none, and weeks.")
    ] = "0",
    dry_run: Annotated[bool, typer.Option("--dry-run", help="Print the plan and do nothing.")] = False,
    sample: Annotated[
        bool, typer.Option("--sample", help="All of it in minutes on a miniature competition, without a GPU.")
    ] = False,
    out: Annotated[
        Path | None,
        typer.Option(help="Folder to work in; otherwise the checkout, or sample in it for --sample."),
    ] = None,
    n_cores: Annotated[int | None, typer.Option("--n-cores", min=1, help="Processes that convert.")] = None,
    leave_gb: Annotated[
        int | None,
        typer.Option("--leave-gb", min=0, help="Convert the biggest first, leave so many GB free."),
    ] = None,
    checkout: Annotated[Path, typer.Option(help="Where train_configs lies.")] = Path(),
) -> None:
    """Download, convert, train, export and submit: BirdCLEF 2025's second place from nothing.

    A pipeline that was stopped goes on when the same command is run again. Each step has a log in logs/.
    """
    from dawnchorus.competition.birdclef_pipeline import RockSettings, competition_steps, sample_steps
    from dawnchorus.competition.pipeline_steps import run_steps

    if not re.fullmatch(r"cpu|\d+(,\d+)*", gpu):
        raise typer.BadParameter(f"{gpu!r} names no GPU; give numbers such as 0 or 0,1, or cpu")
    settings = RockSettings(checkout, n_cores or os.cpu_count() or 1, leave_gb, len(gpu.split(",")))
    steps = sample_steps(settings) if sample else competition_steps(settings)
    folder = out or (checkout / "sample" if sample else checkout)
    if dry_run:
        _print_plan(steps, folder)
        return
    environment = {}
    if not sample:
        environment["WANDB_MODE"] = os.environ.get("WANDB_MODE", "offline")
        environment["CUDA_VISIBLE_DEVICES"] = "" if gpu == "cpu" else gpu
        _check_gpu(gpu)
    result = run_steps(steps, folder, environment=environment, say=_say)
    minutes = result.seconds / 60
    typer.echo(f"{result.n_run} steps in {minutes:.1f} min; submission: {folder / 'submission.csv'}")
    for name in ("submit", "score") if sample else ("submit",):
        log = max((folder / "logs").glob(f"*_{name}.log"))
        typer.echo(log.read_text(encoding="utf-8").splitlines()[-1])
    if result.incomplete:
        typer.echo(f"failures are listed in the logs of: {', '.join(result.incomplete)}", err=True)
        raise typer.Exit(2)


def _print_plan(steps: Sequence[Step], folder: Path) -> None:
    """Print each step's command and the disk that it takes; of the download, what each part is."""
    from dawnchorus.cli.kaggle_downloads import tell_plan
    from dawnchorus.competition.kaggle.kaggle_catalogue import COMPETITIONS

    for number, step in enumerate(steps, start=1):
        typer.echo(f"[{number:2d}/{len(steps)}] {step.name}: {step}")
        if step.disk:
            typer.echo(f"        disk: {step.disk}")
        if step.command[0] == "download":
            tell_plan(COMPETITIONS[step.command[1]], folder / "data", indent="        ")
    free_gb = shutil.disk_usage(folder.absolute() if folder.exists() else Path.cwd()).free / 1e9
    typer.echo(f"folder: {folder.absolute()}, free on its disk: {free_gb:.0f} GB")


def _say(text: str) -> None:
    typer.echo(text, err=True, nl=False)


def _check_gpu(gpu: str) -> None:
    """Refuse a training of weeks on a CPU unless it is requested."""
    from dawnchorus.errors import TrainingError

    if gpu == "cpu":
        return
    os.environ["CUDA_VISIBLE_DEVICES"] = gpu
    import torch

    if not torch.cuda.is_available():
        raise TrainingError(
            f"GPU {gpu} cannot be used by PyTorch here; name another, take cpu (weeks), or try everything in "
            "minutes with --sample"
        )
