"""Tables written by hand, read as text, and lists of names for messages."""

from __future__ import annotations

import io
import re
import unicodedata
import warnings
from collections import Counter
from collections.abc import Iterable
from pathlib import Path

import pandas as pd

from dawnchorus.config import TableInMemory
from dawnchorus.errors import DataError
from dawnchorus.files import from_legible, legible
from dawnchorus.wording import in_line

_EXAMPLES_SHOWN = 5
_NAMED_SEPARATOR = re.compile(r'"?sep=([,;\t])"?', re.IGNORECASE)
_INVISIBLE = dict.fromkeys(map(ord, "\u00ad\u200b\u200c\u200d\u200e\u200f\u2060\ufeff"))
_UNKNOWN_NAMES = frozenset(
    {"", "-", "?", "anon", "anon.", "anonymous", "n/a", "na", "nan", "none", "null", "unknown"}
)
"""Names, without spaces and case, of somebody or some place that is not known."""
_PROBABILITY = re.compile(r"(?<=.) [01]\.[0-9]{4}(?: \((?:yes|no|unsure|conflict)(?:: .*)?\))?$", re.DOTALL)
"""Of ``wren 0.9000``; four digits, as PROBABILITY_DECIMALS of the writers, and then perhaps a verdict."""


_KINDS = {
    b"\x89PNG": "a PNG picture",
    b"\xff\xd8\xff": "a JPEG picture",
    b"%PDF": "a PDF document",
    b"PK\x03\x04": "a zip archive, as spreadsheets and PyTorch files are",
    b"\x1f\x8b": "a gzip archive",
    b"\x93NUMPY": "an array of NumPy",
    b"\x89HDF": "an HDF5 file",
    b"PAR1": "a Parquet table",
    b"SQLite format 3": "an SQLite database",
    b"RIFF": "a WAV recording",
    b"OggS": "an Ogg recording",
    b"fLaC": "a FLAC recording",
    b"\x80\x02": "a Python pickle",
    b"\x80\x03": "a Python pickle",
    b"\x80\x04": "a Python pickle",
    b"\x80\x05": "a Python pickle",
    b"\xd0\xcf\x11\xe0": "an old Excel or Word file",
    b"<!DOCTYPE": "an HTML page",
    b"<!doctype": "an HTML page",
    b"<html": "an HTML page",
    b"<?xml": "an XML document",
}
"""What a file is that begins so."""


def refuse_other_kinds(path: Path, *, legal: str) -> None:
    """Raise a DataError where a file is recognised as no text that holds ``legal``.

    Examples
    --------
    >>> from pathlib import Path
    >>> _ = Path("labels.txt").write_bytes(b"PAR1")
    >>> refuse_other_kinds(Path("labels.txt"), legal="a label a line")
    Traceback (most recent call last):
        ...
    dawnchorus.errors.DataError: labels.txt is a Parquet table; give a file with a label a line
    """
    with path.open("rb") as file:
        beginning = file.read(32)
    for magic, kind in _KINDS.items():
        if beginning.startswith(magic):
            raise DataError(f"{path} is {kind}; give a file with {legal}")


def read_text_table(
    path: Path | TableInMemory,
    *,
    required: tuple[str, ...],
    sep: str | None = None,
    names: tuple[str, ...] = (),
    stripped: bool = True,
) -> pd.DataFrame:
    """Return a table of strings; its index counts from the line below the first one of the file.

    Lines whose cells are all empty, as spreadsheets leave them, are left out; a first line such as ``sep=;``,
    as Excel writes it, names the separator.

    Parameters
    ----------
    path
        The table: a file in UTF-8, or the copy of a DataFrame.
    required
        Columns that it must have.
    sep
        Separator of its cells; if not given, comma, semicolon or tab, as in its first line.
    names
        Columns of file names, which need not be UTF-8: they become :func:`~dawnchorus.files.legible`.
    stripped
        Whether spaces around the text of a cell are taken off.

    Raises
    ------
    DataError
        The file is missing, is not a table in UTF-8, or lacks a column.

    Examples
    --------
    >>> from pathlib import Path
    >>> _ = Path("labels.csv").write_text("primary_label; rarity\\nowl; 3\\n")
    >>> read_text_table(Path("labels.csv"), required=("primary_label",)).iloc[0].to_dict()
    {'primary_label': 'owl', 'rarity': '3'}
    """
    in_memory = isinstance(path, TableInMemory)
    try:
        if not isinstance(path, TableInMemory):
            refuse_other_kinds(path, legal="a CSV table")
        n_above, found = (0, ",") if isinstance(path, TableInMemory) else _separator(path)
        separator = found if in_memory or n_above else sep or found
        source = io.StringIO(path.csv) if isinstance(path, TableInMemory) else path
        try:
            table = _read_csv(source, separator, n_above)
        except UnicodeDecodeError:
            table = _with_legible_names(Path(str(path)), separator, n_above, names)
    except FileNotFoundError:
        raise DataError(f"the table {path} does not exist; give a CSV file") from None
    except OSError as error:
        raise DataError(f"{path} cannot be read; {error.strerror}") from None
    except pd.errors.ParserWarning:
        raise DataError(
            f"{path} has more cells in its lines than in its header; name every column, put cells that hold "
            "commas into quotes, and end no line with a comma"
        ) from None
    except (pd.errors.ParserError, pd.errors.EmptyDataError) as error:
        reason = str(error).strip().rpartition("C error: ")[2]
        raise DataError(f"{path} is not a CSV table: {reason}") from None
    table.columns = table.columns.str.strip()
    missing = [column for column in required if column not in table]
    if missing:
        raise DataError(
            f"{path} has no column {', '.join(missing)}; its columns are {some(list(table.columns))}"
        )
    table.index += n_above
    # A line with too few cells has missing values even where nothing is read as missing.
    table = table.fillna("").astype(str)
    if stripped:
        table = table.apply(lambda column: column.str.strip())
    return table if in_memory else table[(table != "").any(axis=1)]


def _read_csv(source: Path | io.StringIO, sep: str, n_above: int) -> pd.DataFrame:
    with warnings.catch_warnings():
        # pandas warns where lines have more cells than the header, and drops them.
        warnings.simplefilter("error", pd.errors.ParserWarning)
        return pd.read_csv(
            source,
            sep=sep,
            skiprows=n_above,
            dtype=str,
            keep_default_na=False,
            encoding="utf-8-sig",
            index_col=False,
        )


def _with_legible_names(path: Path, sep: str, n_above: int, names: tuple[str, ...]) -> pd.DataFrame:
    """Return a table in which the file names, and nothing else, have bytes that are not UTF-8."""
    text = path.read_bytes().decode("utf-8-sig", errors="surrogateescape")
    table = _read_csv(io.StringIO(legible(text)), sep, n_above)
    others = table.drop(columns=[column for column in table if column.strip() in names])
    if any(from_legible(text) != text for text in (*others, *others.to_numpy(object).ravel())):
        raise DataError(f"{path} is no text in UTF-8; save it as UTF-8")
    return table


def _separator(path: Path) -> tuple[int, str]:
    """Return the number of lines above the header, and what separates its cells."""
    with path.open(encoding="utf-8-sig", errors="surrogateescape") as file:
        header = file.readline()
    named = _NAMED_SEPARATOR.fullmatch(header.strip("\r\n"))
    return (1, named[1]) if named else (0, max(",;\t", key=header.count))


def clean_label(text: str) -> str:
    """Return a label as one spelling of it: composed characters, single plain spaces, nothing invisible.

    Examples
    --------
    >>> clean_label("Ha\u0308ussperling\u200b"), clean_label(" Junco\u00a0 hyemalis ")
    ('Häussperling', 'Junco hyemalis')
    """
    return " ".join(unicodedata.normalize("NFC", text).translate(_INVISIBLE).split())


def identity_of(name: str) -> str:
    """Return a text that is equal for two spellings of a name, and empty for one that stands for unknown.

    Case, spaces and the form of Unicode tell no names apart.

    Examples
    --------
    >>> identity_of("Ada  Byron") == identity_of(" ADA BYRON"), identity_of("Unknown"), identity_of("-")
    (True, '', '')
    """
    folded = unicodedata.normalize("NFKC", name).translate(_INVISIBLE).casefold()
    identity = "".join(unicodedata.normalize("NFKC", folded).split())
    return "" if identity in _UNKNOWN_NAMES else identity


def variant_spellings(labels: Iterable[str]) -> dict[str, str]:
    """Return labels that differ from a more frequent one in case or underscores alone, and that one.

    Examples
    --------
    >>> variant_spellings(["Junco hyemalis", "Junco hyemalis", "junco_hyemalis", "owl"])
    {'junco_hyemalis': 'Junco hyemalis'}
    """
    of_key: dict[str, Counter[str]] = {}
    for label in labels:
        of_key.setdefault(label.casefold().replace("_", " "), Counter())[label] += 1
    meant: dict[str, str] = {}
    for counts in of_key.values():
        most_frequent, *others = sorted(counts, key=lambda label: (-counts[label], label))
        meant.update(dict.fromkeys(others, most_frequent))
    return meant


def without_probability(label: str) -> str:
    """Return the label of an Audacity track without the probability and verdict of our own writer.

    Examples
    --------
    >>> [without_probability(text) for text in ("Turdus merula 0.9000", "wren 0.8000 (no: owl)", "type 2")]
    ['Turdus merula', 'wren', 'type 2']
    """
    return _PROBABILITY.sub("", label)


def some(names: list[str]) -> str:
    """Return a count and the first few names, as the subject or object of a message.

    Examples
    --------
    >>> some(["owl", "wren"])
    'owl, wren'
    """
    shown = ", ".join(map(in_line, names[:_EXAMPLES_SHOWN]))
    rest = len(names) - _EXAMPLES_SHOWN
    return f"{shown} and {rest} more" if rest > 0 else shown
