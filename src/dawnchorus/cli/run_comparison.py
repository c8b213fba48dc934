"""``dawnchorus runs`` and ``dawnchorus ensemble``: runs side by side, and together."""

from __future__ import annotations

import json
from enum import StrEnum
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

if TYPE_CHECKING:
    import pandas as pd

_N_DIFFERENCES = 4


class CombinationName(StrEnum):
    """Ways to join the predictions of an ensemble."""

    mean = "mean"
    rank = "rank"
    geometric = "geometric"
    power = "power"


_AVERAGED = {
    "mean": "mean of probabilities",
    "rank": "mean of ranks",
    "geometric": "geometric mean of probabilities",
    "power": "power mean of probabilities",
}


class SearchName(StrEnum):
    """Searches for weights."""

    forward = "forward"
    simplex = "simplex"


def runs(
    folders: Annotated[
        list[Path] | None, typer.Argument(metavar="[FOLDER]...", help="Runs, or folders of runs; logdirs.")
    ] = None,
    as_json: Annotated[bool, typer.Option("--json", help="Print JSON, with all differences.")] = False,
    as_csv: Annotated[bool, typer.Option("--csv", help="Print CSV.")] = False,
) -> None:
    """List all runs side by side, the best out-of-fold score first.

    Validation is the mean score of the finished folds at their best epochs, which were chosen on the same
    recordings; the out-of-fold score is there after dawnchorus evaluate. Beside it, as frozen, stands that of
    a logistic regression on frozen features in the same folds, where training has made one. Settings are
    those in which the runs differ.
    """
    from dawnchorus.report.run_list import list_runs

    table = list_runs(folders or [Path("logdirs")])
    if as_json:
        typer.echo(table.to_json(orient="records", indent=2, force_ascii=False, double_precision=15))
    elif as_csv:
        texts = [json.dumps(each, ensure_ascii=False) for each in table["differences"]]
        typer.echo(table.assign(differences=texts).to_csv(index=False).rstrip())
    else:
        _print_runs(table)


def ensemble(
    folders: Annotated[list[Path], typer.Argument(metavar="RUN...", help="Evaluated runs.")],
    combination: Annotated[
        CombinationName,
        typer.Option(
            help="Mean of the probabilities, geometric or power mean, as predict joins them; or of ranks."
        ),
    ] = CombinationName.mean,
    exponent: Annotated[float, typer.Option(help="Exponent of the power mean, above 0.")] = 2.0,
    search: Annotated[
        SearchName,
        typer.Option(help="Forward selection, or Nelder and Mead's simplex from its result on."),
    ] = SearchName.forward,
    as_json: Annotated[bool, typer.Option("--json", help="Print JSON.")] = False,
) -> None:
    """Score an ensemble of runs out of fold, and find weights.

    No recording is predicted by a network that was trained on it. The weights are chosen on the same
    predictions that they are scored on, which favours that score slightly; the last line scores each fold
    with weights of the other folds.
    """
    from dawnchorus.evaluate.ensemble_weights import weigh_runs
    from dawnchorus.runs import Run

    found = weigh_runs(
        [Run.open(folder) for folder in folders],
        combination=combination.value,
        exponent=exponent,
        search=search.value,
    )
    if as_json:
        typer.echo(json.dumps({"runs": [str(folder) for folder in folders], **found._asdict()}, indent=2))
        return
    typer.echo(
        f"out-of-fold macro ROC-AUC, {found.n_recordings} recordings and {found.n_classes} classes that all "
        f"runs have, {_AVERAGED[combination.value]}:"
    )
    for folder, score in zip(folders, found.member_scores, strict=True):
        typer.echo(f"  {score:.4f}  {folder}")
    typer.echo(f"  {found.equal_score:.4f}  all with equal weights")
    chosen = [(folder, weight) for folder, weight in zip(folders, found.weights, strict=True) if weight]
    told = " + ".join(f"{weight} × {folder}" for folder, weight in chosen)
    typer.echo(f"  {found.score:.4f}  {told}, chosen on these predictions")
    if found.held_out_score is not None:
        typer.echo(
            f"  {found.held_out_score:.4f}  mean of the folds, each with weights found on the others; "
            f"{found.held_out_equal_score:.4f} with equal weights"
        )
    if combination == "rank":
        typer.echo(
            "dawnchorus predict joins no ranks: a rank needs all recordings at once, and says nothing of one "
            "alone; --combination geometric is the nearest that predicts"
        )
        return
    (first, weight), *others = chosen
    added = "".join(f" --add {folder}={number}" for folder, number in others)
    power = {"mean": 1.0, "geometric": 0.0, "power": exponent}[combination.value]
    mean = "" if power == 1 else f" --exponent {power:g}"
    typer.echo(f"dawnchorus predict {first} RECORDINGS --weight {weight}{added}{mean}")


def _print_runs(table: pd.DataFrame) -> None:
    from rich.console import Console
    from rich.table import Table

    from dawnchorus.wording import first_few

    shown = Table(header_style="bold")
    columns = (("run", "left"), ("out of fold", "right"), ("frozen", "right"), ("validation", "right"))
    for heading, justify in columns:
        shown.add_column(heading, justify=justify, overflow="fold")  # type: ignore[arg-type]
    for heading in ("folds", "backbone", "trained", "settings"):
        shown.add_column(heading, overflow="fold")
    for row in table.itertuples():
        numbers = (row.out_of_fold, row.baseline, row.validation)
        scores = ("—" if score != score else f"{score:.4f}" for score in numbers)
        settings = [f"{key.rpartition('.')[2]} {value}" for key, value in row.differences.items()]
        shown.add_row(
            row.name,
            *scores,
            f"{row.n_finished} of {row.n_folds}",
            row.backbone,
            row.trained[:10],
            first_few(settings, _N_DIFFERENCES),
        )
    Console().print(shown)
