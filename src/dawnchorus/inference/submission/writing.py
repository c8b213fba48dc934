"""The files of a submission: which soundscapes and which form, and the table on disk."""

from __future__ import annotations

from pathlib import Path

from dawnchorus.errors import DataError
from dawnchorus.files import FAILURES_NAME, replacing, write_failures
from dawnchorus.inference.soundscapes import soundscapes_by_name
from dawnchorus.inference.sources import find_recordings
from dawnchorus.inference.submission.form import SubmissionForm, read_sample_submission
from dawnchorus.inference.submission.predicting import Submission

SAMPLE_NAME = "sample_submission.csv"
_DECIMALS = "%.6g"


def find_form(given: Path | None, soundscapes: Path) -> SubmissionForm | None:
    """Return the form of the sample that is given, or lies beside the soundscapes, or None.

    Raises
    ------
    DataError
        As for :func:`~dawnchorus.inference.submission.form.read_sample_submission`.
    """
    beside = soundscapes.absolute().parent / SAMPLE_NAME
    path = given if given is not None else beside if beside.is_file() else None
    return None if path is None else read_sample_submission(path)


def find_soundscapes(folder: Path, *, has_form: bool) -> dict[str, Path]:
    """Return the soundscapes of a folder by the name that their rows have.

    A folder without any is a public notebook's, whose soundscapes come when it is scored: none are returned
    where a sample says what to write then.

    Raises
    ------
    DataError
        There is no such folder, nothing to predict and no sample, or two soundscapes have one name.
    """
    if not folder.is_dir():
        raise DataError(f"{folder} is not a folder; give the folder of the soundscapes")
    try:
        found = find_recordings([str(folder)])
    except DataError:
        if has_form:
            return {}
        raise
    named = soundscapes_by_name(found.recordings)
    return {name: recording.path for name, recording in named.items()}


def write_submission(submission: Submission, out: Path) -> None:
    """Write the table, and beside it the list of soundscapes that could not be read, where there are any."""
    with replacing(out) as temporary:
        submission.table.to_csv(temporary, float_format=_DECIMALS)
    if submission.failures or (out.parent / FAILURES_NAME).is_file():
        write_failures(out.parent, submission.failures)
