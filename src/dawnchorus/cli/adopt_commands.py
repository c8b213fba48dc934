"""``dawnchorus adopt`` and ``adopt-config``: models and configs of the published system."""

from __future__ import annotations

from enum import StrEnum
from pathlib import Path
from typing import Annotated

import typer


class CheckpointChoice(StrEnum):
    """Checkpoints of a fold to choose from."""

    best = "best"
    last = "last"


def adopt(
    folder: Annotated[
        Path, typer.Argument(help="Published run, folder of exported networks at any depth, or one of them.")
    ],
    labels: Annotated[
        Path, typer.Option(help="Classes in the order of the outputs: taxonomy.csv, or a JSON label map.")
    ],
    out: Annotated[Path, typer.Option(help="Folder to make.")] = Path("adopted"),
    config: Annotated[
        Path | None, typer.Option(help="Published config, read as data; otherwise that in the run's folder.")
    ] = None,
    backbone: Annotated[
        str | None, typer.Option(help="Backbone of a run; otherwise the config's, tf_efficientnetv2_s_in21k.")
    ] = None,
    sample_rate: Annotated[
        int | None, typer.Option(min=1, help="Of the clips, Hz; otherwise the config's, 32000.")
    ] = None,
    segment_len: Annotated[
        float | None, typer.Option(min=0.01, help="Seconds of a clip; otherwise the config's, 5.")
    ] = None,
    late_normalize: Annotated[
        bool | None, typer.Option(help="Divide a clip by its peak; otherwise the config's, or yes.")
    ] = None,
    frontend: Annotated[
        list[str] | None,
        typer.Option(
            metavar="KEY=VALUE", help="Setting of a run's spectrogram, such as n_mels=64; repeatable."
        ),
    ] = None,
    checkpoint: Annotated[
        CheckpointChoice, typer.Option(help="Checkpoint of each fold: best score in its name, or last.")
    ] = CheckpointChoice.best,
) -> None:
    """Make a folder that dawnchorus opens from a model of the published system.

    A run (fold_*/checkpoints/*.ckpt) becomes a run, which predicts and exports; exported networks (.onnx, or
    .xml with .bin) become a bundle. The weights are copied. No code in the files is run.
    """
    from dawnchorus.config.changes import given_changes
    from dawnchorus.pipelines.adoption import AdoptionSettings
    from dawnchorus.pipelines.adoption import adopt as adopt_models

    settings = AdoptionSettings(
        backbone, sample_rate, segment_len, late_normalize, given_changes(frontend or [])
    )
    adopted = adopt_models(
        folder, out, labels=labels, config=config, settings=settings, checkpoint=checkpoint.value
    )
    for model in adopted:
        clip = f"clips of {model.card.segment_len:g} s at {model.card.sample_rate} Hz"
        level = "divided by their peak" if model.card.late_normalize else "at their own level"
        typer.echo(f"{model.path}: {len(model.card.labels)} classes, {clip}, {level}")
        for source in model.sources:
            typer.echo(f"  {source}")


def adopt_config(
    file: Annotated[Path, typer.Argument(help="Python file with a CONFIG of the published system.")],
    out: Annotated[
        Path | None, typer.Option(help="Config to write; otherwise a file of its name in this folder.")
    ] = None,
    force: Annotated[bool, typer.Option("--force", help="Overwrite it.")] = False,
) -> None:
    """Write a published config in the keys of dawnchorus, and list what has no counterpart.

    The file is read as data: it is not run, and none of its modules is needed.
    """
    from dawnchorus.config.published_config import adopt_config as adopt_file

    out = out or Path(file.name)
    left_out = adopt_file(file, out, force=force)
    typer.echo(f"{out}: written; {len(left_out)} keys have no counterpart{':' if left_out else ''}")
    for one in left_out:
        typer.echo(f"  {one}")
