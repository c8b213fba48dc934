"""The answers of reviewers, joined to detections."""

from __future__ import annotations

import json
from pathlib import Path

import pandas as pd

from dawnchorus.errors import DataError
from dawnchorus.formats.detection_writer import VERDICT_COLUMNS
from dawnchorus.formats.text_tables import read_text_table
from dawnchorus.wording import shown

_KEYS = ("filename", "start_s", "end_s", "label")
_LEGAL = ("yes", "no", "unsure", "conflict", "")
_DECIMALS = 3  # of seconds, in which two tables name the same window


def with_verdicts(detections: pd.DataFrame, verified: Path) -> pd.DataFrame:
    """Return detections with what reviewers said of them, and with those that only reviewers had.

    Parameters
    ----------
    detections
        ``filename``, ``start_s``, ``end_s``, ``label``, ``probability``, and ``channel`` where it is known.
    verified
        A table as ``dawnchorus review`` writes it, ``verified.csv``: ``filename``, ``start_s``, ``end_s``,
        ``label``, ``verdict``, and where there are such, ``channel``, ``probability``, ``heard`` and
        ``reviewers``, the latter two as JSON lists or with ``|`` between.

    Returns
    -------
    pandas.DataFrame
        The columns of ``detections``, and ``verdict``, ``heard`` and ``reviewers``.

    Raises
    ------
    DataError
        The table lacks a column, or a verdict or a time is none.

    Examples
    --------
    >>> from pathlib import Path
    >>> import pandas as pd
    >>> _ = Path("verified.csv").write_text(
    ...     "filename,start_s,end_s,label,verdict,heard,reviewers\\n"
    ...     'night.wav,0.0,5.0,wren,no,"[""owl""]","[""Ada""]"\\n'
    ... )
    >>> found = pd.DataFrame({"filename": ["night.wav"], "start_s": [0.0], "end_s": [5.0], "label": ["wren"]})
    >>> with_verdicts(found.assign(probability=0.9), Path("verified.csv")).iloc[0, 5:].tolist()
    ['no', ('owl',), ('Ada',)]
    """
    table = read_text_table(verified, required=(*_KEYS, "verdict"), names=("filename",))
    wrong = [each for each in table["verdict"] if each not in _LEGAL]
    if wrong:
        raise DataError(
            f"{verified}: verdict is {shown(wrong[0])}; legal are {', '.join(filter(None, _LEGAL))}"
        )
    for name in ("start_s", "end_s", "channel", "probability"):
        numbers = pd.to_numeric(table.get(name, pd.Series("", table.index)), errors="coerce")
        if name in ("start_s", "end_s") and numbers.isna().any():
            raise DataError(f"{verified}: {name} is no number in a row; write seconds")
        table[name] = numbers
    for name in ("heard", "reviewers"):
        table[name] = [_names(cell, verified) for cell in table.get(name, pd.Series("", table.index))]
    said = {_key(row): row for row in table.to_dict("records")}
    rows = []
    for row in detections.to_dict("records"):
        answer = said.pop(_key(row), {})
        rows.append({**row, **_verdict_of(answer)})
    for answer in said.values():
        extra = {key: answer[key] for key in _KEYS}
        if "channel" in detections:
            extra["channel"] = 1 if pd.isna(answer["channel"]) else max(1, int(answer["channel"]))
        rows.append({**extra, "probability": float(answer["probability"]), **_verdict_of(answer)})
    columns = [*detections.columns, *VERDICT_COLUMNS]
    found = pd.DataFrame(rows, columns=columns)
    return found.sort_values(["filename", "start_s", "end_s", "label"], kind="stable", ignore_index=True)


def _verdict_of(answer: dict) -> dict:
    return {
        "verdict": answer.get("verdict", ""),
        "heard": answer.get("heard", ()),
        "reviewers": answer.get("reviewers", ()),
    }


def _key(row: dict) -> tuple:
    channel = row.get("channel")
    number = 0 if channel is None or pd.isna(channel) else int(channel)
    start_s, end_s = (round(float(row[name]), _DECIMALS) for name in ("start_s", "end_s"))
    return row["filename"], start_s, end_s, row["label"], number


def _names(cell: str, table: Path) -> tuple[str, ...]:
    """Return the names in a cell: a JSON list, or with ``|`` between."""
    if not cell.startswith("["):
        return tuple(filter(None, (name.strip() for name in cell.split("|"))))
    try:
        names = json.loads(cell)
    except (ValueError, RecursionError):
        names = None
    if not isinstance(names, list) or not all(isinstance(name, str) for name in names):
        raise DataError(f"{table}: {shown(cell)} is no list of names; write a JSON list, or a|b")
    return tuple(names)
