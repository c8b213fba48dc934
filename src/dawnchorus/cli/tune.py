"""``dawnchorus tune``: the fastest settings of an exported model on this machine."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from dawnchorus.cli.prediction import ModelArgument, ThreadsOption, check_model_first

if TYPE_CHECKING:
    from dawnchorus.engines.tuning import Trial


def tune(
    model: ModelArgument,
    recordings: Annotated[
        list[str] | None,
        typer.Argument(metavar="[RECORDINGS...]", help="Real recordings, to try bfloat16 on."),
    ] = None,
    threads: ThreadsOption = None,
    tolerance: Annotated[
        float, typer.Option(min=0, help="By how much bfloat16 may move a probability to be taken.")
    ] = 0.001,
) -> None:
    """Measure precision, streams and clips at once, and store the best beside the model.

    Predictions on this machine take them from there. Without recordings only float32 is measured.
    """
    from dawnchorus.engines.engine_settings import default_settings
    from dawnchorus.engines.opening import exported_files, open_file
    from dawnchorus.engines.tuning import tune as measure
    from dawnchorus.predict.clip_requests import first_clips
    from dawnchorus.predict.recording_files import find_recordings, names_from_stdin

    check_model_first(model, recordings or [])
    found = find_recordings(recordings, names=names_from_stdin()).recordings if recordings else []
    paths = [recording.path for recording in found]
    for file in exported_files(model):
        card = open_file(file, default_settings(threads)).card
        trials = measure(file, first_clips(paths, card), n_threads=threads, tolerance=tolerance)
        _print_trials(file, trials)


def _print_trials(file: Path, trials: list[Trial]) -> None:
    from rich.console import Console
    from rich.table import Table

    table = Table(title=str(file), title_justify="left", header_style="bold")
    for heading in ("precision", "threads", "streams", "clips at once", "ms a clip", "from float32"):
        table.add_column(heading, justify="right")
    for number, (settings, ms_per_clip, difference) in enumerate(trials):
        table.add_row(
            settings.precision,
            str(settings.n_threads),
            str(settings.n_streams),
            str(settings.clips_per_request),
            f"{ms_per_clip:.1f}",
            f"{difference:.1e}",
            style="bold" if number == 0 else None,
        )
    Console(width=100).print(table)
