"""The plan of rounds of self-training: their runs, tables and configs, checked before anything is trained.

::

    logdirs/
    ├── {exp_name}_round_0/       the run without pseudo-labels; round.json in each names its parent,
    ├── {exp_name}_round_1/       its table and the soundscapes
    └── {exp_name}_rounds/
        ├── job.json              what all rounds have in common
        ├── round_1.parquet       pseudo-labels by the best round before, and a page on them, round_1.html
        ├── round_1_work/         what the models said, so that a killed labelling goes on
        ├── scores/               the same of scoring
        ├── rounds.csv, .html     the rounds side by side
        └── failures.csv          soundscapes that could not be read
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

from dawnchorus.audio.source import STORE_SUFFIXES
from dawnchorus.config import Record, TrainConfig, read_json, validate
from dawnchorus.datasets.self_training_settings import (
    PseudoTableSettings,
    SelfTrainingSettings,
)
from dawnchorus.errors import ConfigError, DataError, RunError
from dawnchorus.files import write_text
from dawnchorus.folds.assignment import assign_folds
from dawnchorus.formats.whole_tables import read_whole_table
from dawnchorus.predict.recording_files import RecordingFiles, find_recordings
from dawnchorus.pseudo_labels.soundscape_files import soundscape_name, soundscapes_by_name
from dawnchorus.recordings.labels import LabelMap, read_labels
from dawnchorus.recordings.recordings_table import label_map_of, load_recordings
from dawnchorus.runs import Run
from dawnchorus.self_training.leaks import check_no_leak
from dawnchorus.self_training.round_scores import LabelledSoundscapes, RoundScore
from dawnchorus.wording import counted

ROUND_NAME, JOB_NAME = "round.json", "job.json"
PSEUDO = "soundscape_pseudo_config"
"""Key of ``train_dataset_config``."""


class Soundscapes(Record):
    """The soundscapes of a job, to know them again.

    Attributes
    ----------
    folder
        Their folder.
    n_soundscapes
        Their number.
    digest
        SHA-256 of their names and sizes.

    Examples
    --------
    >>> from dawnchorus.predict.recording_files import find_recordings
    >>> Soundscapes.of(find_recordings(["night.wav"])).n_soundscapes
    1
    """

    folder: str
    n_soundscapes: int
    digest: str

    @classmethod
    def of(cls, found: RecordingFiles) -> Soundscapes:
        """Return those of a list of recordings."""
        digest = hashlib.sha256()
        for recording in found.recordings:
            line = f"{recording.name}\0{recording.path.stat().st_size}\n"
            digest.update(line.encode("utf-8", "surrogateescape"))
        return cls(
            folder=str(found.root.absolute()), n_soundscapes=len(found.recordings), digest=digest.hexdigest()
        )


class RoundRecord(Record):
    """A round that is trained and scored, as ``round.json`` in its run has it.

    Attributes
    ----------
    number
        From 0, the training without pseudo-labels of its own.
    parent
        Name of the run that labelled its table; None of round 0.
    table
        The table, relative to the folder of the runs; None of round 0.
    exponent
        Power that the probabilities of the table were raised to.
    soundscapes
        The soundscapes that were labelled.
    score
        Its scores.

    Examples
    --------
    >>> from dawnchorus.self_training.round_scores import RoundScore
    >>> score = RoundScore.of(out_of_fold=0.9, agreement=0.7)
    >>> RoundRecord(number=0, score=score).parent is None
    True
    """

    number: int
    parent: str | None = None
    table: str | None = None
    exponent: float | None = None
    soundscapes: Soundscapes | None = None
    score: RoundScore


class _Job(Record):
    """The content of ``job.json``: what makes two calls the same job."""

    soundscapes: Soundscapes
    labelled: Soundscapes | None
    boxes: str | None
    out_of_fold: bool


@dataclass(frozen=True)
class RoundPlan:
    """Rounds that are to be trained.

    Attributes
    ----------
    config
        The experiment, whose ``soundscape_pseudo_config`` may lack its tables.
    soundscapes
        The unlabelled soundscapes.
    labelled
        The labelled ones to score rounds on, or None.
    settings
        Those of training on pseudo-labels.
    n_rounds
        Rounds after round 0, at most.
    patience
        Rounds in a row that do not raise the score, after which no more are trained.

    Examples
    --------
    >>> from dawnchorus.config import load_train_config
    >>> plan = plan_rounds(load_train_config("train.py"), "night.wav", n_rounds=2)
    >>> plan.run_dir(1).as_posix(), plan.table(1).as_posix()
    ('logdirs/tiny_round_1', 'logdirs/tiny_rounds/round_1.parquet')
    >>> plan.state_of(0)
    'to do'
    """

    config: TrainConfig
    soundscapes: RecordingFiles
    labelled: LabelledSoundscapes | None
    settings: SelfTrainingSettings
    n_rounds: int = 4
    patience: int = 1

    @property
    def folder(self) -> Path:
        """Folder of the job, beside the runs."""
        return self.config.logdir / f"{self.config.exp_name}_rounds"

    def table(self, number: int) -> Path:
        """Return the table of pseudo-labels that a round is trained on."""
        return self.folder / f"round_{number}.parquet"

    def work(self, number: int) -> Path:
        """Return the folder of what the models said of the soundscapes, for a round's table."""
        return self.folder / f"round_{number}_work"

    def run_dir(self, number: int) -> Path:
        """Return the folder of a round's run."""
        return self._named(number).run_dir

    def config_of(self, number: int) -> TrainConfig:
        """Return the config of a round: that of the experiment with its table, exponent and epochs."""
        config, settings = self._named(number), self.settings
        args, model = config.train_function_args, dict(config.nn_model_config)
        dataset = {key: value for key, value in args.train_dataset_config.items() if key != PSEUDO}
        given = _pseudo_values(self.config)
        row_s = given.get("row_s", SelfTrainingSettings().row_s)
        tables = [_with_row_s(table, row_s) for table in given.get("tables", ())]
        if (known := given.get("known")) is not None:
            values = _given_in(known)
            given["known"] = {**values, "tables": [_with_row_s(table, row_s) for table in values["tables"]]}
        if number:
            own = PseudoTableSettings(
                table=self.table(number).absolute(), audio_dir=self.soundscapes.root.absolute()
            )
            tables = [{"table": str(own.table), "audio_dir": str(own.audio_dir)}, *tables]
        if tables:
            kept = {key: value for key, value in given.items() if key != "powers"}
            exponent = settings.exponent_of(number) if number else settings.exponent
            dataset[PSEUDO] = {
                **kept,
                "tables": tables,
                "exponent": exponent,
                "out_of_fold": settings.out_of_fold and bool(number),
                "row_s": settings.row_s,
            }
        n_epochs = args.n_epochs
        if number:
            n_epochs = settings.n_epochs or n_epochs
            if settings.drop_path_rate is not None:
                model["drop_path_rate"] = settings.drop_path_rate
        args = args.model_copy(update={"train_dataset_config": dataset, "n_epochs": n_epochs})
        return config.model_copy(update={"train_function_args": args, "nn_model_config": model})

    def record_of(self, number: int) -> RoundRecord | None:
        """Return the record of a round that is done, or None.

        Raises
        ------
        RunError
            It is damaged, or of another config.
        """
        file = self.run_dir(number) / ROUND_NAME
        if not file.is_file():
            return None
        Run.open(file.parent).check_made_from(self.config_of(number))
        return read_json(file, RoundRecord, remedy="delete it, and the round is scored again")

    def state_of(self, number: int) -> Literal["done", "begun", "to do"]:
        """Return what there is of a round."""
        if self.record_of(number) is not None:
            return "done"
        return "begun" if self.table(number).exists() or self.run_dir(number).exists() else "to do"

    def begin(self) -> None:
        """Write what the rounds have in common, or check it against an earlier call.

        Raises
        ------
        RunError
            The folder is that of a job with other soundscapes or settings.
        """
        job = _Job(
            soundscapes=Soundscapes.of(self.soundscapes),
            labelled=None if self.labelled is None else Soundscapes.of(self.labelled.found),
            boxes=None if self.labelled is None else self.labelled.boxes_digest,
            out_of_fold=self.settings.out_of_fold,
        )
        file = self.folder / JOB_NAME
        if not file.is_file():
            write_text(file, json.dumps(job.model_dump(), indent=2))
            return
        earlier = read_json(file, _Job, remedy="delete it where the soundscapes are still the same")
        differing = [name for name in _Job.model_fields if getattr(earlier, name) != getattr(job, name)]
        if differing:
            raise RunError(
                f"{self.folder} was begun with other {' and '.join(differing)}; restore them, or choose "
                "another exp_name"
            )

    def _named(self, number: int) -> TrainConfig:
        name = f"{self.config.exp_name}_round_{number}"
        return self.config.model_copy(update={"exp_name": name})


def plan_rounds(
    config: TrainConfig,
    soundscapes: str | Path,
    *,
    n_rounds: int = 4,
    labelled: str | Path | None = None,
    out_of_fold: bool | None = None,
    patience: int = 1,
) -> RoundPlan:
    """Return the plan of rounds, after all checks that need no training.

    Parameters
    ----------
    config
        The experiment. Its ``soundscape_pseudo_config`` holds the settings of training on pseudo-labels;
        tables in it, of other teachers, are used in all rounds after the round's own.
    soundscapes
        Folder of unlabelled soundscapes, audio files at any depth.
    n_rounds
        Rounds after the training without pseudo-labels, at most.
    labelled
        Folder of labelled soundscapes to score rounds on.
    out_of_fold
        Whether each soundscape is labelled by one fold, and no fold trained on the rows it made; None takes
        what the config says.
    patience
        Rounds in a row that do not raise the score, after which no more are trained.

    Raises
    ------
    ConfigError
        A setting is not legal, or training would use several devices.
    DataError
        The soundscapes hold what a fold is validated or a round is scored on, or nothing could be scored.

    Examples
    --------
    >>> from dawnchorus.config import load_train_config
    >>> config = load_train_config("train.py")
    >>> plan_rounds(config, "night.wav").config_of(0).exp_name
    'tiny_round_0'
    >>> plan_rounds(config, "recordings/owl")
    Traceback (most recent call last):
        ...
    dawnchorus.errors.DataError: 4 of the soundscapes are labelled recordings too ...
    """
    for name, value in (("n_rounds", n_rounds), ("patience", patience)):
        if value < 1:
            raise ConfigError(f"{name} is {value}; it must be 1 or more")
    if config.train_function_args.n_devices > 1:
        raise ConfigError(
            f"{config.exp_name}: rounds train on one device, and {config.train_function_args.n_devices} are "
            "asked for; take devices 1 and num_nodes 1"
        )
    settings = settings_of(config, out_of_fold=out_of_fold)
    found = find_recordings([str(soundscapes)])
    soundscapes_by_name(found.recordings)  # which refuses two of one name
    if any(recording.path.suffix.lower() in STORE_SUFFIXES for recording in found.recordings):
        raise DataError(f"{soundscapes} holds HDF5 files; give the folder of their audio files")
    scored = None if labelled is None else LabelledSoundscapes(labelled)
    given = None if config.labels is None else read_labels(config.labels)
    recordings = load_recordings(config.data, labels=given).table
    for each in (found, *_soundscapes_of_tables(config, settings)):
        check_no_leak(recordings, each, None if scored is None else scored.found)
    _check_scored(config, recordings, given, scored)
    if settings.out_of_fold and len(found.recordings) < 2:
        raise DataError(f"{soundscapes}: out of fold needs two soundscapes or more, and there is one")
    return RoundPlan(config, found, scored, settings, n_rounds, patience)


def settings_of(config: TrainConfig, *, out_of_fold: bool | None = None) -> SelfTrainingSettings:
    """Return the settings of training on pseudo-labels in a config; a row has the length of its clips.

    Examples
    --------
    >>> from dawnchorus.config import load_train_config
    >>> settings_of(load_train_config("train.py"), out_of_fold=True).out_of_fold
    True
    """
    values = {key: value for key, value in _pseudo_values(config).items() if key != "tables"}
    if out_of_fold is not None:
        values["out_of_fold"] = out_of_fold
    args = config.train_function_args
    clip = validate(
        args.val_dataset_class.settings_class, args.val_dataset_config, where=f"{config.exp_name}: clips"
    )
    where = f"{config.exp_name}: {PSEUDO}"
    return validate(SelfTrainingSettings, {**values, "row_s": clip.segment_len}, where=where)


def _pseudo_values(config: TrainConfig) -> dict[str, Any]:
    return _given_in(config.train_function_args.train_dataset_config.get(PSEUDO) or {})


def _given_in(settings: Any) -> dict[str, Any]:
    """Return what stands in settings, a dict or an object, without the defaults."""
    if isinstance(settings, Mapping):
        return dict(settings)
    return {name: getattr(settings, name) for name in settings.model_fields_set}


def _with_row_s(table: Any, row_s: float) -> dict[str, Any]:
    """Return a table of others, whose rows are not of the rounds' length, with that of its own."""
    values = _given_in(table)
    return {**values, "row_s": values.get("row_s") or row_s}


def _soundscapes_of_tables(config: TrainConfig, settings: SelfTrainingSettings) -> Iterator[RecordingFiles]:
    """Yield the soundscapes of the tables that a config names: of other teachers, and with known labels."""
    where = f"{config.exp_name}: {PSEUDO}.tables"
    given = [
        table if isinstance(table, PseudoTableSettings) else validate(PseudoTableSettings, table, where=where)
        for table in _pseudo_values(config).get("tables", ())
    ]
    known = settings.known.tables if settings.known is not None else ()
    for number, table in enumerate((*given, *known)):
        rows = read_whole_table(table.table)
        made_by_folds = settings.out_of_fold and number < len(given)
        if made_by_folds and not {"fold", "fold_id"} & set(rows.columns):
            raise DataError(
                f"{table.table} has no column fold, which says what fold made a row; out of fold, every "
                "table needs it, and one of another teacher has none"
            )
        names = set(rows["row_id"].astype(str).str.rpartition("_")[0]) if "row_id" in rows else set()
        found = find_recordings([str(table.audio_dir)])
        yield RecordingFiles(
            found.root, [recording for recording in found.recordings if soundscape_name(recording) in names]
        )


def _check_scored(
    config: TrainConfig, recordings: Any, labels: LabelMap | None, scored: LabelledSoundscapes | None
) -> None:
    """Raise an error where no round could be scored."""
    if scored is not None:
        scored.check_known((labels or label_map_of(recordings)).labels)
        return
    assignment = assign_folds(recordings, config.folds, seed=config.seed)
    if assignment.n_folds < 2 or not assignment.validated.any():
        raise DataError(
            f"{config.exp_name} has {counted(assignment.n_folds, 'fold')}, so that rounds cannot be scored "
            "out of fold; give labelled soundscapes, or take folds.n_folds 2 or more"
        )
