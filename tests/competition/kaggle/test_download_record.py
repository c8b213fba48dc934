"""The record of a folder of downloads."""

from __future__ import annotations

from pathlib import Path

import pytest

from dawnchorus.competition.kaggle.download_record import (
    RECORD_NAME,
    ArchiveRecord,
    DownloadRecord,
    PartRecord,
    read_record,
    write_record,
)
from dawnchorus.errors import UnsafePathError


def record_of(**files: int) -> DownloadRecord:
    archive = ArchiveRecord(n_bytes=1, version=None, files=files)
    return DownloadRecord(competition="c", parts={"p": PartRecord(archives={"a": archive})})


def test_a_record_is_read_as_written(tmp_path: Path) -> None:
    record = record_of(**{"audio/a.ogg": 3})
    write_record(tmp_path, record)
    assert read_record(tmp_path, "c") == record


def test_a_record_that_names_files_elsewhere_is_refused(tmp_path: Path) -> None:
    write_record(tmp_path, record_of(**{"../victim": 3}))
    with pytest.raises(UnsafePathError, match=rf"{RECORD_NAME} names '\.\./victim'"):
        read_record(tmp_path, "c")
