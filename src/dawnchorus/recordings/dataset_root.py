"""Loading of one dataset root: its tables and files, merged and checked against each other."""

from __future__ import annotations

import logging
import os
import posixpath
import unicodedata
from collections import Counter
from collections.abc import Sequence
from pathlib import Path
from typing import Any, NamedTuple

import pandas as pd

from dawnchorus.audio.container import AUDIO_SUFFIXES, AudioInfo
from dawnchorus.audio.headers import read_headers
from dawnchorus.audio.listing import list_audio_files
from dawnchorus.audio.source import find_stored, open_stored
from dawnchorus.config import DataSettings, TableInMemory
from dawnchorus.errors import AudioError, DataError, StoreError
from dawnchorus.files import from_legible, legible
from dawnchorus.formats.annotations import ANNOTATIONS_NAME, BOX_COLUMNS, Annotations, read_annotations
from dawnchorus.formats.faults import Fault
from dawnchorus.formats.text_tables import some, variant_spellings
from dawnchorus.recordings.labels import NOCALL, LabelMap
from dawnchorus.recordings.table_readers import (
    TABLE_NAME,
    RowsOfRoot,
    read_recordings_table,
    recordings_from_folders,
    source_of,
    with_all_columns,
)
from dawnchorus.wording import counted

logger = logging.getLogger(__name__)

_PAST_END_S = 0.1  # tables and headers may disagree by this on the end of a recording


class LoadedRecordings(NamedTuple):
    """Recordings, and the faults of those that were left out.

    Attributes
    ----------
    table
        The rows without faults, with the columns of :mod:`dawnchorus.recordings.recordings_table`.
    faults
        The faults of the rows that were left out.

    Examples
    --------
    >>> from dawnchorus.recordings.recordings_table import load_recordings
    >>> found = load_recordings("recordings")
    >>> len(found.table), found.faults
    (8, [])
    """

    table: pd.DataFrame
    faults: list[Fault]

    def __repr__(self) -> str:
        faults = f", {counted(len(self.faults), 'fault')}" if self.faults else ""
        return f"Recordings({counted(len(self.table), 'recording')}{faults})"


def load_dataset_root(root: DataSettings, labels: LabelMap | None) -> LoadedRecordings:
    """Return the recordings of one dataset root; ``labels`` are the classes, where they are given.

    Raises
    ------
    DataError
        A folder or a table is missing or empty, or a table lacks a column.

    Examples
    --------
    >>> from dawnchorus.config import DataSettings
    >>> root = load_dataset_root(DataSettings(audio_dir="recordings"), labels=None)
    >>> root.table["primary_label"].value_counts().to_dict()
    {'owl': 4, 'wren': 4}
    """
    if not root.audio_dir.is_dir():
        raise DataError(
            f"the audio folder {root.audio_dir} does not exist; give a folder of recordings (paths are "
            f"relative to the working directory, {Path.cwd()})"
        )
    if root.features_dir is not None and not root.features_dir.is_dir():
        logger.warning(f"{root.features_dir}: no such folder, so that all audio is decoded as it is read")
    table_file = root.recordings or _if_there(root.audio_dir / TABLE_NAME)
    boxes_file = root.annotations or _if_there(root.audio_dir / ANNOTATIONS_NAME)
    source, unit, _ = source_of(table_file or root.audio_dir)
    for setting in ("root_column", "folds_array"):
        if table_file is None and getattr(root, setting) is not None:
            raise DataError(f"{setting} is for a table, and {root.audio_dir} has none; give it as recordings")
    faults: list[Fault] = []
    if table_file is not None:
        rows = RowsOfRoot(root.root_column, _names_of(root), root.folds_array)
        table, faults = read_recordings_table(table_file, () if labels is None else labels.labels, rows=rows)
    elif boxes_file is not None:
        table = _unlabelled(root.audio_dir)
    else:
        table = recordings_from_folders(root.audio_dir, () if labels is None else labels.labels)
    table, missing = _with_paths(table, root, source, unit)
    table["duration_s"] = _durations(table, root)
    own_boxes = table.get("boxes", pd.Series(dtype=object))
    table["boxes"] = pd.Series([None] * len(table), dtype=object, index=table.index)
    faults += missing
    if root.annotations is None and own_boxes.notna().any():
        boxes_file = None
        found = _boxes_of(table, own_boxes, source)
    elif boxes_file is not None:
        found = read_annotations(
            boxes_file,
            table["filename"].tolist(),
            label_column=root.label_column,
            labels=() if labels is None else labels.labels,
        )
    else:
        found = None
    if found is not None:
        in_rows = unit if boxes_file is None else "line"
        checked, wrong = _checked_boxes(found, table, labels, ignored=root.ignored_labels, unit=in_rows)
        faults += [*found.faults, *wrong]
        # A recording that lacks one of its boxes would be trained and tested on as if it were silent there.
        incomplete = found.incomplete.union(fault.filename for fault in wrong)
        table = _with_boxes(table[~table["filename"].isin(incomplete)], found.filenames, checked)
    if labels is not None:
        table, unknown = _without_unknown_labels(table, labels, source, unit)
        faults += unknown
    table, spelled = _without_variants(table, source, unit)
    faults += spelled
    return LoadedRecordings(table.drop(columns="line", errors="ignore").reset_index(drop=True), faults)


def _names_of(root: DataSettings) -> tuple[str, ...]:
    """Return the names by which a column of roots may mean this one."""
    return (*filter(None, [root.name]), root.audio_dir.absolute().name)


def _if_there(file: Path) -> Path | None:
    return file if file.is_file() else None


def _boxes_of(table: pd.DataFrame, boxes: pd.Series, source: Path) -> Annotations:
    """Return the boxes in the recordings table itself, each once."""
    lines = table["line"]
    rows = [
        (table["filename"][row], *box, source, int(lines[row]))
        for row, found in boxes.items()
        for box in dict.fromkeys(found or ())
    ]
    columns = [*BOX_COLUMNS, "table", "line"]
    return Annotations(pd.DataFrame(rows, columns=columns), sorted(table["filename"][boxes.notna()]), [])


def _unlabelled(audio_dir: Path) -> pd.DataFrame:
    names = [legible(path.relative_to(audio_dir).as_posix()) for path in list_audio_files(audio_dir)]
    return with_all_columns(pd.DataFrame({"filename": names, "primary_label": ""}))


def _line_of(row: Any) -> int | None:
    return int(row.line) if hasattr(row, "line") else None


def _with_paths(
    table: pd.DataFrame, root: DataSettings, source: Path, unit: str
) -> tuple[pd.DataFrame, list[Fault]]:
    """Return the rows whose audio or store exists, each file once, with paths; and the faults of others."""
    found, kept, faults = [], [], []
    name_of: dict[str, str] = {}
    for row in table.itertuples():
        files = _find_files(str(row.filename), str(row.primary_label), root) or _loaded_before(row)
        file = None if files is None else real_path(files.audio)
        if files is None or file in name_of:
            what = (
                f"{row.filename} not found in {_shown(root)}; restore the file or drop the {unit}"
                if files is None
                else f"{row.filename} is the same file as {name_of[str(file)]}; keep one {unit} a recording"
            )
            faults.append(Fault(source, _line_of(row), str(row.filename), what, unit))
            continue
        name_of[str(file)] = str(row.filename)
        found.append(files)
        kept.append(row.Index)
    names, audio_paths, stored_paths = zip(*found, strict=True) if found else ((), (), ())
    stored = ["" if path is None else legible(str(path)) for path in stored_paths]
    audio = [legible(str(path)) for path in audio_paths]
    columns = {"filename": list(map(legible, names)), "audio_path": audio, "stored_path": stored}
    return table.loc[kept].assign(**columns), faults


def _shown(root: DataSettings) -> str:
    if root.audio_dir == Path() and isinstance(root.recordings, TableInMemory):
        return f"the working directory, {Path.cwd()}; give audio_dir, the folder that names are relative to"
    return str(root.audio_dir)


def _loaded_before(row: Any) -> _Files | None:
    """Return the files of a row of a table that was loaded before, or None."""
    audio, stored = (
        Path(from_legible(str(getattr(row, name, "")))) for name in ("audio_path", "stored_path")
    )
    has_audio, has_stored = (path != Path() and path.is_file() for path in (audio, stored))
    if not (has_audio or has_stored):
        return None
    return _Files(str(row.filename), audio, stored if has_stored else None)


def real_path(path: Path | str) -> str:
    """Return the resolved path, equal for two paths of one file.

    Examples
    --------
    >>> real_path("recordings/owl/../night.wav") == real_path("recordings/night.wav")
    True
    """
    return os.path.normcase(os.path.realpath(path))


class _Files(NamedTuple):
    """A recording's name, audio file and store."""

    name: str
    audio: Path
    stored: Path | None


def _find_files(filename: str, primary_label: str, root: DataSettings) -> _Files | None:
    """Return a recording's files, or None where there is neither audio nor store.

    BirdCLEF's tables before 2022 name the file without its folder, that of the species. Tables from Windows
    have backslashes. The published table names files ``.ogg`` that were downloaded as ``.mp3``.
    """
    forward = filename.replace("\\", "/")
    written = (from_legible(filename), filename, forward, f"{primary_label}/{forward}")
    # A Mac writes accents as characters of their own, in names of files or in the table.
    forms = (unicodedata.normalize(form, name) for form in ("NFC", "NFD") for name in written)
    names = [posixpath.normpath(name) for name in dict.fromkeys((*written, *forms))]
    in_other_forms = (
        posixpath.splitext(name)[0] + suffix
        for name in names
        if root.root_column is not None
        for suffix in sorted(AUDIO_SUFFIXES)
    )
    for name in (*names, *in_other_forms):
        audio = root.audio_dir / name
        stored = find_stored(root.features_dir, Path(name))
        if stored is not None or audio.is_file():
            return _Files(name, audio, stored)
    return None


def _checked_boxes(
    found: Annotations,
    table: pd.DataFrame,
    labels: LabelMap | None,
    *,
    ignored: Sequence[str],
    unit: str,
) -> tuple[pd.DataFrame, list[Fault]]:
    """Return the boxes of species that lie within their recordings, and the faults of the others."""
    boxes = found.boxes[~found.boxes["label"].isin([*ignored, NOCALL])]
    durations_s = dict(zip(table["filename"], table["duration_s"].fillna(float("inf")), strict=True))
    faults, wrong = [], []
    for row in boxes.itertuples():
        what, duration_s = None, durations_s.get(row.filename, float("inf"))
        if row.end_s > duration_s + _PAST_END_S:
            what = (
                f"{row.label} ends at {row.end_s:g} s, past the end of {row.filename} at {duration_s:.2f} s"
            )
        elif labels is not None and row.label not in labels:
            what = _unknown(str(row.label), str(row.filename))
        if what is not None:
            faults.append(Fault(row.table, int(row.line), str(row.filename), what, unit))
            wrong.append(row.Index)
    return boxes.drop(index=wrong), faults


def _durations(table: pd.DataFrame, root: DataSettings) -> list[float]:
    """Return the length in seconds of each recording; NaN where neither store nor header can be read.

    Such a recording is left out, with the reason, when all are opened.
    """
    raw = table["filename"][table["stored_path"] == ""].tolist()
    headers = dict(zip(raw, read_headers(root.audio_dir, list(map(from_legible, raw))), strict=True))
    return [
        _stored_duration(Path(from_legible(stored))) if stored else _duration_of(headers[name])
        for name, stored in zip(table["filename"], table["stored_path"], strict=True)
    ]


def _stored_duration(path: Path) -> float:
    try:
        stored = open_stored(path)
    except StoreError:
        return float("nan")
    return stored.n_samples / stored.sample_rate


def _duration_of(header: AudioInfo | AudioError) -> float:
    return header.duration_s if isinstance(header, AudioInfo) else float("nan")


def _with_boxes(table: pd.DataFrame, annotated: list[str], boxes: pd.DataFrame) -> pd.DataFrame:
    """Return the table with the boxes of each annotated recording, and its most frequent label."""
    table, unheard = table.copy(), []
    of_file: dict[str, list[tuple[float, float, str]]] = {name: [] for name in annotated}
    for row in boxes.sort_values(["filename", "start_s", "end_s", "label"]).itertuples():
        of_file[row.filename].append((float(row.start_s), float(row.end_s), str(row.label)))
    index_of = {name: index for index, name in zip(table.index, table["filename"], strict=True)}
    for name, found in of_file.items():
        if name not in index_of:
            continue
        counts = Counter(label for _, _, label in found)
        if not counts and table.at[index_of[name], "primary_label"]:
            continue  # its boxes name no species, but the table does
        if table.at[index_of[name], "primary_label"] not in ("", NOCALL, *counts):
            unheard.append(name)
        table.at[index_of[name], "boxes"] = tuple(found)
        table.at[index_of[name], "primary_label"] = min(
            counts, key=lambda label: (-counts[label], label), default=NOCALL
        )
    if unheard:
        logger.warning(f"{some(unheard)} with another label in the table than in any box; the boxes count")
    silent = table["filename"][table["primary_label"] == ""].tolist()
    if silent:
        logger.warning(f"{some(silent)} in no table of labels, and left out")
    return table[table["primary_label"] != ""]


def _without_unknown_labels(
    table: pd.DataFrame, labels: LabelMap, source: Path, unit: str
) -> tuple[pd.DataFrame, list[Fault]]:
    """Return the rows whose primary label is a class, and the faults of others; warn of secondary labels."""
    known = {*labels.labels, NOCALL}
    wrong = table[~table["primary_label"].isin(known)]
    faults = [
        Fault(
            source,
            _line_of(row),
            str(row.filename),
            _unknown(str(row.primary_label), str(row.filename)),
            unit,
        )
        for row in wrong.itertuples()
    ]
    has_unknown = table["secondary_labels"].map(lambda found: not known.issuperset(found)).astype(bool)
    if has_unknown.any():
        secondary = {label for found in table["secondary_labels"] for label in found} - known
        logger.warning(
            f"{source}: {some(sorted(secondary))} among the secondary labels of "
            f"{some(table['filename'][has_unknown].tolist())}, none of the classes"
        )
    return table.drop(index=wrong.index), faults


def _without_variants(table: pd.DataFrame, source: Path, unit: str) -> tuple[pd.DataFrame, list[Fault]]:
    """Return the rows whose labels are no other spelling of a more frequent one."""
    others = table["secondary_labels"].explode().dropna()
    meant = variant_spellings([*table["primary_label"], *others])
    faults, wrong = [], []
    for row in table.itertuples() if meant else ():
        for label in (row.primary_label, *row.secondary_labels):
            if label in meant:
                what = f"the label {label!r} looks like {meant[label]!r}, which is more frequent; write one"
                faults.append(Fault(source, _line_of(row), str(row.filename), what, unit))
                wrong.append(row.Index)
    return table.drop(index=list(dict.fromkeys(wrong))), faults


def _unknown(label: str, filename: str) -> str:
    return (
        f"{label} is none of the classes in the config's labels; correct the label of {filename}, or add it "
        "there"
    )
