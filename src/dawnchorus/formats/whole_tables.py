"""Tables as files, whole or not at all."""

from __future__ import annotations

from pathlib import Path

import pandas as pd

from dawnchorus.files import replacing


def write_csv(path: Path, table: pd.DataFrame) -> None:
    """Write a CSV file, with every digit."""
    with replacing(path) as temporary:
        table.to_csv(temporary, index=False)


def write_parquet(path: Path, table: pd.DataFrame) -> None:
    """Write a Parquet file, with every digit."""
    with replacing(path) as temporary:
        table.to_parquet(temporary, index=False)
