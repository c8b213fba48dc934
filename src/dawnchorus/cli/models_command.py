"""``dawnchorus models``: the models of others that are here, and how to get the rest."""

from __future__ import annotations

import json
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

if TYPE_CHECKING:
    from dawnchorus.engines.named_models import ListedModel


def models(
    folder: Annotated[
        Path, typer.Argument(help="Folder whose graphs with a card are listed too, and its subfolders.")
    ] = Path(),
    as_json: Annotated[bool, typer.Option("--json", help="Print JSON.")] = False,
) -> None:
    """List the models that others have trained: what opens them, and how to get those that are not here.

    predict, pseudo-label and load_model take the name, or the path of a graph (.onnx, .tflite) with a card
    beside it. Runs of your own are listed by dawnchorus runs.
    """
    from dawnchorus.engines.named_models import list_models

    listed = list_models(folder)
    if as_json:
        typer.echo(json.dumps([_facts(model) for model in listed], indent=2, ensure_ascii=False))
        return
    for number, model in enumerate(listed):
        if number:
            typer.echo()
        facts = _facts(model)
        typer.echo(f"{model.name}: {facts['model']}, {_kind(model)}")
        typer.echo(f"  windows of {facts['window_s']:g} s at {facts['sample_rate']} Hz")
        typer.echo(f"  licence: {facts['licence']}")
        if model.path is None:
            typer.echo(f"  not installed: {model.remedy}")
        else:
            typer.echo(f"  installed: {model.path}")


def _kind(model: ListedModel) -> str:
    from dawnchorus.wording import counted

    n = model.n_classes
    classes = "classes unknown" if n is None else counted(n, "class", "classes") if n else "no classes"
    return f"{classes} and embeddings" if model.card.embeddings else classes


def _facts(model: ListedModel) -> dict[str, object]:
    card = model.card
    terms = ", ".join(text for text in (card.terms, card.source) if text)
    return {
        "name": model.name,
        "model": card.name,
        "n_classes": model.n_classes,
        "embeddings": card.embeddings is not None,
        "window_s": card.window_s,
        "sample_rate": card.sample_rate,
        "licence": f"{card.licence} ({terms})" if terms else card.licence,
        "path": None if model.path is None else str(model.path),
        "remedy": model.remedy,
    }
