"""Tables written to files atomically, and the errors of reading damaged ones."""

from __future__ import annotations

from pathlib import Path

import pandas as pd
import pyarrow as pa

from dawnchorus.errors import DataError
from dawnchorus.files import replacing
from dawnchorus.wording import in_line

TABLE_ERRORS = (OSError, ValueError, KeyError, pa.ArrowException)
"""What pandas and pyarrow raise where a table is damaged; text that is no UTF-8 is a bare ArrowException."""


def read_whole_table(path: Path) -> pd.DataFrame:
    """Return a table of a ``.parquet`` file, or else of a CSV file.

    Raises
    ------
    DataError
        The file is missing or damaged.

    Examples
    --------
    >>> from pathlib import Path
    >>> Path("scores.csv").touch()
    >>> read_whole_table(Path("scores.csv"))
    Traceback (most recent call last):
        ...
    dawnchorus.errors.DataError: scores.csv cannot be read: No columns to parse from file
    """
    try:
        if path.suffix.lower() != ".parquet":
            return pd.read_csv(path)
        table = pd.read_parquet(path)
        # Text is decoded only where it is used, and that it is no UTF-8 must be found here.
        return table.astype({name: object for name, kind in table.dtypes.items() if kind == "str"})
    except TABLE_ERRORS as error:
        raise DataError(f"{path} cannot be read: {in_line(str(error))}") from None


def write_csv(path: Path, table: pd.DataFrame) -> None:
    """Write a CSV file, with every digit.

    Examples
    --------
    >>> from pathlib import Path
    >>> import pandas as pd
    >>> write_csv(Path("scores.csv"), pd.DataFrame({"label": ["owl"], "score": [0.1 + 0.2]}))
    >>> print(Path("scores.csv").read_text())
    label,score
    owl,0.30000000000000004
    """
    with replacing(path) as temporary:
        table.to_csv(temporary, index=False)


def write_parquet(path: Path, table: pd.DataFrame) -> None:
    """Write a Parquet file, with every digit.

    Examples
    --------
    >>> from pathlib import Path
    >>> import pandas as pd
    >>> write_parquet(Path("scores.parquet"), pd.DataFrame({"label": ["owl"], "score": [0.5]}))
    >>> pd.read_parquet("scores.parquet")["score"].tolist()
    [0.5]
    """
    with replacing(path) as temporary:
        table.to_parquet(temporary, index=False)
