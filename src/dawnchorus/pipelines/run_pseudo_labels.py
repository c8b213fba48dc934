"""A table of pseudo-labels from runs and soundscapes, and a page on its contents."""

from __future__ import annotations

import logging
from collections.abc import Iterator, Mapping, Sequence
from contextlib import nullcontext
from dataclasses import replace
from pathlib import Path
from typing import NamedTuple

from dawnchorus.batch.cluster_predictions import ClusterPrediction
from dawnchorus.batch.journaled import JournaledInference
from dawnchorus.batch.shard_predictions import ShardPredictions
from dawnchorus.cluster.workers import Cluster
from dawnchorus.engines.ensembles import Ensemble
from dawnchorus.errors import RunError
from dawnchorus.evaluate.validated_recordings import folds_of_files
from dawnchorus.files import Failure
from dawnchorus.files.shards import Shard
from dawnchorus.models.card import ModelCard
from dawnchorus.predict.postprocess import PostprocessSettings
from dawnchorus.predict.recording_files import RecordingFiles
from dawnchorus.pseudo_labels.pseudo_label_settings import LabellingSettings
from dawnchorus.pseudo_labels.pseudo_labelling import (
    LabelledPart,
    Prediction,
    PseudoLabels,
    fold_parts,
    label_parts,
    whole_part,
)
from dawnchorus.pseudo_labels.shard_labels import JoinedLabels, join_labels, label_shard
from dawnchorus.pseudo_labels.soundscape_files import soundscapes_by_name
from dawnchorus.recordings.dataset_root import real_path
from dawnchorus.report.pseudo_label_page import write_pseudo_label_page
from dawnchorus.report.pseudo_label_survey import Survey

logger = logging.getLogger(__name__)


class PseudoLabelled(NamedTuple):
    """The table, a survey of it, its page, the card, and the soundscapes and whether they are labelled.

    Examples
    --------
    >>> from pathlib import Path
    >>> from dawnchorus.engines.ensembles import Ensemble, WeightedModel
    >>> from dawnchorus.predict.recording_files import find_recordings
    >>> from dawnchorus.pseudo_labels.pseudo_label_settings import LabellingSettings
    >>> ensemble = Ensemble([WeightedModel(Path("model"))], n_threads=1)
    >>> settings = LabellingSettings(Path("round_1.parquet"))
    >>> made = pseudo_label(ensemble, find_recordings(["night.wav"]), Path("out"), settings)
    >>> made.survey.n_rows, made.card.labels
    (2, ('wren', 'robin', 'owl'))
    """

    made: PseudoLabels
    survey: Survey
    page: Path
    card: ModelCard
    found: RecordingFiles
    is_labelled: bool = False
    out_of_fold: bool = False


def pseudo_label(
    ensemble: Ensemble,
    found: RecordingFiles,
    out_dir: Path,
    settings: LabellingSettings,
    *,
    out_of_fold: bool = False,
    force: bool = False,
    cluster: Cluster | None = None,
) -> PseudoLabelled:
    """Write a table of pseudo-labels and a page on it, and return both with counts.

    Parameters
    ----------
    ensemble
        The models.
    found
        The soundscapes.
    out_dir
        Folder for the journal and the list of failures.
    settings
        Table, threshold of rows and postprocessing. The page lies beside the table, with the suffix
        ``.html``.
    out_of_fold
        Whether each soundscape is predicted by one fold alone. A labelled recording of the run is predicted
        by the fold that was not trained on it.
    force
        Whether a table made with other settings is replaced.
    cluster
        A cluster whose workers predict.

    Raises
    ------
    RunError
        As for :func:`dawnchorus.pseudo_labels.pseudo_labelling.make_pseudo_labels`, or the models have no
        common folds.
    DataError
        As there.

    Examples
    --------
    >>> from pathlib import Path
    >>> from dawnchorus.engines.ensembles import Ensemble, WeightedModel
    >>> from dawnchorus.predict.recording_files import find_recordings
    >>> from dawnchorus.pseudo_labels.pseudo_label_settings import LabellingSettings
    >>> ensemble = Ensemble([WeightedModel(Path("model"))], n_threads=1)
    >>> settings = LabellingSettings(Path("round_1.parquet"))
    >>> made = pseudo_label(ensemble, find_recordings(["night.wav"]), Path("out"), settings)
    >>> made.page.name, made.made.n_rows
    ('round_1.html', 2)
    """
    chosen = _parts_of(ensemble, found, out_of_fold=out_of_fold)
    prediction = None if cluster is None else _on_cluster(ensemble, chosen.found, out_dir, cluster)
    with nullcontext() if cluster is None else cluster.connected():
        made = label_parts(chosen.parts, chosen.found, out_dir, settings, prediction=prediction, force=force)
    facts = {"models": _models_text(ensemble), "out_of_fold": out_of_fold, "is_labelled": chosen.is_labelled}
    return _with_page(JoinedLabels(made, chosen.found, chosen.card, settings, facts))


def _on_cluster(ensemble: Ensemble, found: RecordingFiles, out_dir: Path, cluster: Cluster) -> Prediction:
    """Return what predicts the soundscapes of a part by the workers of a cluster."""

    def predict(work: JournaledInference, part: LabelledPart) -> tuple[int, list[Failure]]:
        own = ensemble if part.fold is None else replace(ensemble, engine="torch", folds=[part.fold])
        prediction = ClusterPrediction(own, cluster, out_dir / part.folder)
        return prediction(work, RecordingFiles(found.root, part.recordings))

    return predict


def pseudo_label_shard(
    ensemble: Ensemble,
    found: RecordingFiles,
    out_dir: Path,
    settings: LabellingSettings,
    shard: Shard,
    *,
    out_of_fold: bool = False,
    force: bool = False,
) -> ShardPredictions:
    """Predict one shard of soundscapes, beside the others on any machines, and return counts.

    Parameters
    ----------
    ensemble, found, out_dir, settings, out_of_fold, force
        As for :func:`pseudo_label`, with its errors.
    shard
        The shard.

    Examples
    --------
    >>> from pathlib import Path
    >>> from dawnchorus.engines.ensembles import Ensemble, WeightedModel
    >>> from dawnchorus.files.shards import Shard
    >>> from dawnchorus.predict.recording_files import find_recordings
    >>> from dawnchorus.pseudo_labels.pseudo_label_settings import LabellingSettings
    >>> ensemble = Ensemble([WeightedModel(Path("model"))], n_threads=1)
    >>> settings, found = LabellingSettings(Path("round_1.parquet")), find_recordings(["night.wav"])
    >>> pseudo_label_shard(ensemble, found, Path("out"), settings, Shard(1, 1)).n_new
    1
    >>> join_pseudo_labels(Path("out"), Path("round_1.parquet")).made.n_rows
    2
    """
    chosen = _parts_of(ensemble, found, out_of_fold=out_of_fold)
    facts = {"models": _models_text(ensemble), "out_of_fold": out_of_fold, "is_labelled": chosen.is_labelled}
    return label_shard(chosen.parts, chosen.found, out_dir, settings, shard, facts=facts, force=force)


def join_pseudo_labels(out_dir: Path, table: Path, *, force: bool = False) -> PseudoLabelled:
    """Write the table of all shards and its page, as :func:`pseudo_label` would, and return both with counts.

    Parameters
    ----------
    out_dir, table, force
        As for :func:`dawnchorus.pseudo_labels.shard_labels.join_labels`, with its errors.

    Examples
    --------
    >>> from pathlib import Path
    >>> Path("out").mkdir()
    >>> join_pseudo_labels(Path("out"), Path("round_1.parquet"))
    Traceback (most recent call last):
        ...
    dawnchorus.errors.RunError: out holds no shards that have ended; name the output of a command with --shard
    """
    return _with_page(join_labels(out_dir, table, force=force))


class _Chosen(NamedTuple):
    parts: list[LabelledPart]
    found: RecordingFiles
    card: ModelCard
    is_labelled: bool


def _parts_of(ensemble: Ensemble, found: RecordingFiles, *, out_of_fold: bool) -> _Chosen:
    """Return the parts, their soundscapes, the card, and whether the runs have those as labelled ones."""
    if not out_of_fold:
        engine = ensemble.open()
        return _Chosen([whole_part(engine, found)], found, engine.card, is_labelled=False)
    folds = ensemble.common_folds()
    fold_of = _folds_of_labelled(ensemble, found)
    if fold_of:
        found = _known_recordings(found, fold_of, folds)
    parts = fold_parts(ensemble.open_fold, folds, found, fold_of=fold_of)
    return _Chosen(parts, found, ensemble.card_of_runs(), is_labelled=bool(fold_of))


def _with_page(labels: JoinedLabels) -> PseudoLabelled:
    """Write the page on a table."""
    page = labels.settings.table.with_suffix(".html")
    survey = write_pseudo_label_page(
        page,
        labels.made.table,
        soundscapes_by_name(labels.found.recordings),
        labels.card,
        facts=_facts(labels),
    )
    return PseudoLabelled(
        labels.made,
        survey,
        page,
        labels.card,
        labels.found,
        is_labelled=labels.facts["is_labelled"],
        out_of_fold=labels.facts["out_of_fold"],
    )


def _folds_of_labelled(ensemble: Ensemble, found: RecordingFiles) -> dict[Path, int]:
    """Return the fold of each recording that the runs have as a labelled one, by its path here.

    Raises
    ------
    RunError
        The runs have different folds of a recording.
    """
    real_paths = {recording.path: real_path(recording.path) for recording in found.recordings}
    fold_of: dict[Path, int] = {}
    for model in ensemble.models:
        folds = folds_of_files(model.open_run())
        for path, real in real_paths.items():
            if real in folds and fold_of.setdefault(path, folds[real]) != folds[real]:
                raise RunError(
                    f"{path} is in fold {fold_of[path]} of one run and in fold {folds[real]} of "
                    f"{model.path}; label it with runs of the same folds"
                )
    return fold_of


def _known_recordings(
    found: RecordingFiles, fold_of: Mapping[Path, int], folds: Sequence[int]
) -> RecordingFiles:
    """Return the recordings that one of the folds was not trained on; warn of the others."""
    known = [recording for recording in found.recordings if fold_of.get(recording.path) in folds]
    n_others = len(found.recordings) - len(known)
    if n_others:
        logger.warning(
            f"{n_others} of {len(found.recordings)} recordings are left out: the run has them always in "
            "training, or does not have them; soundscapes are labelled by a call of their own"
        )
    return RecordingFiles(found.root, known)


def _models_text(ensemble: Ensemble) -> str:
    several = len(ensemble.models) > 1
    return ", ".join(
        f"{model.path} (weight {model.weight:g})" if several else str(model.path) for model in ensemble.models
    )


def _facts(labels: JoinedLabels) -> Mapping[str, str]:
    made, settings, out_of_fold = labels.made, labels.settings, labels.facts["out_of_fold"]
    return {
        "models": labels.facts["models"],
        "predicted by": "one fold each, which the column fold names" if out_of_fold else "all folds",
        "probabilities": ", ".join(_afterwards(settings.postprocess)) or "as the model gave them",
        "soundscapes": f"{made.n_soundscapes:,}",
        "soundscapes that could not be read": f"{len(made.failures):,}",
        "ends of soundscapes too short for a row": f"{made.n_short:,}",
        "rows left out": f"those below {settings.min_prob:g}" if settings.min_prob > 0 else "none",
    }


def _afterwards(done: PostprocessSettings) -> Iterator[str]:
    """Yield the postprocessing steps, in words."""
    if done.shift_s is not None:
        yield f"averaged with the windows {done.shift_s:g} s beside"
    if done.smoothing is not None:
        yield "smoothed over neighbouring windows"
    if done.scale_exponent is not None:
        yield f"scaled by the recording's maximum to the power of {done.scale_exponent:g}"
