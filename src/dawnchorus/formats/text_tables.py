"""Tables written by hand, read as text, and lists of names for messages."""

from __future__ import annotations

import io
import re
import warnings
from pathlib import Path

import pandas as pd

from dawnchorus.config import TableInMemory
from dawnchorus.errors import DataError

_EXAMPLES_SHOWN = 5
_PROBABILITY = re.compile(r"(?<=.) [01]\.[0-9]{4}$", re.DOTALL)
"""Of ``wren 0.9000``; four digits, as PROBABILITY_DECIMALS of the writers."""


def read_text_table(
    path: Path | TableInMemory, *, required: tuple[str, ...], sep: str | None = None
) -> pd.DataFrame:
    """Return a table of stripped strings, as the file has them.

    Parameters
    ----------
    path
        The table: a file in UTF-8, or the copy of a DataFrame.
    required
        Columns that it must have.
    sep
        Separator of its cells; if not given, comma, semicolon or tab, as in its first line.

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
    try:
        with warnings.catch_warnings():
            # pandas warns where lines have more cells than the header, and drops them.
            warnings.simplefilter("error", pd.errors.ParserWarning)
            table = pd.read_csv(
                io.StringIO(path.csv) if isinstance(path, TableInMemory) else path,
                sep="," if isinstance(path, TableInMemory) else sep or _separator(path),
                dtype=str,
                keep_default_na=False,
                encoding="utf-8-sig",
                index_col=False,
            )
    except FileNotFoundError:
        raise DataError(f"the table {path} does not exist; give a CSV file") from None
    except OSError as error:
        raise DataError(f"{path} cannot be read; {error.strerror}") from None
    except UnicodeDecodeError:
        raise DataError(f"{path} is no text in UTF-8; save it as UTF-8") from None
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
            f"{path} has no column {', '.join(missing)}; its columns are {', '.join(map(str, table.columns))}"
        )
    # A line with too few cells has missing values even where nothing is read as missing.
    return table.apply(lambda column: column.fillna("").astype(str).str.strip())


def _separator(path: Path) -> str:
    with path.open(encoding="utf-8-sig") as file:
        header = file.readline()
    return max(",;\t", key=header.count)


def without_probability(label: str) -> str:
    """Return the label of an Audacity track without the probability that our own writer appends.

    Examples
    --------
    >>> without_probability("Turdus merula 0.9000"), without_probability("type 2")
    ('Turdus merula', 'type 2')
    """
    return _PROBABILITY.sub("", label)


def some(names: list[str]) -> str:
    """Return a count and the first few names, as the subject or object of a message.

    Examples
    --------
    >>> some(["owl", "wren"])
    'owl, wren'
    """
    shown = ", ".join(names[:_EXAMPLES_SHOWN])
    rest = len(names) - _EXAMPLES_SHOWN
    return f"{shown} and {rest} more" if rest > 0 else shown
