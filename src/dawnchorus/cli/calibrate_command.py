"""``dawnchorus calibrate``: thresholds of a wanted precision."""

from __future__ import annotations

import math
from typing import TYPE_CHECKING, Annotated

import typer

from dawnchorus.cli.config_options import SetOption
from dawnchorus.cli.run_commands import (
    BatchOption,
    ConfigOption,
    DebugOption,
    FoldsOption,
    RunArgument,
    open_run,
)

if TYPE_CHECKING:
    from dawnchorus.pipelines.run_calibration import Calibrated

PrecisionOption = Annotated[
    float, typer.Option(min=0, max=1, help="Wanted share of right detections, above 0.")
]


def calibrate(
    run: RunArgument,
    precision: PrecisionOption = 0.9,
    config: ConfigOption = None,
    folds: FoldsOption = None,
    batch_size: BatchOption = 16,
    changes: SetOption = None,
    debug: DebugOption = False,
) -> None:
    """Write the threshold of each class at a wanted precision, from out-of-fold predictions."""
    from dawnchorus.pipelines.run_calibration import calibrate_run

    opened, settings = open_run(run, config, changes, debug=debug)
    calibrated = calibrate_run(
        opened, settings, precision=precision, folds=folds or None, batch_size=batch_size
    )
    _print_calibrated(calibrated, precision)


def _print_calibrated(calibrated: Calibrated, precision: float) -> None:
    own, pooled, never = calibrated.n_by_how.values()
    at = "" if math.isinf(calibrated.pooled_threshold) else f" of {calibrated.pooled_threshold:.3f}"
    typer.echo(
        f"precision {precision:g} of recordings: {own} of {len(calibrated.thresholds)} classes with a "
        f"threshold of their own, {pooled} with the pooled one{at}, {never} never reach it"
    )
    typer.echo(f"thresholds: {calibrated.table}")
    typer.echo(f"picture: {calibrated.picture}")
    if never:
        typer.echo(
            f"{never} classes have the threshold inf and are never detected: not even all classes together "
            f"reach a precision of {precision:g}; ask for a lower one, or train on more recordings",
            err=True,
        )
