"""Tables written to files atomically."""

from __future__ import annotations

from pathlib import Path

import pandas as pd

from dawnchorus.files import replacing


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
