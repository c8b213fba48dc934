"""The files of a submission: its soundscapes, its form, and the table on disk."""

from __future__ import annotations

import logging
import tempfile
from pathlib import Path

from dawnchorus.competition.submission.form import SubmissionForm, read_sample_submission
from dawnchorus.competition.submission.timed_prediction import Submission
from dawnchorus.errors import DataError
from dawnchorus.files import refuse_existing, replacing, write_failures
from dawnchorus.predict.recording_files import find_recordings
from dawnchorus.pseudo_labels.soundscape_files import soundscapes_by_name

logger = logging.getLogger(__name__)

SAMPLE_NAME = "sample_submission.csv"
_DECIMALS = "%.6g"


def find_form(given: Path | None, soundscapes: Path) -> SubmissionForm | None:
    """Return the form of the sample given, or of that beside the soundscapes; None if there is none.

    Raises
    ------
    DataError
        As for :func:`~dawnchorus.competition.submission.form.read_sample_submission`.

    Examples
    --------
    >>> from pathlib import Path
    >>> find_form(None, Path("soundscapes")) is None  # no sample_submission.csv lies beside it
    True
    """
    beside = soundscapes.absolute().parent / SAMPLE_NAME
    path = given if given is not None else beside if beside.is_file() else None
    return None if path is None else read_sample_submission(path)


def find_soundscapes(folder: Path, *, has_form: bool) -> dict[str, Path]:
    """Return the soundscapes of a folder by the name that their rows have.

    A public notebook's folder has none, because its soundscapes come when it is scored; where a sample names
    the rows to write then, an empty dict is returned.

    Raises
    ------
    DataError
        There is no such folder, nothing to predict and no sample, or two soundscapes have one name.

    Examples
    --------
    >>> from pathlib import Path
    >>> list(find_soundscapes(Path("recordings/owl"), has_form=False))
    ['XC1', 'XC2', 'XC3', 'XC4']
    """
    if not folder.is_dir():
        raise DataError(f"{folder} is not a folder; give the folder of the soundscapes")
    try:
        found = find_recordings([str(folder)])
    except DataError as error:
        if not has_form:
            raise
        logger.warning("%s. The sample is handed in as it is.", error)
        return {}
    named = soundscapes_by_name(found.recordings)
    return {name: recording.path for name, recording in named.items()}


def check_writable(out: Path, *, force: bool) -> None:
    """Raise where a submission could not be written, before anything is predicted.

    Raises
    ------
    DataError
        It is there and must not be replaced, is a folder, or its folder cannot be written to.

    Examples
    --------
    >>> from pathlib import Path
    >>> check_writable(Path("submission.csv"), force=False)
    >>> check_writable(Path("submission.xls"), force=False)
    Traceback (most recent call last):
        ...
    dawnchorus.errors.DataError: submission.xls does not end with .csv, and a submission is a CSV table; name
    it with --out
    """
    if out.is_dir():
        raise DataError(f"{out} is a folder; name a file with --out, such as {out / 'submission.csv'}")
    if out.suffix.lower() != ".csv":
        raise DataError(f"{out} does not end with .csv, and a submission is a CSV table; name it with --out")
    refuse_existing(out, force=force)
    try:
        out.absolute().parent.mkdir(parents=True, exist_ok=True)
        with tempfile.TemporaryFile(dir=out.absolute().parent):
            pass
    except OSError as error:
        raise DataError(
            f"{out} cannot be written: {error.strerror}; choose another place with --out"
        ) from None


def failures_path(out: Path) -> Path:
    """Return the list of soundscapes that could not be read, beside a submission.

    Examples
    --------
    >>> from pathlib import Path
    >>> failures_path(Path("submission.csv")).name
    'submission_failures.csv'
    """
    return out.with_name(f"{out.stem}_failures.csv")


def write_submission(submission: Submission, out: Path) -> None:
    """Write the table, and beside it the list of soundscapes that could not be read, where there are any.

    Examples
    --------
    >>> from pathlib import Path
    >>> import pandas as pd
    >>> from dawnchorus.competition.submission.timed_prediction import Submission
    >>> table = pd.DataFrame({"owl": [0.9]}, index=pd.Index(["night_5"], name="row_id"))
    >>> write_submission(Submission(table, [], [], 1, 0, 0, seconds=1.0), Path("submission.csv"))
    >>> print(Path("submission.csv").read_text())
    row_id,owl
    night_5,0.9
    """
    with replacing(out) as temporary:
        submission.table.to_csv(temporary, float_format=_DECIMALS)
    failures = failures_path(out)
    if submission.failures or failures.is_file():
        write_failures(failures.parent, submission.failures, name=failures.name)
