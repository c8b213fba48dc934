"""Rounds of self-training: train, label soundscapes with the best ensemble so far, train again."""

from __future__ import annotations

import json
import logging
from collections.abc import Sequence
from pathlib import Path
from typing import Any, NamedTuple

import pandas as pd

from dawnchorus.engines.ensembles import Ensemble, WeightedModel
from dawnchorus.errors import DataError
from dawnchorus.files import Failure, read_failures, replacing, write_failures, write_text
from dawnchorus.files.shards import alone_in
from dawnchorus.pipelines.experiment import Experiment, TrainedRun, train, whole_config
from dawnchorus.pipelines.run_pseudo_labels import pseudo_label
from dawnchorus.pseudo_labels.pseudo_label_settings import LabellingSettings
from dawnchorus.pseudo_labels.soundscape_files import soundscapes_by_name
from dawnchorus.report.rounds_page import write_rounds_page
from dawnchorus.self_training.round_plan import (
    ROUND_NAME,
    RoundPlan,
    RoundRecord,
    Soundscapes,
    plan_rounds,
)
from dawnchorus.self_training.round_scores import score_round
from dawnchorus.wording import counted

logger = logging.getLogger(__name__)

SUMMARY_NAME, PAGE_NAME = "rounds.csv", "rounds.html"


class Rounds(NamedTuple):
    """The rounds that were trained, and the best of them.

    Attributes
    ----------
    records
        The rounds from 0 on.
    best
        Number of the round with the highest score.
    run
        Its run.
    folder
        Tables, scores, and ``rounds.csv``.
    failures
        Soundscapes that could not be read.
    stopped
        Why no more were trained, in a sentence.

    Examples
    --------
    >>> from pathlib import Path
    >>> from dawnchorus import open_run
    >>> Rounds([], 0, open_run("logdirs/tiny"), Path("logdirs/tiny_rounds"), [], "all were trained").best
    0
    """

    records: list[RoundRecord]
    best: int
    run: TrainedRun
    folder: Path
    failures: list[Failure]
    stopped: str


def rounds(
    config: Experiment,
    soundscapes: str | Path,
    *,
    n_rounds: int = 4,
    labelled: str | Path | None = None,
    out_of_fold: bool | None = None,
    patience: int = 1,
    **changes: Any,
) -> Rounds:
    """Return rounds of self-training on unlabelled soundscapes; a call that was killed goes on.

    Round 0 is trained on the labelled recordings alone. Each later one is trained on them and on the
    soundscapes, as the best round so far has labelled them. Every round is a run of its own,
    ``logdirs/{exp_name}_round_{k}``, with ``round.json`` beside its config.

    Rounds are compared by macro ROC-AUC on labelled soundscapes. Without such, by the mean of the
    out-of-fold macro ROC-AUC, which follows recordings and not soundscapes, and of the agreement between
    folds on the soundscapes, which may also rise because folds have learnt the same mistakes.

    Parameters
    ----------
    config
        The experiment: an object, a ``CONFIG`` dict, or a ``.py`` file.
    soundscapes, n_rounds, labelled, out_of_fold, patience
        As for :func:`dawnchorus.self_training.round_plan.plan_rounds`, with its errors.
    **changes
        Keys of the config with other values, as in :func:`dawnchorus.train`.

    Raises
    ------
    RunError
        A folder holds rounds of another config or of other soundscapes, or another process trains them.
    TrainingError
        As for :func:`dawnchorus.train`.

    Examples
    --------
    >>> import dawnchorus as dc
    >>> from pathlib import Path
    >>> _ = Path("nights").mkdir(), Path("night.wav").rename("nights/night.wav")
    >>> all_rows = {"primary_label_min_prob": 0.0}
    >>> found = dc.rounds("train.py", "nights", n_rounds=1, soundscape_pseudo_config=all_rows)
    >>> [record.parent for record in found.records], found.run.path.parent.name
    ([None, 'tiny_round_0'], 'logdirs')
    """
    plan = plan_rounds(
        whole_config(config, changes),
        soundscapes,
        n_rounds=n_rounds,
        labelled=labelled,
        out_of_fold=out_of_fold,
        patience=patience,
    )
    return _train(plan)


def _train(plan: RoundPlan) -> Rounds:
    """Return the rounds of a plan, trained until the score stops rising."""
    plan.folder.mkdir(parents=True, exist_ok=True)
    records: list[RoundRecord] = []
    stopped = f"all {plan.n_rounds} rounds were trained"
    with alone_in(plan.folder, lock=plan.folder / "lock"):
        plan.begin()
        for number in range(plan.n_rounds + 1):
            if number - _best_of(records) > plan.patience:
                stopped = f"round {number - 1} did not raise the score of round {_best_of(records)}"
                break
            parent = _best_of(records) if number else None
            record = plan.record_of(number) or _one_round(plan, number, parent)
            records.append(record)
            score = record.score
            logger.info(f"Round {number}: {score.value:.4f}, {score.kind}")
            _write_summary(plan, records)
        failures = _failures_of(plan, records)
        write_failures(plan.folder, failures)
        best = _best_of(records)
        run = TrainedRun(plan.run_dir(best), plan.config_of(best))
        _write_page(plan, records, run, stopped)
    return Rounds(records, best, run, plan.folder, failures, stopped)


def _best_of(records: Sequence[RoundRecord]) -> int:
    """Return the number of the round with the highest score, the first of equals; 0 of none."""
    return max(range(len(records)), key=lambda number: records[number].score.value, default=0)


def _failures_of(plan: RoundPlan, records: Sequence[RoundRecord]) -> list[Failure]:
    """Return the soundscapes that could not be read in any round, each once."""
    every = (read_failures(plan.work(record.number)) for record in records if record.number)
    return list({failure.path: failure for failures in every for failure in failures}.values())


def _one_round(plan: RoundPlan, number: int, parent: int | None) -> RoundRecord:
    """Label, train and score a round, and write its record last."""
    if parent is not None:
        _label(plan, number, parent)
    run = train(plan.config_of(number))
    score = score_round(run, plan.soundscapes, plan.labelled, plan.folder / "scores" / f"round_{number}")
    record = RoundRecord(number=number, score=score)
    if parent is not None:
        record = record.model_copy(
            update={
                "parent": plan.run_dir(parent).name,
                "table": plan.table(number).relative_to(plan.config.logdir).as_posix(),
                "exponent": plan.settings.exponent_of(number),
                "soundscapes": Soundscapes.of(plan.soundscapes),
            }
        )
    write_text(run.path / ROUND_NAME, json.dumps(record.model_dump(), indent=2))
    return record


def _label(plan: RoundPlan, number: int, parent: int) -> None:
    """Write the table of a round."""
    table = plan.table(number)
    teacher = WeightedModel(plan.run_dir(parent), config=plan.config_of(parent))
    pseudo_label(
        Ensemble([teacher], engine="torch"),
        plan.soundscapes,
        plan.work(number),
        LabellingSettings(table),
        out_of_fold=plan.settings.out_of_fold,
    )
    _check_table(plan, table)


def _check_table(plan: RoundPlan, table: Path) -> None:
    """Raise a DataError where a table has rows of anything but the soundscapes that were checked."""
    rows = pd.read_parquet(table, columns=["row_id"])["row_id"].str.rpartition("_")[0]
    strangers = set(rows) - set(soundscapes_by_name(plan.soundscapes.recordings))
    if strangers:
        raise DataError(f"{table} has rows of {min(strangers)}, which is none of the soundscapes; delete it")


def _write_page(plan: RoundPlan, records: Sequence[RoundRecord], run: TrainedRun, stopped: str) -> None:
    tables = {record.number: plan.table(record.number) for record in records if record.table is not None}
    n_soundscapes = counted(len(plan.soundscapes.recordings), "soundscape")
    write_rounds_page(
        plan.folder / PAGE_NAME,
        _summary(plan, records),
        tables,
        soundscapes_by_name(plan.soundscapes.recordings),
        run.card(),
        summary=[
            f"{n_soundscapes} of {plan.soundscapes.root}. Rounds are compared by: {records[-1].score.kind}.",
            f"Round {_best_of(records)} is the best. It stopped because {stopped}.",
        ],
    )


def _write_summary(plan: RoundPlan, records: Sequence[RoundRecord]) -> None:
    with replacing(plan.folder / SUMMARY_NAME) as temporary:
        _summary(plan, records).to_csv(temporary, index=False)


def _summary(plan: RoundPlan, records: Sequence[RoundRecord]) -> pd.DataFrame:
    """Return a row a round."""
    best = _best_of(records)
    rows = [
        {
            "round": record.number,
            "run": plan.run_dir(record.number).name,
            "parent": record.parent,
            "exponent": record.exponent,
            **record.score.model_dump(),
            "best": record.number == best,
        }
        for record in records
    ]
    return pd.DataFrame(rows)
