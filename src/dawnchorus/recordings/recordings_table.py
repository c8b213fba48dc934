"""The recordings table, with one row for each labelled recording, for every source of labels.

================ ======================================================================
column           meaning
================ ======================================================================
filename         unique name: the path relative to the audio folder, with forward
                 slashes; with several dataset roots, the root's name before it
audio_path       the audio file; it may be absent where there is a store
stored_path      its HDF5 file, empty where there is none
primary_label    the species the recording was made for; of a recording with labels
                 in time, the one with the most boxes, or ``nocall``
secondary_labels tuple of other species in it
duration_s       length in seconds, NaN where it cannot be read
boxes            tuple of (start_s, end_s, label), or None where the labels are for the
                 whole recording
known_labels     tuple of the only species that somebody looked for, only where the
                 source has it; empty for all. Training passes over the others, where
                 they are not labels: see ``masked_bce``
author           recordist, empty where unknown
rating           quality from 0 to 5, NaN where unknown
fold             official fold, only where the source has one
================ ======================================================================

Other columns of a source, such as ``site``, ``url``, ``latitude`` and ``longitude``, are kept.

A source is a folder, a CSV table, or a plain DataFrame with ``filename`` and ``primary_label``: all are read
and checked in the same way.
"""

from __future__ import annotations

import hashlib
import logging
from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any, Literal, TypeAlias

import numpy as np
import pandas as pd

from dawnchorus.audio.channels import Channel
from dawnchorus.audio.listing import list_audio_files
from dawnchorus.audio.source import open_source
from dawnchorus.config import DataSettings, is_dataframe, validate
from dawnchorus.downloads.catalogue_numbers import catalogue_numbers
from dawnchorus.errors import AudioError, ConfigError, DataError, StoreError
from dawnchorus.files import FAILURES_NAME, Failure, from_legible, legible, read_failures, replacing
from dawnchorus.formats.faults import Fault, FaultyTableError
from dawnchorus.formats.text_tables import identity_of
from dawnchorus.progress import track
from dawnchorus.recordings.dataset_root import LoadedRecordings, load_dataset_root, real_path
from dawnchorus.recordings.labels import NOCALL, LabelMap, checked

logger = logging.getLogger(__name__)

DatasetRoot: TypeAlias = DataSettings | Mapping[str, Any] | str | Path | pd.DataFrame
"""One dataset root: its settings, its folder, or its table."""


def load_recordings(
    roots: DatasetRoot | Sequence[DatasetRoot],
    *,
    labels: LabelMap | None = None,
    audio_dir: str | Path | None = None,
    faulty: Literal["refuse", "leave_out"] | None = None,
) -> LoadedRecordings:
    """Return the checked recordings of one dataset root, or of several.

    Parameters
    ----------
    roots
        The dataset roots, each a folder; a table, as a DataFrame or a CSV file; or settings, as an object or
        a dict. A DataFrame needs the columns ``filename`` and ``primary_label``.
    labels
        The classes, where they are given: any other label is a fault.
    audio_dir
        Folder that the file names of a table are relative to. Without it, those of a DataFrame are relative
        to the working directory, and those of a CSV file to its folder. Absolute paths are taken as they are.
    faulty
        ``leave_out`` drops faulty rows, ``refuse`` raises; that of the settings if not given.

    Raises
    ------
    FaultyTableError
        Rows of a dataset root with ``refuse`` are faulty (all of them are named), or no other rows are left.
    DataError
        A folder or a table is missing or empty, or a table lacks a column.

    Examples
    --------
    >>> import pandas as pd
    >>> import tempfile, numpy, soundfile
    >>> folder = tempfile.TemporaryDirectory()
    >>> soundfile.write(f"{folder.name}/night.wav", numpy.zeros(16_000), 16_000)
    >>> mine = pd.DataFrame({"filename": ["night.wav"], "primary_label": ["wren"]})
    >>> table, faults = load_recordings(mine, audio_dir=folder.name)
    >>> table[["filename", "primary_label", "duration_s"]].values.tolist(), faults
    ([['night.wav', 'wren', 1.0]], [])
    >>> folder.cleanup()
    """
    one = isinstance(roots, DataSettings | Mapping | str | Path) or is_dataframe(roots)
    several: Any = (roots,) if one else roots
    roots = tuple(dataset_root(root, audio_dir=audio_dir) for root in several)
    if faulty is not None:
        roots = tuple(root.model_copy(update={"faulty": faulty}) for root in roots)
    root_of_file: dict[str, str] = {}
    catalogued: set[str] = set()
    tables: list[pd.DataFrame] = []
    refused: list[Fault] = []
    left_out: list[Fault] = []
    for root, name in zip(roots, names_of_roots(roots), strict=True):
        table, faults = load_dataset_root(root, labels)
        table, repeated = _without_files_of(table, root_of_file, name)
        table = _without_catalogued(table, catalogued, root)
        faults += [Fault(root.audio_dir, None, *what) for what in repeated]
        if name:
            table["filename"] = f"{name}/" + table["filename"]
            faults = [fault._replace(filename=f"{name}/{fault.filename}") for fault in faults]
        tables.append(table)
        (refused if root.faulty == "refuse" else left_out).extend(faults)
    if refused:
        raise FaultyTableError(refused)
    recordings = pd.concat(tables, ignore_index=True)
    if recordings.empty and left_out:
        raise FaultyTableError(left_out)
    if recordings.empty:
        raise DataError(f"no recording in {' or '.join(str(root.audio_dir) for root in roots)} has a label")
    for column in (
        "author",
        "site",
        "fold",
        "fold_id",
    ):  # a column that only some roots have is unknown elsewhere
        if column in recordings:
            recordings[column] = recordings[column].fillna("")
    if "known_labels" in recordings:
        recordings["known_labels"] = [
            found if isinstance(found, tuple) else () for found in recordings["known_labels"]
        ]
    return LoadedRecordings(recordings, left_out)


def leave_out_unreadable(
    recordings: pd.DataFrame,
    roots: Sequence[DataSettings],
    *,
    sample_rate: int,
    channel: Channel | None = None,
) -> tuple[pd.DataFrame, list[Failure]]:
    """Return the recordings that can be read, and the others with the reason.

    A recording is left out where ``dawnchorus precompute`` could not convert it, or where neither
    its HDF5 file nor its own header can be read, or has another sample rate or ``channel``.

    Raises
    ------
    DataError
        None can be read.

    Examples
    --------
    >>> from pathlib import Path
    >>> from dawnchorus.config import DataSettings
    >>> _ = Path("recordings/owl/XC1.wav").write_bytes(b"RIFF")
    >>> table = load_recordings("recordings").table
    >>> roots = [DataSettings(audio_dir="recordings")]
    >>> readable, failures = leave_out_unreadable(table, roots, sample_rate=32_000)
    >>> len(readable), [failure.path.name for failure in failures]
    (7, ['XC1.wav'])
    """
    failed_before = _failed_conversions(roots)
    failures: list[Failure] = []
    readable: list[bool] = []
    rows = recordings[["filename", "audio_path", "stored_path"]].itertuples(index=False)
    for name, audio, stored in track(rows, "Checking recordings", total=len(recordings)):
        readable.append(False)
        if not stored and audio in failed_before:
            failures.append(Failure(Path(name), failed_before[audio]))
            continue
        try:
            open_source(
                Path(from_legible(audio)),
                stored=Path(from_legible(stored)) if stored else None,
                sample_rate=sample_rate,
                channel=channel,
            )
        except (AudioError, StoreError) as error:
            failures.append(Failure(Path(name), str(error)))
        else:
            readable[-1] = True
    if not any(readable):
        raise DataError(f"none of the {len(recordings)} recordings can be read: {failures[0].reason}")
    return recordings[readable].reset_index(drop=True), failures


def label_map_of(recordings: pd.DataFrame) -> LabelMap:
    """Return the classes to train: every primary label, and every label in time.

    ``nocall`` is not a class; its target is all zeros.

    Parameters
    ----------
    recordings
        Any table with the column ``primary_label``, and ``boxes`` where there are labels in time.

    Raises
    ------
    DataError
        A label is missing, or named like a column of the tables that are written later, or there is none.

    Examples
    --------
    >>> import pandas as pd
    >>> label_map_of(pd.DataFrame({"primary_label": ["wren", "nocall", "robin", "wren"]})).labels
    ('robin', 'wren')
    """
    if not is_dataframe(recordings) or "primary_label" not in recordings:
        columns = f"; its columns are {', '.join(map(str, recordings))}" if is_dataframe(recordings) else ""
        raise DataError(f"labels are taken from a table with the column primary_label{columns}")
    primary = ["" if pd.isna(label) else str(label).strip() for label in recordings["primary_label"]]
    if "" in primary:
        row = primary.index("")
        raise DataError(f"primary_label is empty in row {row} of the table; fill it or drop the row")
    found = set(primary)
    for boxes in recordings.get("boxes", ()):
        if isinstance(boxes, Sequence) and not isinstance(boxes, str):
            found.update(str(label).strip() for _, _, label in boxes)
    labels = checked(LabelMap.of(found - {NOCALL}))
    if not labels.labels:
        raise DataError(f"all recordings are {NOCALL}; there is no species to learn")
    return labels


def _without_files_of(
    table: pd.DataFrame, root_of_file: dict[str, str], root: str
) -> tuple[pd.DataFrame, list[tuple[str, str]]]:
    """Return the rows whose file no earlier root has, adding them to ``root_of_file``; and the others."""
    files = [real_path(from_legible(path)) for path in table["audio_path"]]
    new = np.array([file not in root_of_file for file in files], dtype=bool)
    repeated = [
        (name, f"{name} is a recording of {root_of_file[file]} too; keep it in one place")
        for name, file in zip(table["filename"], files, strict=True)
        if file in root_of_file
    ]
    root_of_file.update(dict.fromkeys(np.array(files, dtype=object)[new], root))
    return table[new].reset_index(drop=True), repeated


def _without_catalogued(table: pd.DataFrame, earlier: set[str], root: DataSettings) -> pd.DataFrame:
    """Return the rows whose recording no earlier root has, by its number in the archive.

    Copies of one recording in several roots, such as a competition's and an archive's own, could otherwise
    lie on both sides of a fold.
    """
    ids = catalogue_numbers(map(str, table["filename"]))
    new = np.array([found not in earlier for found in ids], dtype=bool)
    earlier.update(found for found in ids if found)
    if not new.all():
        logger.info(
            f"{root.audio_dir}: {(~new).sum()} recordings are in an earlier place too, by the numbers that "
            "their archive gave them, and left out here"
        )
    return table[new].reset_index(drop=True)


def dataset_root(root: DatasetRoot, *, audio_dir: str | Path | None = None) -> DataSettings:
    """Return a dataset root as settings; for ``audio_dir`` see :func:`load_recordings`.

    Raises
    ------
    ConfigError
        A key is unknown, or ``audio_dir`` is given beside a folder.

    Examples
    --------
    >>> dataset_root("songs").audio_dir.name
    'songs'
    """
    if isinstance(root, DataSettings):
        return root if audio_dir is None else root.model_copy(update={"audio_dir": Path(audio_dir)})
    values: Mapping[str, Any]
    if is_dataframe(root):
        values = {"audio_dir": audio_dir or Path(), "recordings": root}
    elif isinstance(root, Mapping):
        values = {**root, "audio_dir": audio_dir} if audio_dir is not None else root
    elif isinstance(root, str | Path) and Path(root).is_file():
        values = {"audio_dir": audio_dir or Path(root).parent, "recordings": root}
    elif audio_dir is not None:
        raise ConfigError(f"audio_dir is for the names in a table, and {root} is a folder; leave it out")
    else:
        values = {"audio_dir": root}
    return validate(DataSettings, values, where="a place of recordings")


def names_of_roots(roots: Sequence[DataSettings]) -> list[str]:
    """Return the prefix of the file names of each root; that of a single root is empty unless it is named.

    Raises
    ------
    DataError
        Two have one name.

    Examples
    --------
    >>> names_of_roots([dataset_root("songs"), dataset_root("calls")])
    ['songs', 'calls']
    >>> names_of_roots([dataset_root("songs")])
    ['']
    """
    if len(roots) == 1:
        return [roots[0].name or ""]
    names = [root.name or root.audio_dir.absolute().name for root in roots]
    twice = [name for name, count in Counter(names).items() if count > 1]
    if twice:
        raise DataError(f'two places of recordings are named {twice[0]}; give each its own "name"')
    return names


def _failed_conversions(roots: Sequence[DataSettings]) -> dict[str, str]:
    """Return the audio files that could not be converted, and have not changed since, with the reasons."""
    failed = {}
    for root in roots:
        if root.features_dir is None:
            continue
        reasons = read_failures(root.features_dir)
        since = (root.features_dir / FAILURES_NAME).stat().st_mtime if reasons else 0.0
        for failure in reasons:
            audio = root.audio_dir / failure.path
            if not (audio.exists() and audio.stat().st_mtime > since):
                failed[legible(str(audio))] = failure.reason
    return failed


def unlisted_files(roots: Sequence[DataSettings], listed: Iterable[Path | str]) -> list[str]:
    """Return the audio files of the dataset roots that are not among ``listed``: in no table, or left out.

    Examples
    --------
    >>> from dawnchorus.config import DataSettings
    >>> unlisted_files([DataSettings(audio_dir="recordings/owl")], ["recordings/owl/XC1.wav"])
    ['recordings/owl/XC2.wav', 'recordings/owl/XC3.wav', 'recordings/owl/XC4.wav']
    """
    known = {real_path(from_legible(str(path))) for path in listed}
    found = []
    for root in roots:
        try:
            found += list_audio_files(root.audio_dir)
        except DataError:
            continue  # there are stores only
    return [str(path) for path in found if real_path(path) not in known]


def count_recordings(recordings: pd.DataFrame) -> pd.DataFrame:
    """Return a row for each label, most recordings first, and a row ``all``.

    Columns: recordings with it as their primary label, their hours and known recordists, and its boxes in
    all recordings.

    Examples
    --------
    >>> counts = count_recordings(load_recordings("recordings").table)
    >>> counts["recordings"].to_dict()
    {'owl': 4, 'wren': 4, 'all': 8}
    """
    known = recordings.assign(author=recordings["author"].map(identity_of).replace("", pd.NA))
    of_label = known.groupby("primary_label")
    boxes = Counter(label for found in recordings["boxes"] for _, _, label in found or ())
    table = pd.DataFrame(
        {
            "recordings": of_label.size(),
            "hours": of_label["duration_s"].sum() / 3600,
            "recordists": of_label["author"].nunique(),
        }
    )
    table = table.reindex(sorted({*table.index, *boxes})).fillna(0)
    table["boxes"] = [boxes[label] for label in table.index]
    table = table.sort_values(["recordings", "boxes"], ascending=False, kind="stable")
    all_rows = {"recordings": len(known), "hours": known["duration_s"].sum() / 3600}
    all_rows |= {"recordists": known["author"].nunique(), "boxes": sum(boxes.values())}
    table = pd.concat([table, pd.DataFrame(all_rows, index=["all"])])
    whole = {"recordings": int, "recordists": int, "boxes": int}
    return table.round({"hours": 2}).astype(whole).rename_axis("primary_label")


def digest_of_labels(recordings: pd.DataFrame) -> str:
    """Return a digest of the labels, boxes and ratings of recordings; the order of rows changes nothing.

    Examples
    --------
    >>> table = load_recordings("recordings").table
    >>> digest_of_labels(table) == digest_of_labels(table[::-1])
    True
    """
    columns = ["filename", "primary_label", "secondary_labels", "rating", "boxes"]
    columns += ["known_labels"] if "known_labels" in recordings else []
    rows = sorted(zip(*(recordings[column] for column in columns), strict=True), key=lambda row: row[0])
    return hashlib.sha256(repr(rows).encode("utf-8", errors="surrogateescape")).hexdigest()


def write_recordings(path: Path, recordings: pd.DataFrame) -> None:
    """Write the table as CSV: lists with semicolons, boxes as their number.

    Examples
    --------
    >>> from pathlib import Path
    >>> write_recordings(Path("table.csv"), load_recordings("recordings").table)
    >>> len(Path("table.csv").read_text().splitlines())  # a heading and eight recordings
    9
    """
    boxes = ["" if found is None else len(found) for found in recordings["boxes"]]
    lists = [name for name in ("secondary_labels", "known_labels") if name in recordings]
    joined = {name: recordings[name].map(";".join) for name in lists}
    with replacing(path) as temporary:
        recordings.assign(boxes=boxes, **joined).to_csv(temporary, index=False)
