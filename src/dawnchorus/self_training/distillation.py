"""One student trained on what an ensemble predicts of recordings and of unlabelled soundscapes."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any, NamedTuple

from dawnchorus.config import DataSettings, TrainConfig
from dawnchorus.engines import open_engine
from dawnchorus.engines.ensembles import Ensemble, WeightedModel
from dawnchorus.export.parity import Parity
from dawnchorus.files import Failure, write_text
from dawnchorus.files.shards import alone_in
from dawnchorus.pipelines.experiment import Experiment, TrainedRun, train, whole_config
from dawnchorus.pipelines.run_pseudo_labels import pseudo_label
from dawnchorus.predict.recording_files import RecordingFile, RecordingFiles, find_recordings
from dawnchorus.pseudo_labels.pseudo_label_settings import LabellingSettings
from dawnchorus.recordings.recordings_table import load_recordings
from dawnchorus.runs import Run
from dawnchorus.self_training.leaks import check_no_leak
from dawnchorus.self_training.round_plan import PSEUDO, settings_of
from dawnchorus.self_training.round_scores import LabelledSoundscapes

OWN, SOUNDSCAPES = "recordings.parquet", "soundscapes.parquet"
"""What the teachers say: of a labelled recording the fold that was not trained on it, of a soundscape all."""

SHARPENED = {"alpha": 0.7, "sharpened": True}
"""How the teachers' word is mixed with the labels where the student's config says nothing."""


class Distilled(NamedTuple):
    """A student, and how it compares with its teachers.

    Attributes
    ----------
    run
        Its run, with exports.
    parities
        How far each export is from PyTorch.
    folder
        What the teachers predicted.
    failures
        Recordings and soundscapes that could not be read.
    student_score, teacher_score
        Macro ROC-AUC on labelled soundscapes, where there are some.

    Examples
    --------
    >>> from pathlib import Path
    >>> from dawnchorus import open_run
    >>> Distilled(open_run("logdirs/tiny"), [], Path("teachers"), []).student_score is None
    True
    """

    run: TrainedRun
    parities: list[Parity]
    folder: Path
    failures: list[Failure]
    student_score: float | None = None
    teacher_score: float | None = None


def distill(
    teachers: Run,
    student: Experiment,
    *,
    soundscapes: str | Path | None = None,
    labelled: str | Path | None = None,
    int8: bool = False,
    changes: Mapping[str, Any] | None = None,
) -> Distilled:
    """Return one student of a run's folds, trained, exported and compared; a call that was killed goes on.

    The student is trained on the recordings of the run, in its folds, of which fold 0 validates it unless
    its config names others in ``folds.trained``. Targets are the labels, mixed with what the fold that was
    not trained on a recording says of it, and on soundscapes what all folds say. Its card names the teachers.

    Parameters
    ----------
    teachers
        A run with two finished folds or more.
    student
        Its config: any backbone, front-end and length of clips. Without ``nn_model_config.backbone`` it has
        the teachers' network and front-end. Recordings, classes and folds are those of the run.
    soundscapes
        Folder of unlabelled soundscapes; without it, recordings alone.
    labelled
        Folder of labelled soundscapes, to compare the two on.
    int8
        Whether an export in 8 bits is written too.
    changes
        Keys of the config with other values, as in :func:`dawnchorus.train`.

    Raises
    ------
    DataError
        The soundscapes hold what a model is scored on, or there is nothing to train on.
    RunError
        Too few folds are finished, or the student's folder holds another run.
    MissingExtraError
        8 bits are wanted and nncf is not installed.

    Examples
    --------
    >>> from pathlib import Path
    >>> from dawnchorus import open_run
    >>> made = distill(open_run("logdirs/tiny"), "train.py", changes={"exp_name": "student"})
    >>> made.run.finished_folds(), made.run.card().teachers
    ([0], ('tiny, folds 0, 1',))
    >>> [parity.engine for parity in made.parities]
    ['ONNX', 'OpenVINO fp16']
    """
    config = student_config(teachers, whole_config(student, changes))
    folder = config.logdir / f"{config.exp_name}_teachers"
    recordings = load_recordings(config.data).table
    unlabelled = None if soundscapes is None else find_recordings([str(soundscapes)])
    scored = None if labelled is None else LabelledSoundscapes(labelled)
    check_no_leak(
        recordings, unlabelled or RecordingFiles(folder, []), None if scored is None else scored.found
    )
    if scored is not None:
        scored.check_known(teachers.card().labels)
    folder.mkdir(parents=True, exist_ok=True)
    ensemble = Ensemble([WeightedModel(teachers.path, config=teachers.experiment)], engine="torch")
    row_s = teachers.card().segment_len
    with alone_in(folder, lock=folder / "lock"):
        failures = _labelled(ensemble, _files_of(config.data), folder / OWN, out_of_fold=True)
        dataset: dict[str, Any] = {
            "out_of_fold_targets": {**SHARPENED, "table": str((folder / OWN).absolute())}
        }
        dataset["out_of_fold_targets"] |= {"row_s": row_s, "min_prob": 0.0}
        if unlabelled is not None:
            failures += _labelled(ensemble, unlabelled, folder / SOUNDSCAPES, out_of_fold=False)
            dataset[PSEUDO] = _pseudo_settings(config, folder / SOUNDSCAPES, unlabelled.root, row_s)
        run = train(with_dataset(config, dataset))
        _name_teachers(run, teachers)
        parities = run.export(int8=int8)
        scores: tuple[float | None, float | None] = (None, None)
        if scored is not None:
            engines = (
                open_engine(run.path, "torch", config=run.experiment),
                open_engine(teachers.path, "torch", config=teachers.experiment),
            )
            first, second = (
                scored.macro_roc_auc(engine, folder / name)
                for engine, name in zip(engines, ("student", "teachers"), strict=True)
            )
            scores = first, second
    return Distilled(run, parities, folder, failures, *scores)


def student_config(teachers: Run, student: TrainConfig) -> TrainConfig:
    """Return a student's config with the recordings, classes and folds of its teachers.

    Examples
    --------
    >>> from dawnchorus import open_run
    >>> from dawnchorus.config import load_train_config
    >>> config = student_config(open_run("logdirs/tiny"), load_train_config("train.py"))
    >>> config.labels, config.folds.trained
    (('owl', 'wren'), (0,))
    """
    theirs = teachers.config()
    folds = theirs.folds.model_copy(update={"trained": student.folds.trained or (0,)})
    model = dict(student.nn_model_config)
    update: dict[str, Any] = {
        "data": tuple(root.absolute() for root in theirs.data),
        "labels": teachers.card().labels,
        "folds": folds,
        "seed": theirs.seed,
    }
    if "backbone" not in model:
        update["nn_model_class"] = theirs.nn_model_class
        update["nn_model_config"] = {**theirs.nn_model_config, **model}
    return student.model_copy(update=update)


def with_dataset(config: TrainConfig, values: Mapping[str, Any]) -> TrainConfig:
    """Return a config whose ``train_dataset_config`` has further values; own ones of the config stay on top.

    Examples
    --------
    >>> from dawnchorus.config import load_train_config
    >>> config = with_dataset(load_train_config("train.py"), {"label_smoothing": 0.1})
    >>> config.train_function_args.train_dataset_config
    {'label_smoothing': 0.1, 'segment_len': 1.0}
    """
    args = config.train_function_args
    given = {key: value for key, value in args.train_dataset_config.items() if key != PSEUDO}
    own = given.get("out_of_fold_targets")
    if own and "out_of_fold_targets" in values:
        given["out_of_fold_targets"] = {**values["out_of_fold_targets"], **own}
    args = args.model_copy(update={"train_dataset_config": {**values, **given}})
    return config.model_copy(update={"train_function_args": args})


def _pseudo_settings(config: TrainConfig, table: Path, root: Path, row_s: float) -> dict[str, Any]:
    """Return the settings of training on the soundscapes: those of the config, with the teachers' table."""
    chosen = settings_of(config)
    given = {
        name: getattr(chosen, name) for name in chosen.model_fields_set if name not in ("powers", "row_s")
    }
    place = {"table": str(table.absolute()), "audio_dir": str(root.absolute())}
    return {**given, "tables": [place], "row_s": row_s, "out_of_fold": False}


def _files_of(roots: tuple[DataSettings, ...]) -> RecordingFiles:
    """Return the recordings of all dataset roots."""
    found = [find_recordings([str(root.audio_dir)]) for root in roots]
    if len(found) == 1:
        return found[0]
    together = [RecordingFile(one.path, str(one.path)) for each in found for one in each.recordings]
    return RecordingFiles(Path("/"), together)


def _labelled(ensemble: Ensemble, found: RecordingFiles, table: Path, *, out_of_fold: bool) -> list[Failure]:
    """Write the table of what the teachers say; return what could not be read."""
    work = table.with_name(f"{table.stem}_work")
    made = pseudo_label(ensemble, found, work, LabellingSettings(table), out_of_fold=out_of_fold)
    return list(made.made.failures)


def _name_teachers(run: TrainedRun, teachers: Run) -> None:
    """Add the teachers to the student's card, which exports take over."""
    from dataclasses import replace

    folds = ", ".join(map(str, teachers.finished_folds()))
    named = replace(run.card(), teachers=(f"{teachers.card().exp_name}, folds {folds}",))
    if named != run.card():
        write_text(run.card_file, named.to_json())
