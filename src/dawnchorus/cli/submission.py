"""``dawnchorus bundle``, ``submit-kaggle`` and ``score``: the end of a competition."""

from __future__ import annotations

import json
import time
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from dawnchorus.cli.prediction import (
    AddOption,
    BatchOption,
    EngineChoice,
    EngineOption,
    ExponentOption,
    ForceOption,
    ScaleOption,
    ShiftOption,
    SmoothOption,
    ThreadsOption,
    WeightOption,
    check_model_first,
    ensemble_of,
)

if TYPE_CHECKING:
    import pandas as pd

    from dawnchorus.competition.submission import CompetitionScore, Submission

BundleArgument = Annotated[
    Path, typer.Argument(metavar="BUNDLE", help="Folder of exported models, one of them, or a run.")
]
SoundscapesArgument = Annotated[Path, typer.Argument(help="Folder of soundscapes, such as test_soundscapes.")]
SampleOption = Annotated[
    Path | None,
    typer.Option(help="Rows and classes wanted; otherwise sample_submission.csv beside the soundscapes."),
]
BudgetOption = Annotated[
    float | None, typer.Option(min=0, help="Minutes the command may take; otherwise as many as it needs.")
]
RescoreOption = Annotated[
    list[str] | None,
    typer.Option(
        metavar="NAME[=VALUE]",
        help="Rescore by top-two, power, delta, genus, class, site-prior or hour-prior; repeatable.",
    ),
]
TaxonomyOption = Annotated[
    Path | None, typer.Option(help="Table of the species, for the rescorings genus and class.")
]
PriorsOption = Annotated[
    Path | None, typer.Option(help="Labelled rows of other soundscapes, 0 and 1, for the priors.")
]


def bundle(
    runs: Annotated[list[Path], typer.Argument(metavar="RUN...", help="Runs that were exported.")],
    out: Annotated[Path, typer.Option(help="Folder to make.")] = Path("bundle"),
    engine: Annotated[
        EngineChoice, typer.Option(help="Which of the exports to take.")
    ] = EngineChoice.openvino,
    force: Annotated[bool, typer.Option("--force", help="Replace the folder.")] = False,
) -> None:
    """Gather the exported models of several runs in one folder, which predicts wherever it is copied to."""
    from dawnchorus.competition.bundle import bundle_runs

    names = bundle_runs(runs, out, engine.value, force=force)
    size_mb = sum(file.stat().st_size for file in out.rglob("*") if file.is_file()) / 1e6
    typer.echo(f"{out}: {', '.join(names)}, {size_mb:.0f} MB")


def submit_kaggle(
    models: BundleArgument,
    soundscapes: SoundscapesArgument,
    out: Annotated[Path, typer.Option(help="Table to write.")] = Path("submission.csv"),
    sample_submission: SampleOption = None,
    budget_minutes: BudgetOption = None,
    shift: ShiftOption = None,
    smooth: SmoothOption = False,
    scale_by_maximum: ScaleOption = None,
    add: AddOption = None,
    weight: WeightOption = 1.0,
    exponent: ExponentOption = 1.0,
    engine: EngineOption = None,
    threads: ThreadsOption = None,
    batch_size: BatchOption = None,
    rescore: RescoreOption = None,
    taxonomy: TaxonomyOption = None,
    priors: PriorsOption = None,
    blend: Annotated[
        list[str] | None,
        typer.Option(
            metavar="CSV=SHARE",
            help="Blend ranks with another submission, as other.csv=0.2; repeatable.",
        ),
    ] = None,
    force: ForceOption = False,
) -> None:
    """Write submission.csv for soundscapes, rows and classes as the sample submission wants them.

    With a budget, the first soundscapes are measured, and if all would take too long, the ensemble shrinks:
    first to two networks a model, then the shifted windows go, then to one network a model, then models go,
    the last first (an ONNX model goes as a whole). Soundscapes that cannot be read, or are not reached in
    time, get the mean of the others; the exit code is then 2, and what cannot be read is listed beside the
    table, in submission_failures.csv.

    --rescore and --blend make scores that rank better and are no probabilities any more.
    """
    started = time.monotonic()
    from dawnchorus.competition.submission import SubmissionSettings, predict_submission
    from dawnchorus.competition.submission.rescoring import Rescoring, RescoringTables, rescored
    from dawnchorus.competition.submission.submission_file import (
        check_writable,
        find_form,
        find_soundscapes,
        write_submission,
    )
    from dawnchorus.engines.engine_settings import frontend_threads
    from dawnchorus.engines.ensembles import models_in
    from dawnchorus.errors import DawnchorusError
    from dawnchorus.predict.postprocess import NEIGHBOUR_KERNEL, PostprocessSettings

    changes = [Rescoring.parse(text) for text in rescore or ()]
    others = _blended_with(blend or [])
    check_writable(out, force=force)
    check_model_first(models, [str(soundscapes)])
    form = find_form(sample_submission, soundscapes)

    def change(table: pd.DataFrame) -> pd.DataFrame:
        return _blended(rescored(table, changes, RescoringTables(taxonomy, priors)), others)

    if form is not None and form.row_ids:
        # What cannot be done is told before hours of prediction.
        change(form.table)
    found = find_soundscapes(soundscapes, has_form=form is not None)
    ensemble = ensemble_of(
        models_in(models),
        add or [],
        (weight, exponent),
        engine=engine,
        threads=threads,
        batch_size=batch_size,
    )
    smoothing = NEIGHBOUR_KERNEL if smooth else None
    settings = SubmissionSettings(
        float("inf") if budget_minutes is None else 60 * budget_minutes,
        PostprocessSettings(shift, smoothing=smoothing, scale_exponent=scale_by_maximum),
        frontend_threads(threads),
        exponent,
    )
    weights = [model.weight for model in ensemble.models]
    submission = predict_submission(ensemble.open_each(), weights, found, form, settings, started=started)
    try:
        table = change(submission.table)
    except DawnchorusError:
        write_submission(submission, out)
        typer.echo(f"{out} holds the scores as they were predicted", err=True)
        raise
    write_submission(submission._replace(table=table), out)
    _print_submission(submission, out)


def score(
    submission: Annotated[Path, typer.Argument(help="Table to score, such as submission.csv.")],
    truth: Annotated[Path, typer.Argument(help="The same rows and classes with 0 and 1.")],
    rescore: RescoreOption = None,
    taxonomy: TaxonomyOption = None,
    priors: PriorsOption = None,
    as_json: Annotated[bool, typer.Option("--json", help="Print JSON.")] = False,
) -> None:
    """Score a submission against the truth by the competitions' metrics.

    Macro ROC-AUC over the classes that have a positive row (BirdCLEF 2024 and 2025), and padded class-wise
    mean average precision (2023). With --rescore, also after each of these changes, and after all of them.
    """
    from dawnchorus.competition.submission import competition_score
    from dawnchorus.competition.submission.rescoring import Rescoring, RescoringTables
    from dawnchorus.competition.submission.score import score_changes

    if rescore:
        changes = [Rescoring.parse(text) for text in rescore]
        found = score_changes(submission, truth, changes, RescoringTables(taxonomy, priors))
        if as_json:
            typer.echo(json.dumps({name: scored._asdict() for name, scored in found.items()}))
            return
        before = found["as it is"].macro_roc_auc
        for name, scored in found.items():
            typer.echo(f"{name}: {scored.macro_roc_auc - before:+.4f}; {_score_text(scored)}")
        return
    scored = competition_score(submission, truth)
    typer.echo(json.dumps(scored._asdict()) if as_json else _score_text(scored))


def _blended_with(given: list[str]) -> list[tuple[pd.DataFrame, float]]:
    """Return the submissions of ``--blend`` and their shares, before anything is predicted."""
    from dawnchorus.competition.submission.form import read_submission
    from dawnchorus.errors import ConfigError

    found = []
    for text in given:
        name, _, share = text.rpartition("=")
        try:
            weight = float(share)
        except ValueError:
            weight = 0.0
        if not name or not 0 < weight < 1:
            raise ConfigError(f"--blend {text} names no share; write CSV=SHARE, such as other.csv=0.2")
        found.append((read_submission(Path(name)), weight))
    if sum(weight for _, weight in found) >= 1:
        raise ConfigError("the shares of --blend sum to 1 or more, which leaves nothing to the models")
    return found


def _blended(table: pd.DataFrame, others: list[tuple[pd.DataFrame, float]]) -> pd.DataFrame:
    from dawnchorus.competition.submission.rescoring import rank_blend

    if not others:
        return table
    shares = [share for _, share in others]
    return rank_blend([table, *(other for other, _ in others)], [1 - sum(shares), *shares])


def _print_submission(submission: Submission, out: Path) -> None:
    """Print how the submission was made; exit with code 2 where something is missing."""
    from dawnchorus.competition.submission.submission_file import failures_path

    rows, classes = submission.table.shape
    how = f", with {', then '.join(map(str, submission.ways))}" if submission.n_predicted else ""
    typer.echo(
        f"{out}: {rows} rows and {classes} classes of {submission.n_predicted} predicted soundscapes, "
        f"in {submission.seconds / 60:.1f} min{how}"
    )
    if submission.n_unreached:
        typer.echo(f"the budget ran out: {submission.n_unreached} soundscapes were not reached", err=True)
    if submission.n_filled:
        mean = "mean of the others" if submission.n_predicted else "mean of the sample, 0 without one"
        typer.echo(
            f"rows that hold the {mean}: {submission.n_filled}; their soundscapes could not be read, were "
            "not reached, or end before them",
            err=True,
        )
    if submission.failures:
        failed = failures_path(out)
        typer.echo(
            f"soundscapes that failed: {len(submission.failures)}; the reasons are in {failed}", err=True
        )
    if submission.n_filled or submission.failures:
        raise typer.Exit(2)


def _score_text(scored: CompetitionScore) -> str:
    text = (
        f"macro ROC-AUC {scored.macro_roc_auc:.4f} over {scored.n_scored} of {scored.n_classes} classes, "
        f"{scored.n_rows} rows"
    )
    if scored.padded_cmap is None:
        return f"{text}; no padded cmAP, for not all values are probabilities"
    return f"{text}; padded cmAP {scored.padded_cmap:.4f}"
