"""``dawnchorus probe``: a head on frozen embeddings, in seconds, and its export."""

from __future__ import annotations

from enum import StrEnum
from pathlib import Path
from typing import Annotated

import typer


class HeadName(StrEnum):
    """Heads of a probe."""

    linear = "linear"
    prototype = "prototype"
    attention = "attention"


def probe(
    embedder: Annotated[
        str,
        typer.Argument(
            metavar="EMBEDDER",
            help="What gives embeddings: imagenet, birdnet, a run, an export, or an .onnx file with a card.",
        ),
    ],
    recordings: Annotated[
        Path,
        typer.Argument(metavar="RECORDINGS", help="Folder of labelled recordings, or a CSV table of them."),
    ],
    out: Annotated[Path, typer.Option(help="Folder of the probe, which predict and load_model open.")],
    head: Annotated[
        HeadName,
        typer.Option(
            help="linear: logistic regression; prototype: nearest mean; attention: a small network, for "
            "recordings of many windows."
        ),
    ] = HeadName.linear,
    labels: Annotated[Path | None, typer.Option(help="File of the classes and their order.")] = None,
    audio: Annotated[
        Path | None, typer.Option(help="Folder that the names of a table are relative to.")
    ] = None,
    n_folds: Annotated[int | None, typer.Option(min=1, help="Folds for the score; 1 makes none.")] = None,
    group: Annotated[
        str | None,
        typer.Option(help="Column whose equal values stay in one fold; otherwise author and site."),
    ] = None,
    cache: Annotated[Path | None, typer.Option(help="Folder that embeddings are kept in.")] = None,
    threads: Annotated[int | None, typer.Option(min=1, help="Threads of the embedder.")] = None,
    seed: Annotated[int, typer.Option(min=0, help="Of the folds and of the head.")] = 42,
    force: Annotated[bool, typer.Option("--force", help="Replace what is in the folder.")] = False,
) -> None:
    """Fit a head to frozen embeddings of labelled recordings: a model of your species in seconds.

    Embeddings are kept, so that a killed command goes on and another head takes seconds. The score is out of
    fold, recordists apart; scores are calibrated as after train.
    """
    from dawnchorus.files import FAILURES_NAME
    from dawnchorus.pipelines.probing import FOLDS
    from dawnchorus.pipelines.probing import probe as fit

    changes = {} if group is None else {"group_column": tuple(map(str.strip, group.split(",")))}
    made = fit(
        embedder,
        recordings,
        out=out,
        head=head.value,
        labels=labels,
        audio_dir=audio,
        n_folds=n_folds,
        folds=FOLDS.model_copy(update=changes),
        cache=cache,
        n_threads=threads,
        seed=seed,
        force=force,
    )
    card = made.card
    typer.echo(f"{card.head} head on {card.embedder.name} for {len(card.labels)} species: {made.path}")
    if card.embedder.licence:
        typer.echo(f"licence of {card.embedder.name}: {card.embedder.licence}")
    typer.echo(made.summary)
    if made.left_out:
        typer.echo(
            f"{len(made.left_out)} recordings were left out; see {made.path / FAILURES_NAME}", err=True
        )
        raise typer.Exit(2)
