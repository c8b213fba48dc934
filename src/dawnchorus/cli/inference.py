"""``dawnchorus evaluate``, ``export``, ``predict`` and ``compile``: what a trained run is for."""

from __future__ import annotations

from enum import StrEnum
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

if TYPE_CHECKING:
    from dawnchorus.config import TrainConfig
    from dawnchorus.export.parity import Parity
    from dawnchorus.inference.folder import FolderPredictions
    from dawnchorus.inference.out_of_fold import OutOfFold
    from dawnchorus.inference.runs import Run

RunArgument = Annotated[Path, typer.Argument(help="Run directory, or the training config of the run.")]
FoldsOption = Annotated[
    list[int] | None, typer.Option("--folds", help="Folds to use; otherwise all finished.")
]
DebugOption = Annotated[bool, typer.Option("--debug", help="The run that was trained with --debug.")]
BatchOption = Annotated[int, typer.Option(min=1, help="Clips per forward pass.")]
ThresholdOption = Annotated[float, typer.Option(min=0, max=1, help="Probability that makes a detection.")]


class Engine(StrEnum):
    """Engines that run an ensemble."""

    torch = "torch"
    onnx = "onnx"
    openvino = "openvino"


def evaluate(
    run: RunArgument, folds: FoldsOption = None, batch_size: BatchOption = 16, debug: DebugOption = False
) -> None:
    """Predict every recording with the fold that never heard it, and print the out-of-fold score."""
    from dawnchorus.inference.out_of_fold import predict_out_of_fold

    opened, config = _open(run, debug=debug)
    _print_out_of_fold(
        opened, predict_out_of_fold(opened, config, folds=folds or None, batch_size=batch_size)
    )


def export(run: RunArgument, folds: FoldsOption = None, debug: DebugOption = False) -> None:
    """Write the ensemble as one ONNX graph and as OpenVINO IR, after comparing both with PyTorch."""
    from dawnchorus.export.ensemble import export_ensemble

    opened, config = _open(run, debug=debug)
    _print_parities(opened, export_ensemble(opened, config, folds=folds or None))


def predict(
    model: Annotated[Path, typer.Argument(help="Run directory, model.onnx, or OpenVINO model.xml.")],
    soundscapes: Annotated[Path, typer.Argument(help="A recording, or a folder of them.")],
    out: Annotated[Path, typer.Option(help="Folder for the tables.")] = Path("predictions"),
    engine: Annotated[Engine | None, typer.Option(help="Otherwise by the model: onnx for a run.")] = None,
    threshold: ThresholdOption = 0.5,
    batch_size: BatchOption = 16,
    force: Annotated[bool, typer.Option("--force", help="Overwrite tables that are there.")] = False,
) -> None:
    """Write who sings when in soundscapes: CSV, Raven selection tables, and Parquet of every window."""
    from dawnchorus.errors import RunError
    from dawnchorus.inference.birds_inference import BirdsInference
    from dawnchorus.inference.folder import predict_folder
    from dawnchorus.inference.runtimes import open_runtime

    if (out / "detections.csv").exists() and not force:
        raise RunError(f"{out / 'detections.csv'} exists; choose another --out, or overwrite it with --force")
    chosen = engine or (Engine.openvino if model.suffix == ".xml" else Engine.onnx)
    inference = BirdsInference(open_runtime(model, chosen.value), batch_size=batch_size)
    _print_predictions(predict_folder(inference, soundscapes, out, threshold=threshold))


def compile_(
    config: Annotated[Path, typer.Argument(help="Config file, such as inference_configs/selected_ebs.py.")],
    debug: DebugOption = False,
) -> None:
    """Score a run out of fold, export it, and predict what the inference config asks for."""
    from dawnchorus.config import load_inference_config
    from dawnchorus.pipelines.compiling import compile_run

    compiled = compile_run(load_inference_config(config), debug=debug)
    _print_out_of_fold(compiled.run, compiled.out_of_fold)
    _print_parities(compiled.run, compiled.parities)
    if compiled.predictions is not None:
        _print_predictions(compiled.predictions)


def _open(path: Path, *, debug: bool) -> tuple[Run, TrainConfig]:
    from dawnchorus.pipelines.compiling import open_experiment

    if path.suffix == ".py":
        return open_experiment(train_config=path, debug=debug)
    return open_experiment(run_dir=path)


def _print_out_of_fold(run: Run, result: OutOfFold) -> None:
    typer.echo(
        f"out-of-fold macro ROC-AUC {result.macro_roc_auc:.4f} over {len(result.scored_labels)} of "
        f"{len(run.card().labels)} species, {len(result.predictions)} recordings"
    )
    typer.echo(f"predictions: {run.oof_file}")


def _print_parities(run: Run, parities: list[Parity]) -> None:
    for parity, file in zip(parities, (run.onnx_file, run.openvino_file), strict=True):
        typer.echo(f"{parity.engine}: at most {parity.largest_difference:.1e} from PyTorch: {file}")


def _print_predictions(result: FolderPredictions) -> None:
    n_files = result.windows["filename"].nunique()
    typer.echo(f"{len(result.detections)} detections in {n_files} recordings: {result.detections_csv}")
    typer.echo(f"Raven selection tables: {result.raven_dir}")
    typer.echo(f"every window and class: {result.windows_parquet}")
    if result.failures:
        failed = result.detections_csv.with_name("failures.csv")
        typer.echo(f"{len(result.failures)} recordings failed; the reasons are in {failed}", err=True)
        raise typer.Exit(2)
