"""The command line: parses, calls, prints. One verb a stage; ``--help`` imports nothing heavy.

Results go to stdout, progress and logs to stderr. Exit code 0: all went well; 1: an error, in one sentence;
2: the command was used wrongly, or some recordings failed and the others are done; 130 and 143: stopped by
Ctrl-C or SIGTERM.
"""

from __future__ import annotations

import io
import logging
import signal
import sys
import threading
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from types import FrameType
from typing import Annotated, NoReturn

import typer

from dawnchorus import __version__
from dawnchorus.cli import (
    calibration,
    configs,
    demo,
    downloads,
    inference,
    miniature,
    prediction,
    preparation,
    pseudo_labels,
    recordings,
    rock_that_bird,
    segments,
    submission,
    training,
    tune,
)
from dawnchorus.cli.part_options import CommandWithFormats
from dawnchorus.errors import DawnchorusError, describe_os_error

app = typer.Typer(
    name="dawnchorus",
    help="Bird-sound classification: from labelled recordings to tables of who sang when.",
    no_args_is_help=True,
    add_completion=False,
    pretty_exceptions_enable=False,
    rich_markup_mode=None,
)


def _print_version(asked: bool) -> None:
    if asked:
        typer.echo(f"dawnchorus {__version__}")
        raise typer.Exit


@app.callback()
def _options(
    version: Annotated[
        bool,
        typer.Option("--version", help="Print the version and exit.", callback=_print_version, is_eager=True),
    ] = False,
) -> None:
    """Options of dawnchorus itself."""


app.command()(demo.demo)
app.command()(miniature.miniature)
app.add_typer(downloads.download_app, name="download")
app.command()(configs.configs)
app.command()(preparation.precompute)
app.command()(recordings.recordings)
app.command()(preparation.folds)
app.command()(recordings.show_augmentations)
app.command()(training.train)
app.command()(training.extract_backbone)
app.command()(inference.evaluate)
app.command()(inference.export)
app.command("compile")(inference.compile_)
app.command()(calibration.calibrate)
app.command()(tune.tune)
app.command(cls=CommandWithFormats)(prediction.predict)
app.command()(segments.segments)
app.command("pseudo-label")(pseudo_labels.pseudo_label)
app.command()(submission.bundle)
app.command("submit-kaggle")(submission.submit_kaggle)
app.command()(submission.score)
app.command("rock-that-bird")(rock_that_bird.rock_that_bird)

REPEATABLE = ("--folds", "--fold")
"""Options that take several values in a row, ``--folds 0 2``."""


TRAINING_PACKAGES = ("lightning", "onnx", "onnxscript", "safetensors", "timm", "torch", "torchvision")
"""Packages of the extra ``train``; a laptop that only predicts has none of them."""


def main(arguments: Sequence[str] | None = None) -> None:
    """Run the command line and end the process with its exit code."""
    arguments = list(sys.argv[1:] if arguments is None else arguments)
    for output in (sys.stdout, sys.stderr):
        if isinstance(output, io.TextIOWrapper):  # a file name that is not UTF-8 is printed with escapes
            output.reconfigure(errors="backslashreplace")
    logging.basicConfig(stream=sys.stderr, level=logging.WARNING, format="%(message)s")
    logging.getLogger("dawnchorus").setLevel(logging.INFO)
    try:
        with _ended_by_signals():
            app(args=spread_repeatable(arguments))
    except DawnchorusError as error:
        _fail(str(error))
    except ModuleNotFoundError as error:
        if str(error.name).partition(".")[0] not in TRAINING_PACKAGES:
            raise
        _fail(
            f"this command needs {error.name}, which is not installed: pip install 'dawnchorus[train]'; "
            "predicting with an exported model does without it"
        )
    except OSError as error:
        _fail(describe_os_error(error))


@contextmanager
def _ended_by_signals() -> Iterator[None]:
    """End the block with one sentence on Ctrl-C and SIGTERM, with the exit codes that shells expect.

    A second signal ends the process at once.
    """
    received: list[signal.Signals] = []

    def stop(number: int, _: FrameType | None) -> None:
        received.append(signal.Signals(number))
        signal.signal(number, signal.SIG_DFL)
        raise SystemExit(128 + number)

    if threading.current_thread() is not threading.main_thread():  # where no handler can be set
        yield
        return
    earlier = {number: signal.signal(number, stop) for number in (signal.SIGINT, signal.SIGTERM)}
    try:
        yield
    finally:
        for number, handler in earlier.items():
            signal.signal(number, handler)
        if received:
            sys.stderr.write(f"stopped by {received[0].name}; the same command goes on where it was\n")


def _fail(message: str) -> NoReturn:
    sys.stderr.write(f"error: {message}\n")
    sys.exit(1)


def spread_repeatable(arguments: Sequence[str]) -> list[str]:
    """Return ``--folds 0 2`` as ``--folds 0 --folds 2``, the form that the parser takes."""
    spread: list[str] = []
    option: str | None = None
    n_values = 0
    for argument in arguments:
        if argument.startswith("-"):
            option, n_values = (argument, 0) if argument in REPEATABLE else (None, 0)
        elif option is not None and (argument.isdigit() or argument == "all"):
            n_values += 1
            if n_values > 1:
                spread.append(option)
        else:
            option = None
        spread.append(argument)
    return spread
