"""Labels in time: Raven selection tables, Audacity label tracks, and CSV tables of boxes.

All become one table, a row a box: ``filename`` (relative to the audio folder), ``start_s``, ``end_s``,
``label``, and its source (``table``, ``line``). A recording counts as annotated where a table is about it,
also one without any row: it then holds no labelled sound.
"""

from __future__ import annotations

import logging
import unicodedata
from collections.abc import Callable, Collection, Iterable, Sequence
from pathlib import Path, PurePosixPath
from typing import Any, NamedTuple

import pandas as pd

from dawnchorus.errors import DataError
from dawnchorus.files import walk
from dawnchorus.formats.faults import Fault
from dawnchorus.formats.result_tables import PARAMETERS_NAME, labels_of, read_result_table
from dawnchorus.formats.text_tables import clean_label, read_text_table, some, without_probability

logger = logging.getLogger(__name__)

TABLE_NAME = "recordings.csv"
ANNOTATIONS_NAME = "annotations.csv"
LABEL_COLUMNS = ("Species", "Label", "Annotation", "Species Code", "Common Name", "primary_label")
"""Columns of a Raven table that are taken for the label, the first that is there, in any case."""

BOX_COLUMNS = ["filename", "start_s", "end_s", "label"]
_COLUMNS = [*BOX_COLUMNS, "table", "line"]
_RAVEN_FILES = ("Begin Path", "Begin File")
_RAVEN_START, _RAVEN_END, _RAVEN_OFFSET = "Begin Time (s)", "End Time (s)", "File Offset (s)"


class Annotations(NamedTuple):
    """Annotations of recordings from tables.

    Attributes
    ----------
    boxes
        The sound rows, with the columns of this module.
    filenames
        Recordings that are annotated, sorted; some may have no box.
    faults
        The other rows.
    incomplete
        Recordings with a box among the faults.

    Examples
    --------
    >>> from pathlib import Path
    >>> _ = Path("boxes.csv").write_text("filename,start_s,end_s,label\\nnight.wav,7.0,9.0,owl\\n")
    >>> annotations = read_annotations(Path("boxes.csv"), ["night.wav"])
    >>> annotations.filenames, len(annotations.boxes), annotations.faults
    (['night.wav'], 1, [])
    """

    boxes: pd.DataFrame
    filenames: list[str]
    faults: list[Fault]
    incomplete: frozenset[str] = frozenset()


def read_annotations(
    path: Path,
    filenames: Sequence[str] = (),
    *,
    label_column: str | None = None,
    labels: Collection[str] = (),
) -> Annotations:
    """Return the boxes of a table, or of all tables below a folder.

    Parameters
    ----------
    path
        ``.csv`` (columns filename, start_s, end_s, label; or a table of BirdNET-Analyzer or Kaleidoscope),
        ``.txt`` (Raven or Audacity), or a folder.
    filenames
        The recordings, relative to the audio folder. A Raven or Audacity table belongs to the recording
        after which it is named (``XC1.Table.1.selections.txt`` to ``XC1.ogg``), or, in a Raven table
        with a column ``Begin Path`` or ``Begin File``, to those named there.
    label_column
        Column that holds the label, of a table of another program; otherwise the first of ``LABEL_COLUMNS``
        that a Raven table has, and the names in a table of BirdNET-Analyzer or Kaleidoscope.
    labels
        The classes, where they are given: names in tables of other programs take their spelling.

    Raises
    ------
    DataError
        There is no table, or one cannot be read as such.

    Examples
    --------
    >>> from pathlib import Path
    >>> _ = Path("night.txt").write_text("7.0\\t9.0\\towl\\n")  # an Audacity label track
    >>> boxes = read_annotations(Path("night.txt"), ["night.wav"]).boxes
    >>> boxes[["filename", "start_s", "end_s", "label"]]
        filename  start_s  end_s label
    0  night.wav      7.0    9.0   owl
    """
    names = Recordings(filenames)
    if not path.is_dir():
        return _collect([_read_table(path, names, label_column, labels)])
    tables = [
        table
        for table in sorted(walk(path))
        if table.suffix.lower() in (".txt", ".csv") and table.name not in (TABLE_NAME, PARAMETERS_NAME)
    ]
    ours = [table for table in tables if table.suffix.lower() == ".csv" or _is_about(table, names)]
    strangers = [table.name for table in tables if table not in ours]
    if strangers:
        logger.warning(f"{path}: {some(strangers)} named after no recording, or after several; not read")
    if not ours:
        raise DataError(
            f"{path} holds no table named after a recording; name them as XC1.selections.txt for XC1.ogg"
        )
    return _collect([_read_or_fault(table, names, label_column, labels) for table in ours])


def read_boxes_csv(path: Path) -> pd.DataFrame:
    """Return the boxes of a CSV table: filename, start_s, end_s, label.

    Raises
    ------
    DataError
        It cannot be read, or rows are wrong; all of them are named.

    Examples
    --------
    >>> from pathlib import Path
    >>> _ = Path("boxes.csv").write_text("filename,start_s,end_s,label\\nnight.wav,7.0,9.0,owl\\n")
    >>> read_boxes_csv(Path("boxes.csv"))["end_s"].tolist()
    [9.0]
    """
    found = _read_csv(path, Recordings(()), None, ())
    if found.faults:
        raise DataError("; ".join(str(fault) for fault in found.faults[:5]))
    return found.boxes[BOX_COLUMNS]


class Recordings:
    """Lookup of the recording that a table, or a cell of it, names.

    Examples
    --------
    >>> from pathlib import Path
    >>> recordings = Recordings(["site_a/night.wav", "site_b/dusk.wav"])
    >>> recordings.ending("/mnt/card/site_a/night.wav")
    'site_a/night.wav'
    >>> recordings.of_table(Path("dusk.Table.1.selections.txt"))
    'site_b/dusk.wav'
    """

    def __init__(self, filenames: Iterable[str]) -> None:
        self.all = frozenset(filenames)
        self._of: dict[str, list[str]] = {}
        for filename in sorted(self.all):
            path = PurePosixPath(filename)
            for key in dict.fromkeys((filename, path.name, path.stem, str(path.with_suffix("")))):
                self._of.setdefault(_composed(key), []).append(filename)

    def named(self, cell: str) -> str | None:
        """Return the one recording with this name, stem or path, or None."""
        found = self._of.get(_composed(str(PurePosixPath(cell.replace("\\", "/")))), [])
        return found[0] if len(found) == 1 else None

    def ending(self, cell: str) -> str | None:
        """Return the one recording that an absolute path, from any machine, ends in."""
        parts = PurePosixPath(cell.replace("\\", "/")).parts
        endings = ("/".join(parts[first:]) for first in range(len(parts)))
        return next((found for ending in endings if (found := self.named(ending))), None)

    def all_named(self, cells: Iterable[str]) -> list[str]:
        """Return the recording of each path, from any machine; a path of none as it is."""
        found = {cell: self.ending(cell) or cell for cell in set(cells)}
        return [found[cell] for cell in cells]

    def of_table(self, table: Path) -> str | None:
        """Return the recording after which a table is named: the longest name that it begins with."""
        name = table.name
        while "." in name:
            name = name.rpartition(".")[0]
            for key in (*_endings(table.parent, name), name):
                if len(found := self._of.get(_composed(key), [])) == 1:
                    return found[0]
        return None


def _composed(name: str) -> str:
    """Return a file name as it is compared: one from a Mac has its accents as characters of their own."""
    return unicodedata.normalize("NFC", name)


def _endings(folder: Path, name: str) -> list[str]:
    """Return a name after ever fewer of its folders, which tell recordings of the same name apart."""
    parts = folder.parts
    return ["/".join((*parts[first:], name)) for first in range(len(parts))]


def _is_about(table: Path, names: Recordings) -> bool:
    if names.of_table(table) is not None:
        return True
    return is_raven(table) and any(column in _first_line(table) for column in _RAVEN_FILES)


def _collect(found: list[Annotations]) -> Annotations:
    boxes = pd.concat([each.boxes for each in found], ignore_index=True)
    faults = [fault for each in found for fault in each.faults]
    incomplete = frozenset(fault.filename for fault in faults)  # a duplicate box loses nothing
    repeated = boxes.duplicated(BOX_COLUMNS)
    faults += [
        Fault(row.table, row.line, row.filename, f"the box {row.label} from {row.start_s:g} s stands twice")
        for row in boxes[repeated].itertuples()
    ]
    filenames = sorted({filename for each in found for filename in each.filenames})
    return Annotations(boxes[~repeated].reset_index(drop=True), filenames, faults, incomplete)


def _read_table(
    path: Path, names: Recordings, label_column: str | None, labels: Collection[str]
) -> Annotations:
    if path.suffix.lower() == ".csv":
        return _read_csv(path, names, label_column, labels)
    if is_raven(path):
        return _read_raven(path, names, label_column, labels)
    return _read_audacity(path, names)


def _read_or_fault(
    path: Path, names: Recordings, label_column: str | None, labels: Collection[str]
) -> Annotations:
    """Return what one of several tables says; where it cannot be read, its recording is the faulty one."""
    try:
        return _read_table(path, names, label_column, labels)
    except DataError as error:
        own = names.of_table(path)
        what = str(error).removeprefix(f"{path} ")
        fault = Fault(path, None, own or "", what)
        return Annotations(pd.DataFrame(columns=_COLUMNS), [] if own is None else [own], [fault])


def _read_csv(
    path: Path, names: Recordings, label_column: str | None, labels: Collection[str]
) -> Annotations:
    results = read_result_table(path, labels=labels, label_column=label_column)
    if results is not None:
        return _checked(
            path,
            results.assign(filename=names.all_named(results["file"]), line=results.index + 2),
            lambda row: None if row.filename in names.all else f"there is no recording {row.filename}",
        )
    table = read_text_table(path, required=tuple(BOX_COLUMNS))
    table["label"] = table["label"].map(clean_label)
    lines = table.index + 2
    unknown = {name for name in set(table["filename"]) if names.all and names.named(name) is None}
    known = table["filename"].map(lambda name: names.named(name) or name)
    return _checked(
        path,
        table.assign(filename=known, line=lines),
        lambda row: f"there is no recording {row.filename}" if row.filename in unknown else None,
    )


def _read_raven(
    path: Path, names: Recordings, label_column: str | None, labels: Collection[str]
) -> Annotations:
    own = names.of_table(path)
    rows = read_raven(path, names, own, label_column=label_column, labels=labels)
    several = not rows.attrs["has_offsets"] and rows["filename"].nunique() > 1

    def reason(row: Any) -> str | None:
        if row.filename not in names.all:
            return f"{row.filename or path.name} is no recording here; name the table after its recording"
        return f"times in several files need the column {_RAVEN_OFFSET}; add it in Raven" if several else None

    annotated = [own] if own is not None else []
    return _checked(path, rows, reason, annotated=annotated)


def read_raven(
    path: Path,
    names: Recordings,
    own: str | None,
    *,
    label_column: str | None = None,
    labels: Collection[str] = (),
) -> pd.DataFrame:
    """Return the selections of a Raven table, each once, with its recording, times, label, and probability.

    ``own`` is the recording after which the table is named, for selections that name none. Times count from
    the beginning of the recording; ``attrs["has_offsets"]`` tells whether the table has the column for
    that, without which they count through all recordings that were open.

    Examples
    --------
    >>> from pathlib import Path
    >>> _ = Path("night.txt").write_text("Begin Time (s)\\tEnd Time (s)\\tSpecies\\n0.5\\t2.0\\towl\\n")
    >>> read_raven(Path("night.txt"), Recordings(()), "night.wav")[["filename", "start_s", "label"]]
        filename start_s label
    0  night.wav     0.5   owl
    """
    table = read_text_table(path, required=(_RAVEN_START, _RAVEN_END), sep="\t", names=_RAVEN_FILES)
    column = _label_column(path, table, label_column)
    files = next((column for column in _RAVEN_FILES if column in table), None)
    rows = pd.DataFrame(
        {
            "filename": own or "",
            "start_s": table[_RAVEN_START],
            "end_s": table[_RAVEN_END],
            "label": labels_of(table, raven_names(table, column), labels),
            "probability": table.get("Confidence", ""),
            "line": table.index + 2,
        },
        index=table.index,
    )
    if files is not None:
        rows["filename"] = [names.ending(cell) or own or cell for cell in table[files]]
    if _RAVEN_OFFSET in table:  # times count through all files that were open, offsets through one
        start, end, offset = (
            pd.to_numeric(table[name], errors="coerce") for name in (_RAVEN_START, _RAVEN_END, _RAVEN_OFFSET)
        )
        rows["start_s"], rows["end_s"] = offset, (offset + (end - start)).round(6)
    if {"Selection", "View"} <= set(table):  # a selection stands once for each view, waveform and spectrogram
        keys = [name for name in ("Selection", *_RAVEN_FILES) if name in table]
        rows = rows[~table.duplicated(keys)]
    rows.attrs["has_offsets"] = _RAVEN_OFFSET in table
    return rows


def raven_names(table: pd.DataFrame, column: str) -> list[str]:
    """Return the columns of a Raven table that name the species, that of the label first.

    Examples
    --------
    >>> import pandas as pd
    >>> raven_names(pd.DataFrame(columns=["Common Name", "Species Code", "Channel"]), "Species Code")
    ['Species Code', 'Common Name']
    """
    others = [name for name in ("Common Name", "Species Code") if name in table and name != column]
    return [column, *others] if column in ("Common Name", "Species Code") else [column]


def _label_column(path: Path, table: pd.DataFrame, wanted: str | None) -> str:
    columns = {str(column).lower(): str(column) for column in table}
    for name in LABEL_COLUMNS if wanted is None else (wanted,):
        if name.lower() in columns:
            return columns[name.lower()]
    raise DataError(
        f"{path} has no column {wanted or ' or '.join(LABEL_COLUMNS)} for the labels; its columns are "
        f'{some(list(table.columns))}; name one with "label_column" in the config\'s data'
    )


def _read_audacity(path: Path, names: Recordings) -> Annotations:
    """Read start, end and label, a line each; a line that begins with a backslash holds frequencies.

    The probability that ``dawnchorus predict`` writes behind a label is left out.
    """
    own = names.of_table(path)
    rows, faults = [], []
    for number, line in enumerate(_text(path).splitlines(), start=1):
        if not line.strip() or line.startswith("\\"):
            continue
        parts = [part.strip() for part in line.split("\t", 2)]
        if len(parts) < 3:
            what = f"{line!r} is no label; a line of Audacity is start, end and label with tabs between"
            faults.append(Fault(path, number, own or "", what))
        else:
            rows.append((own or "", *parts[:2], clean_label(without_probability(parts[2])), number))
    found = _checked(
        path,
        pd.DataFrame(rows, columns=["filename", "start_s", "end_s", "label", "line"]),
        lambda row: None if own else f"{path.name} is named after no recording; rename it",
        annotated=[own] if own is not None else [],
        allow_points=True,
    )
    return found._replace(faults=[*faults, *found.faults])


def _checked(
    path: Path,
    rows: pd.DataFrame,
    reason: Callable[[Any], str | None],
    *,
    annotated: Sequence[str] = (),
    allow_points: bool = False,
) -> Annotations:
    """Return the rows whose times are numbers and in order; the others as faults."""
    rows = rows.assign(table=path)
    text = rows[["start_s", "end_s"]].astype(str)
    for column in ("start_s", "end_s"):
        rows[column] = pd.to_numeric(rows[column], errors="coerce").astype(float)
    faults, wrong = [], []
    for place, row in enumerate(rows.itertuples()):
        what = reason(row) or _fault_of_box(row, text.iloc[place], allow_points)
        if what is not None:
            faults.append(Fault(path, int(row.line), str(row.filename), what))
            wrong.append(row.Index)
    rows = rows.drop(index=wrong)
    return Annotations(rows[_COLUMNS].reset_index(drop=True), sorted({*annotated, *rows["filename"]}), faults)


def _fault_of_box(row: Any, text: pd.Series, allow_points: bool) -> str | None:
    in_order = row.start_s <= row.end_s if allow_points else row.start_s < row.end_s
    if not (in_order and row.start_s >= 0 and row.end_s < float("inf")):
        return (
            f"{text['start_s']} to {text['end_s']} is no stretch of time; times are seconds with a decimal "
            "point from 0, and the end comes after the start"
        )
    return None if row.label else "the label is empty; name the species, or drop the line"


def names_recordings(path: Path) -> bool:
    """Return whether a Raven table has a column with the path of each selection's recording.

    Examples
    --------
    >>> from pathlib import Path
    >>> _ = Path("night.txt").write_text("Begin Time (s)\\tEnd Time (s)\\tBegin Path\\n")
    >>> names_recordings(Path("night.txt"))
    True
    """
    return _RAVEN_FILES[0] in _first_line(path)


def is_raven(path: Path) -> bool:
    """Return whether a text file is a Raven selection table, by its header.

    Examples
    --------
    >>> from pathlib import Path
    >>> _ = Path("night.txt").write_text("0.0\\t5.0\\towl\\n")
    >>> is_raven(Path("night.txt"))
    False
    """
    return _RAVEN_START in _first_line(path)


def _first_line(path: Path) -> str:
    """Return the header of a table, for which its encoding does not matter."""
    try:
        with path.open(encoding="utf-8-sig", errors="replace") as file:
            return file.readline()
    except OSError as error:
        raise DataError(f"the table {path} cannot be read; {error.strerror}") from None


def _text(path: Path) -> str:
    try:
        return path.read_text(encoding="utf-8-sig")
    except OSError as error:
        raise DataError(f"the table {path} cannot be read; {error.strerror}") from None
    except UnicodeDecodeError:
        raise DataError(f"{path} is no text in UTF-8; save it as UTF-8") from None
