"""A table of pseudo-labels from runs and soundscapes, and a page on its contents."""

from __future__ import annotations

import logging
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import NamedTuple

from dawnchorus.engines.ensembles import Ensemble
from dawnchorus.errors import RunError
from dawnchorus.evaluate.validated_recordings import folds_of_files
from dawnchorus.models.card import ModelCard
from dawnchorus.predict.postprocess import PostprocessSettings
from dawnchorus.predict.recording_files import RecordingFiles
from dawnchorus.pseudo_labels.pseudo_label_settings import LabellingSettings
from dawnchorus.pseudo_labels.pseudo_labelling import (
    PseudoLabels,
    make_out_of_fold_pseudo_labels,
    make_pseudo_labels,
)
from dawnchorus.pseudo_labels.soundscape_files import soundscapes_by_name
from dawnchorus.recordings.dataset_root import real_path
from dawnchorus.report.pseudo_label_page import write_pseudo_label_page
from dawnchorus.report.pseudo_label_survey import Survey

logger = logging.getLogger(__name__)


class PseudoLabelled(NamedTuple):
    """The table, a survey of it, the page that shows it, the card, and whether recordings are labelled.

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
    is_labelled: bool = False


def pseudo_label(
    ensemble: Ensemble,
    found: RecordingFiles,
    out_dir: Path,
    settings: LabellingSettings,
    *,
    out_of_fold: bool = False,
    force: bool = False,
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
    fold_of: dict[Path, int] = {}
    if out_of_fold:
        folds = ensemble.common_folds()
        card = ensemble.card_of_runs()
        fold_of = _folds_of_labelled(ensemble, found)
        if fold_of:
            found = _known_recordings(found, fold_of, folds)
        made = make_out_of_fold_pseudo_labels(
            ensemble.open_fold, folds, found, out_dir, settings, fold_of=fold_of, force=force
        )
    else:
        engine = ensemble.open()
        card = engine.card
        made = make_pseudo_labels(engine, found, out_dir, settings, force=force)
    page = settings.table.with_suffix(".html")
    survey = write_pseudo_label_page(
        page,
        made.table,
        soundscapes_by_name(found.recordings),
        card,
        facts=_facts(ensemble, made, settings, out_of_fold=out_of_fold),
    )
    return PseudoLabelled(made, survey, page, card, is_labelled=bool(fold_of))


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


def _facts(
    ensemble: Ensemble, made: PseudoLabels, settings: LabellingSettings, *, out_of_fold: bool
) -> Mapping[str, str]:
    several = len(ensemble.models) > 1
    models = [
        f"{model.path} (weight {model.weight:g})" if several else str(model.path) for model in ensemble.models
    ]
    return {
        "models": ", ".join(models),
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
