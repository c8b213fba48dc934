"""``dawnchorus evaluate``, ``export`` and ``compile``: score, exports and predictions of a run."""

from __future__ import annotations

from collections.abc import Sequence
from enum import StrEnum
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from dawnchorus.cli.config_options import SetOption, config_changes
from dawnchorus.cli.prediction import print_predictions

if TYPE_CHECKING:
    from dawnchorus.config import TrainConfig
    from dawnchorus.evaluate.out_of_fold import OutOfFold
    from dawnchorus.export.parity import Parity
    from dawnchorus.runs import Run

RunArgument = Annotated[
    Path, typer.Argument(metavar="RUN", help="Run directory, or the training config of the run.")
]
ConfigOption = Annotated[
    Path | None,
    typer.Option(help="Training config of a run directory, which a run with parts of your own needs."),
]
FoldsOption = Annotated[
    list[int] | None, typer.Option("--folds", "--fold", help="Folds to use; otherwise all finished.")
]
DebugOption = Annotated[bool, typer.Option("--debug", help="The run that was trained with --debug.")]
BatchOption = Annotated[int, typer.Option(min=1, help="Clips per forward pass.")]


class ScoredItem(StrEnum):
    """What is scored."""

    recording = "recording"
    window = "window"


def evaluate(
    run: RunArgument,
    config: ConfigOption = None,
    folds: FoldsOption = None,
    batch_size: BatchOption = 16,
    classes: Annotated[
        Path | None,
        typer.Option(
            help="Also print the score of these classes: a file with a label a line, or a CSV table with "
            "primary_label."
        ),
    ] = None,
    per: Annotated[
        ScoredItem, typer.Option(help="What is predicted and scored; windows are written to a table.")
    ] = ScoredItem.recording,
    changes: SetOption = None,
    debug: DebugOption = False,
) -> None:
    """Predict every recording with the fold that never heard it, and print the out-of-fold score.

    The run's page shows which species are taken for which, and the recordings that are most wrong.
    """
    from dawnchorus.evaluate.out_of_fold import predict_windows_out_of_fold, scored_on
    from dawnchorus.pipelines.run_evaluation import evaluate_run
    from dawnchorus.recordings.labels import read_labels

    wanted = None if classes is None else read_labels(classes).labels
    opened, settings = open_run(run, config, changes, debug=debug)
    predict = evaluate_run if per == "recording" else predict_windows_out_of_fold
    result = predict(opened, settings, folds=folds or None, batch_size=batch_size)
    _print_out_of_fold(opened, result)
    if wanted is not None:
        typer.echo(f"of the classes in {classes}:")
        _print_scores(opened, scored_on(result, wanted, settings))


def export(
    run: RunArgument,
    config: ConfigOption = None,
    folds: FoldsOption = None,
    int8: Annotated[
        bool, typer.Option("--int8", help="Also in 8 bits, where the score allows it (the extra nncf).")
    ] = False,
    one_file: Annotated[
        bool, typer.Option("--one-file", help="Also as one ONNX file with its weights in it.")
    ] = False,
    onnx_fp16: Annotated[
        bool, typer.Option("--onnx-fp16", help="Also as one ONNX file with weights in fp16, half the size.")
    ] = False,
    frames: Annotated[
        bool, typer.Option("--frames", help="Give the logits of the frames too, as the output frame_logits.")
    ] = False,
    taxonomy: Annotated[
        Path | None,
        typer.Option(help="CSV table with scientific and common names of the classes, for the model card."),
    ] = None,
    changes: SetOption = None,
    debug: DebugOption = False,
) -> None:
    """Write the ensemble for ONNX Runtime and OpenVINO, after comparing both with PyTorch on real clips.

    Each is a folder that predicts wherever it is copied to, without PyTorch. An adopted run, which has no
    recordings, is compared on generated clips.
    """
    from dawnchorus.engines.opening import is_run
    from dawnchorus.export.ensemble_export import export_ensemble
    from dawnchorus.runs import Run

    settings: TrainConfig | None
    if config is None and is_run(run) and not (adopted := Run(run)).config_file.is_file():
        opened, settings = adopted, None
    else:
        opened, settings = open_run(run, config, changes, debug=debug)
    parities = export_ensemble(
        opened,
        settings,
        folds=folds or None,
        int8=int8,
        one_file=one_file,
        onnx_fp16=onnx_fp16,
        frames=frames,
        taxonomy=taxonomy,
    )
    _print_parities(opened, parities)


def compile_(
    config: Annotated[Path, typer.Argument(help="Config file, such as inference_configs/selected_ebs.py.")],
    changes: SetOption = None,
    debug: DebugOption = False,
) -> None:
    """Score a run out of fold, export it, and predict what the inference config asks for."""
    from dawnchorus.config import load_inference_config
    from dawnchorus.pipelines.run_compilation import compile_run

    compiled = compile_run(load_inference_config(config, given=changes or ()), debug=debug)
    if compiled.out_of_fold is None:
        typer.echo("no score: all recordings were trained on")
    else:
        _print_out_of_fold(compiled.run, compiled.out_of_fold)
    _print_parities(compiled.run, compiled.parities)
    if compiled.predictions is not None:
        print_predictions(compiled.predictions, compiled.run.path / "soundscapes")


def open_run(
    path: Path, config: Path | None, changes: Sequence[str] | None, *, debug: bool
) -> tuple[Run, TrainConfig]:
    """Return a run and its config, by its directory, its training config, or both."""
    from dawnchorus.config import find_config, load_train_config, names_config
    from dawnchorus.errors import ConfigError
    from dawnchorus.runs import open_run as open_it

    if config is None and not path.is_dir() and names_config(path):
        path, config = Path(), find_config(path)
    if config is None:
        if changes:
            raise ConfigError(
                f"{path} is a run, which --set does not change; leave --set out, or name --config"
            )
        run = open_it(path, debug=debug)
    else:
        options = config_changes(debug=debug)
        experiment = load_train_config(config, options, given=changes or ())
        run = open_it(experiment) if path == Path() else open_it(path, config=experiment)
    return run, run.config()


def _print_out_of_fold(run: Run, result: OutOfFold) -> None:
    from dawnchorus.evaluate.frozen_baseline import read_baseline
    from dawnchorus.evaluate.out_of_fold import START_COLUMN, WINDOWS_NAME

    _print_scores(run, result)
    if (baseline := read_baseline(run)) is not None:
        typer.echo(f"in the same folds: {baseline.sentence()}")
    file = run.path / WINDOWS_NAME if START_COLUMN in result.predictions else run.oof_file
    typer.echo(f"predictions: {file}")


def _print_scores(run: Run, result: OutOfFold) -> None:
    from dawnchorus.evaluate.out_of_fold import START_COLUMN

    rows = "windows" if START_COLUMN in result.predictions else "recordings"
    typer.echo(
        f"out-of-fold macro ROC-AUC {result.macro_roc_auc:.4f} over {len(result.scored_labels)} of "
        f"{len(run.card().labels)} species, {len(result.predictions)} {rows} of all folds pooled"
    )
    if len(result.fold_macro_roc_auc) > 1:
        typer.echo(
            f"pooled after the folds' scores were brought to one scale {result.together_macro_roc_auc:.4f}"
        )
    if result.fold_macro_roc_auc:
        each = ", ".join(f"fold {fold} {score:.4f}" for fold, score in result.fold_macro_roc_auc.items())
        typer.echo(f"mean of the folds' macro ROC-AUC {result.mean_of_folds:.4f}: {each}")


def _print_parities(run: Run, parities: list[Parity]) -> None:
    from dawnchorus.export.ensemble_export import export_files

    for parity in parities:
        at = f"at most {parity.largest_difference:.1e} from PyTorch ({parity.filename})"
        typer.echo(f"{parity.engine}: {at}: {export_files(run)[parity.engine].parent}")
