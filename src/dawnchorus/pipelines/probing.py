"""A probe: a small head on frozen embeddings of recordings, scored out of fold, calibrated and saved."""

from __future__ import annotations

import hashlib
import json
import logging
import os
from collections.abc import Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass
from importlib.metadata import version
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
import numpy.typing as npt
import pandas as pd

from dawnchorus.audio.content_digest import content_digest
from dawnchorus.config import FoldSettings
from dawnchorus.engines import Engine, EngineName, open_engine
from dawnchorus.engines.calibrations import head_digest
from dawnchorus.engines.graphs import named_model
from dawnchorus.engines.probe_engine import is_probe, read_head
from dawnchorus.errors import ConfigError, DataError, DawnchorusError, ModelError
from dawnchorus.evaluate.out_of_fold import OutOfFold, scored
from dawnchorus.files import (
    FAILURES_NAME,
    Failure,
    from_legible,
    read_failures,
    refuse_existing,
    replacing,
    write_failures,
)
from dawnchorus.folds.assignment import FoldAssignment, assign_folds, save_folds
from dawnchorus.folds.groups import group_columns
from dawnchorus.formats.taxonomy import SpeciesIndex
from dawnchorus.formats.whole_tables import write_csv, write_parquet
from dawnchorus.metrics import per_class_table
from dawnchorus.models.probe_head import HEAD_NAME, PROBE_NAME, Embedder, HeadKind, ProbeCard
from dawnchorus.models.score_calibration import SCORE_CALIBRATION_NAME, ScoreCalibration
from dawnchorus.pipelines.labelled_embeddings import LabelledEmbeddings, fold_by_fold
from dawnchorus.pipelines.probe_heads import FittedHead, fit_head
from dawnchorus.pipelines.run_score_calibration import fit_result_scores, summary_of
from dawnchorus.recordings.labels import LabelMap, read_labels
from dawnchorus.recordings.recordings_table import (
    DatasetRoot,
    digest_of_labels,
    label_map_of,
    load_recordings,
)
from dawnchorus.wording import counted

if TYPE_CHECKING:
    from dawnchorus.predict.model import Model

logger = logging.getLogger(__name__)

FOLDS = FoldSettings(fewer_if_needed=True)
"""Folds of a probe where none are given: five, or fewer where there are too few groups."""


@dataclass(frozen=True)
class Probe:
    """A probe in its folder.

    Attributes
    ----------
    path
        The folder, which :func:`dawnchorus.load_model` opens.
    card
        Its card, with the out-of-fold scores.
    calibration
        Of its scores; None where there can be none, so that they stay raw.

    Examples
    --------
    >>> import dawnchorus as dc
    >>> made = dc.probe("model", "recordings", out="owls", n_folds=2)
    >>> made.card.labels, made.model().is_calibrated
    (('owl', 'wren'), True)
    """

    path: Path
    card: ProbeCard
    calibration: ScoreCalibration | None

    @property
    def left_out(self) -> list[str]:
        """Reasons why recordings were left out, a sentence each."""
        return [failure.reason for failure in read_failures(self.path)]

    @property
    def summary(self) -> str:
        """Its score and calibration, in a sentence."""
        scores = ", ".join(f"{name} {value:.3f}" for name, value in self.card.score.items())
        score = f"out of fold: {scores}" if scores else "no out-of-fold score"
        return (
            f"{score}; {summary_of(self.calibration)}" if self.calibration else f"{score}; its scores are raw"
        )

    def model(self, *, n_threads: int | None = None, calibrated: bool = True) -> Model:
        """Return the model, ready to predict; the options are those of :func:`dawnchorus.load_model`."""
        from dawnchorus.predict.model import load_model

        return load_model(self.path, n_threads=n_threads, calibrated=calibrated)


def probe(
    embedder: str | Path,
    recordings: DatasetRoot | Sequence[DatasetRoot],
    *,
    out: str | Path,
    head: HeadKind = "linear",
    labels: str | Path | Sequence[str] | None = None,
    audio_dir: str | Path | None = None,
    n_folds: int | None = None,
    folds: FoldSettings = FOLDS,
    engine: EngineName | None = None,
    cache: str | Path | None = None,
    n_threads: int | None = None,
    seed: int = 42,
    force: bool = False,
) -> Probe:
    """Return a probe: a head on frozen embeddings, fitted to recordings in seconds and saved as a model.

    Each recording is embedded once; embeddings are kept in the user's cache folder, so that a killed call
    goes on, and another head takes seconds. Folds keep recordists together, as those of
    :func:`dawnchorus.train`. Each fold is predicted by a head that was fitted to the others, which gives the
    score and the calibration; what is chosen for a head is chosen inside its training folds. The head that
    is saved is fitted to all recordings.

    Parameters
    ----------
    embedder
        What :func:`dawnchorus.load_model` opens and gives embeddings: ``"imagenet"``, ``"birdnet"``, a run,
        an export, or an ``.onnx`` file with a card beside it.
    recordings
        As for :func:`dawnchorus.load_recordings`.
    out
        Folder of the probe.
    head
        ``linear``, ``prototype`` or ``attention``, as for :func:`dawnchorus.pipelines.probe_heads.fit_head`.
    labels
        The classes and their order, as a list or a file; those of the recordings if not given.
    audio_dir
        Folder that the file names of a table are relative to.
    n_folds
        Number of folds instead of that of ``folds``.
    folds
        Settings of the folds.
    engine
        Engine of the embedder; that of the file, or the fastest of a run, if not given.
    cache
        Folder that embeddings are kept in.
    n_threads
        Threads of the embedder; all cores if not given.
    seed
        Of the folds and of the attention head.
    force
        Whether a probe of other recordings or settings in ``out`` is replaced.

    Raises
    ------
    ModelError
        The embedder cannot be opened, gives no embeddings, or is a probe.
    DataError
        The recordings cannot be read, or hold fewer than two species.
    OverwriteError
        ``out`` holds something else.
    ConfigError
        The head is not known.

    Examples
    --------
    >>> import dawnchorus as dc
    >>> made = dc.probe("model", "recordings", out="owls", n_folds=2)
    >>> made.card.embedder.name, made.card.score["macro ROC-AUC"] > 0.5
    ('tiny', True)
    >>> dc.load_model("owls").predict("night.wav").to_frame().shape  # three windows, two classes
    (3, 2)
    """
    if head not in ("linear", "prototype", "attention"):
        raise ConfigError(f"head is {head!r}; legal: linear, prototype, attention")
    out = Path(out)
    if is_probe(Path(embedder)):
        raise ModelError(f"{embedder} is a probe; give the embedder that it stands on")
    opened = open_engine(embedder, engine, n_threads=n_threads)
    given = Path(labels) if isinstance(labels, str) else labels
    classes = None if given is None else read_labels(given)
    loaded = load_recordings(recordings, labels=classes, audio_dir=audio_dir)
    faults = [Failure(Path(fault.filename), fault.what) for fault in loaded.faults]
    table = loaded.table
    wanted = LabelMap(classes.labels) if classes is not None else label_map_of(table)
    folds = folds if n_folds is None else folds.model_copy(update={"n_folds": n_folds})
    asked = {"head": head, "seed": seed, "folds": folds.model_dump_json()}
    digest = _digest_of(table, folds)
    same = None if force else _same_probe(out, opened, wanted, asked)
    lacks_some = same is not None and bool(same.left_out)  # which may have been mended since
    if same is not None and not lacks_some and same.card.recordings == digest:
        logger.info("%s holds this probe already.", out)
        return same
    refuse_existing(out, force=force or lacks_some)
    found = LabelledEmbeddings.of(opened, table, wanted, cache=None if cache is None else Path(cache))
    assignment = assign_folds(found.table, folds, seed=seed)
    for note in assignment.notes:
        logger.info("%s", note)
    found = found.grouped(assignment.groups)
    fitted = fit_head(head, found.examples, seed=seed)
    scores = _out_of_fold(found, assignment, head, seed)
    card = ProbeCard(
        name=out.name,
        labels=wanted.labels,
        species=_species_of(wanted, opened),
        embedder=_facts(opened, embedder, out, n_features=found.windows[0].features.shape[1]),
        head=head,
        activation=fitted.head.activation,
        unit_length=fitted.head.unit_length,
        settings={**asked, **fitted.settings},
        score={} if scores is None else _scores_of(scores),
        recordings=digest,
        n_recordings=len(found.table),
        versions={"dawnchorus": version("dawnchorus"), "numpy": np.__version__},
    )
    _write(out, card, fitted, found, assignment, scores, [*faults, *found.failures])
    return open_probe(out)


def open_probe(path: str | Path) -> Probe:
    """Return the probe in a folder.

    Raises
    ------
    ModelError
        There is none, or it is damaged.

    Examples
    --------
    >>> open_probe("owls")
    Traceback (most recent call last):
        ...
    dawnchorus.errors.ModelError: owls/probe.json does not exist; fit it again with dawnchorus probe
    """
    folder = Path(path)
    file = folder / SCORE_CALIBRATION_NAME
    return Probe(folder, ProbeCard.read(folder), ScoreCalibration.read(file) if file.is_file() else None)


def _same_probe(out: Path, engine: Engine, labels: LabelMap, asked: Mapping[str, object]) -> Probe | None:
    """Return the probe in ``out`` where it is whole and of the settings that are asked for."""
    if not is_probe(out):
        return None
    try:
        there = open_probe(out)
        read_head(out, there.card)
    except ModelError:
        return None
    is_same = (
        there.card.embedder.fingerprint == engine.fingerprint
        and there.card.labels == labels.labels
        and {key: there.card.settings.get(key) for key in asked} == asked
    )
    return there if is_same else None


def _digest_of(table: pd.DataFrame, folds: FoldSettings) -> str:
    """Return a digest of the labels, the groups and the files of recordings."""
    columns = group_columns(table, folds.group_column)
    digest = hashlib.sha256(digest_of_labels(table).encode())
    for row in table.sort_values("filename").to_dict("records"):
        files = (Path(from_legible(row[name])) for name in ("audio_path", "stored_path"))
        content = next((content_digest(file) for file in files if file.is_file()), "")
        digest.update(repr((*(str(row[name]) for name in columns), content)).encode())
    return digest.hexdigest()


def _species_of(labels: LabelMap, embedder: Engine) -> dict[str, dict[str, str]]:
    """Return the names that an embedder knows of the labels, however these spell its species."""
    theirs = embedder.card.species
    index = SpeciesIndex(theirs, theirs)
    found = {label: index.labels_of(label) for label in labels.labels}
    return {label: theirs[same[0]] for label, same in found.items() if len(same) == 1}


def _facts(engine: Engine, given: str | Path, out: Path, *, n_features: int) -> Embedder:
    """Return the embedder of a card; of a run, what was opened of it: its checkpoints or an export."""
    is_checkpoints = type(engine).__name__ == "TorchEngine"
    path = Path(given)
    if named_model(path) is None:
        opened = engine.folder if path.is_dir() or path.suffix == ".py" else path
        assert opened is not None
        path = opened.absolute()
        with suppress(ValueError):  # on another drive of Windows
            path = Path(os.path.relpath(path, out.absolute()))
    return Embedder(
        path=path.as_posix(),
        engine="torch" if is_checkpoints else None,
        name=engine.card.exp_name,
        licence=engine.card.licence,
        fingerprint=engine.fingerprint,
        n_features=n_features,
    )


def _out_of_fold(
    found: LabelledEmbeddings, assignment: FoldAssignment, head: HeadKind, seed: int
) -> OutOfFold | None:
    """Return the scores of each recording by the head of the other folds; None where there can be none."""
    validated = assignment.validated
    if not validated.any():
        logger.info("No recording is held out, so that there is no score, and scores stay raw.")
        return None
    scores = fold_by_fold(found, assignment.folds, validated, head, seed)
    table = found.table[["filename", "primary_label"]].assign(fold=assignment.folds)
    output = pd.DataFrame(scores, columns=list(found.labels.labels))
    rows = pd.concat([table, output], axis=1)[validated].reset_index(drop=True)
    try:
        return scored(
            rows,
            found.targets[validated],
            found.table.assign(fold=assignment.folds),
            found.labels,
            ("macro_roc_auc", "cmap"),
        )
    except DataError as error:
        logger.warning("There is no score, and scores stay raw: %s", error)
        return None


def _scores_of(result: OutOfFold) -> dict[str, float]:
    columns = [result.predictions.columns.get_loc(label) for label in result.scored_labels]
    right = [
        result.predictions.iloc[row, columns].to_numpy(float).argmax() in np.flatnonzero(target)
        for row, target in enumerate(_scored_targets(result))
        if target.any()
    ]
    mean = result.mean_of_folds
    scores = {"macro ROC-AUC": result.macro_roc_auc, "mean of folds": mean, "cmAP": result.scores.get("cmap")}
    scores["top-1"] = float(np.mean(right)) if right else None
    return {name: float(value) for name, value in scores.items() if value is not None and np.isfinite(value)}


def _scored_targets(result: OutOfFold) -> npt.NDArray[np.bool_]:
    labels = [str(label) for label in result.predictions.columns[-result.targets.shape[1] :]]
    return result.targets[:, [labels.index(label) for label in result.scored_labels]] > 0.5


def _write(
    out: Path,
    card: ProbeCard,
    fitted: FittedHead,
    found: LabelledEmbeddings,
    assignment: FoldAssignment,
    scores: OutOfFold | None,
    failures: Sequence[Failure],
) -> None:
    """Write the folder of a probe, whole or not at all."""
    with replacing(out) as folder:
        folder.mkdir()
        fitted.head.save(folder / HEAD_NAME)
        save_folds(folder / "folds.csv", found.table, assignment)
        write_failures(folder, failures)
        if scores is not None:
            write_parquet(folder / "oof_predictions.parquet", scores.predictions)
            output = scores.predictions[list(scores.scored_labels)].to_numpy()
            lines = per_class_table(_scored_targets(scores), output, scores.scored_labels)
            write_csv(folder / "oof_scores.csv", pd.DataFrame(list(lines)))
            parts = scores.predictions["fold"].to_numpy()
            try:
                fit = fit_result_scores(scores, card.labels, parts, weights={HEAD_NAME: head_digest(folder)})
                (folder / SCORE_CALIBRATION_NAME).write_text(fit.calibration.to_json(), encoding="utf-8")
            except DawnchorusError as error:
                logger.warning("The scores of %s stay raw: %s", out, error)
        text = json.dumps(card.model_dump(), indent=2, ensure_ascii=False)
        (folder / PROBE_NAME).write_text(text + "\n", encoding="utf-8")
    if failures:
        n = counted(len(failures), "recording")
        logger.warning("%s left out; %s says why.", n, out / FAILURES_NAME)
