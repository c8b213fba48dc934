"""``dawnchorus demo``."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer


def demo(
    audio: Annotated[
        Path | None, typer.Option(help="Own recordings, a folder per species or with a recordings.csv.")
    ] = None,
    soundscapes: Annotated[Path | None, typer.Option(help="Own soundscapes to predict.")] = None,
    out: Annotated[Path | None, typer.Option(help="Folder for everything; demo_out/NAME otherwise.")] = None,
    seed: Annotated[int, typer.Option(min=0, help="Of the aviary, the folds and the training.")] = 42,
    n_cores: Annotated[int, typer.Option("--n-cores", min=1, help="Processes.")] = 2,
    json_file: Annotated[Path | None, typer.Option("--json", help="Scores, times and paths as JSON.")] = None,
) -> None:
    """Run the whole job in a few minutes: on a synthetic aviary, or on your own recordings.

    Audio, HDF5 store, folds, five small networks, out-of-fold score, ONNX and OpenVINO, detections
    on soundscapes, and a picture of one of them.
    """
    from dawnchorus.pipelines.demo import DemoSettings, run_demo
    from dawnchorus.report.measurements import machine_description, print_measurements, write_measurements

    folder = out or Path("demo_out") / (audio.resolve().name if audio is not None else "aviary")
    settings = DemoSettings(out=folder, audio=audio, soundscapes=soundscapes, seed=seed, n_cores=n_cores)
    result = run_demo(settings, announce=lambda name: typer.echo(f"── {name}", err=True))
    print_measurements(f"dawnchorus demo · {machine_description()}", result.measurements)
    for note in result.notes:
        typer.echo(note)
    if json_file is not None:
        write_measurements(json_file, result.measurements)
    if result.n_failures:
        raise typer.Exit(2)
