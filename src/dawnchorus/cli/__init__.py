"""The command line: parses, calls, prints. One verb a stage; ``--help`` imports nothing heavy.

Results go to stdout, progress and logs to stderr. Exit code 0: all went well; 1: an error, in one sentence;
2: some recordings failed and the others are done; 64: the command was used wrongly; 130 and 143: stopped by
Ctrl-C or SIGTERM.
"""

from __future__ import annotations

import io
import logging
import signal
import sys
import threading
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from types import FrameType
from typing import Annotated, NoReturn

import typer
from typer.core import TyperCommand

from dawnchorus import __version__
from dawnchorus.cli import (
    adopt_commands,
    calibrate_command,
    configs,
    convert_command,
    demo_command,
    distill_command,
    join_command,
    kaggle_downloads,
    miniature_command,
    models_command,
    prediction,
    preparation,
    probe_command,
    pseudo_labels,
    recordings,
    report_command,
    review_commands,
    rock_that_bird,
    rounds_command,
    run_commands,
    run_comparison,
    search_commands,
    segments_command,
    submission,
    training,
    tune,
)
from dawnchorus.cli.command_group import CONTEXT_SETTINGS, CommandGroup
from dawnchorus.cli.part_options import CommandWithFormats
from dawnchorus.errors import DawnchorusError, describe_os_error
from dawnchorus.wording import install_extra

app = typer.Typer(
    cls=CommandGroup,
    name="dawnchorus",
    help="Bird-sound classification: from labelled recordings to tables of who sang when.",
    epilog="Exit codes: 0, all went well; 1, an error, in one sentence; 2, done, but some recordings failed "
    "and are listed; 64, used wrongly; 130 and 143, stopped by Ctrl-C or SIGTERM. Options may be written "
    "with _ or -.",
    context_settings=CONTEXT_SETTINGS,
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


_BEGIN, _DATA, _TRAINING = "First steps", "Recordings", "Training"
_PREDICTION, _COMPETITION = "Prediction", "Competition"


def _add(
    panel: str,
    command: Callable[..., None],
    short_help: str,
    *,
    name: str | None = None,
    cls: type[TyperCommand] = TyperCommand,
) -> None:
    """Add a command with the line, of at most 54 characters, that the list of commands shows."""
    made = app.command(
        name, cls=cls, short_help=short_help, rich_help_panel=panel, context_settings=CONTEXT_SETTINGS
    )
    made(command)


_add(_BEGIN, demo_command.demo, "The whole job in minutes, on synthetic recordings.")
_add(_BEGIN, miniature_command.miniature, "A small invented competition to try everything on.")
app.add_typer(
    kaggle_downloads.download_app,
    name="download",
    short_help="Recordings of species, and competition data.",
    rich_help_panel=_DATA,
)
_add(_DATA, recordings.recordings, "Check recordings and their tables.")
_add(_DATA, preparation.precompute, "Convert recordings to HDF5, to train faster.")
_add(_DATA, preparation.skip_speech, "List the stretches without speech, to train on.")
_add(_DATA, preparation.folds, "Deal recordings to folds, recordists apart.")
_add(_TRAINING, configs.configs, "List the training configs.")
_add(_TRAINING, adopt_commands.adopt_config, "Write a published config in dawnchorus's keys.")
_add(_TRAINING, recordings.show_augmentations, "Draw what the augmentations make of a clip.")
_add(_TRAINING, probe_command.probe, "Fit a head to frozen embeddings, in seconds.")
_add(_TRAINING, training.train, "Train the folds of an experiment.")
_add(_TRAINING, rounds_command.rounds, "Train on soundscapes that the model has labelled.")
_add(_TRAINING, distill_command.distill, "Train one student on what a run's folds say.")
_add(_TRAINING, run_commands.evaluate, "Score a run out of fold.")
_add(_TRAINING, run_comparison.runs, "List all runs side by side.")
_add(_TRAINING, run_comparison.ensemble, "Score runs together, and find their weights.")
_add(_TRAINING, calibrate_command.calibrate, "Find each class's threshold at a precision.")
_add(_TRAINING, training.choose_checkpoints, "Choose among the kept checkpoints of a run.")
_add(_TRAINING, training.extract_backbone, "Write the backbone of a checkpoint for other models.")
_add(_PREDICTION, run_commands.export, "Write a run for ONNX Runtime and OpenVINO.")
_add(_PREDICTION, adopt_commands.adopt, "Make a published model one that dawnchorus opens.")
_add(_PREDICTION, models_command.models, "List the models of others, and how to get them.")
_add(_PREDICTION, tune.tune, "Find the fastest settings of a model here.")
_add(_PREDICTION, prediction.predict, "Write who sings when, as tables.", cls=CommandWithFormats)
_add(_PREDICTION, join_command.join, "End a job that was done in shards.")
_add(_PREDICTION, segments_command.segments, "Cut detections out of recordings, to listen to.")
_add(_PREDICTION, report_command.report, "Make a page on who sang when, with sounds.")
_add(_PREDICTION, review_commands.review, "Look, hear and correct detections, in a browser.")
_add(_PREDICTION, review_commands.retrain, "Train a run again with what was reviewed.")
_add(_PREDICTION, search_commands.search, "Find windows that sound like a clip.")
_add(_PREDICTION, search_commands.clusters, "Cluster what no class explains.")
_add(
    _PREDICTION,
    convert_command.convert,
    "Hand detections on to standards and programs.",
    cls=CommandWithFormats,
)
_add(_PREDICTION, pseudo_labels.pseudo_label, "Label soundscapes, to train the next model on.")
_add(_COMPETITION, run_commands.compile_, "Score, export and predict as a config asks.", name="compile")
_add(_COMPETITION, submission.bundle, "Gather several exported models in one folder.")
_add(_COMPETITION, submission.submit_kaggle, "Write submission.csv for soundscapes.")
_add(_COMPETITION, submission.score, "Score a submission against the truth.")
_add(_COMPETITION, rock_that_bird.rock_that_bird, "BirdCLEF 2025's second place from nothing.")


REPEATABLE = ("--folds", "--fold")
"""Options that take several values in a row or with commas, ``--folds 0 2`` or ``--folds 0,2``."""


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
            f"this command needs {error.name}, which is not installed: {install_extra('train')}; predicting "
            "with an exported model does without it"
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
    """Return ``--folds 0 2`` and ``--folds 0,2`` as ``--folds 0 --folds 2``, which the parser takes.

    Examples
    --------
    >>> spread_repeatable(["train", "owls.py", "--folds", "0,2", "--debug"])
    ['train', 'owls.py', '--folds', '0', '--folds', '2', '--debug']
    """
    spread: list[str] = []
    option: str | None = None
    for argument in arguments:
        name, separator, value = argument.partition("=")
        if name in REPEATABLE:
            option = name
            spread += [part for number in _numbers(value) for part in (name, number)] if separator else []
        elif option is not None and not argument.startswith("-") and _are_folds(argument):
            spread += [part for number in _numbers(argument) for part in (option, number)]
        else:
            if option is not None and spread[-2:-1] != [option]:
                spread.append(option)  # without a value, which the parser says
            option = None
            spread.append(argument)
    return spread if option is None or spread[-2:-1] == [option] else [*spread, option]


def _are_folds(text: str) -> bool:
    return all(number.isdigit() or number == "all" for number in _numbers(text))


def _numbers(text: str) -> list[str]:
    return [number.strip() for number in text.split(",")]
