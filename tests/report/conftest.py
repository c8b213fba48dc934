"""Runs written by hand, piece by piece, as a training leaves them."""

from __future__ import annotations

import csv
import json
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import pytest

from dawnchorus.runs import Run


class RunWriter:
    """Writes the pieces of a run below ``path``."""

    def __init__(self, path: Path) -> None:
        self.path = path
        self.run = Run(path)
        path.mkdir(parents=True)

    def table(self, name: str, rows: Sequence[Mapping[str, Any]]) -> None:
        """Write a CSV table with every column that any row has."""
        path = self.path / name
        path.parent.mkdir(parents=True, exist_ok=True)
        columns = list(dict.fromkeys(column for row in rows for column in row))
        with path.open("w", newline="", encoding="utf-8") as file:
            writer = csv.DictWriter(file, columns)
            writer.writeheader()
            writer.writerows(rows)

    def text(self, name: str, text: str) -> None:
        path = self.path / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(text, encoding="utf-8")

    def json(self, name: str, value: Any) -> None:
        self.text(name, json.dumps(value))

    def metrics(self, fold: int, rows: Sequence[Mapping[str, Any]], *, version: int = 0) -> None:
        self.table(f"fold_{fold}/logs/version_{version}/metrics.csv", rows)

    def trained_fold(self, fold: int, aucs: Sequence[float], **finished: Any) -> None:
        """Log two rows an epoch, as Lightning does, and ``finished.json`` where it is to hold something."""
        rows: list[dict[str, Any]] = []
        for epoch, auc in enumerate(aucs):
            place = {"epoch": epoch, "step": 10 * epoch + 9}
            rows.append(
                {**place, "val_loss": 0.5 - 0.1 * epoch, "val_macro_roc_auc": auc, "val_cmap": auc / 2}
            )
            rows.append({**place, "train_loss": 0.4, "clips_per_s": 100 + epoch, "loader_wait_share": 0.25})
        self.metrics(fold, rows)
        if finished:
            self.json(f"fold_{fold}/finished.json", finished)

    def folds(self, folds: Sequence[int], *, validated: bool = True) -> None:
        """Write ``folds.csv`` with a recording for each fold given."""
        self.table(
            "folds.csv",
            [
                {"filename": f"{index}.ogg", "primary_label": "a", "fold": fold, "validated": validated}
                for index, fold in enumerate(folds)
            ],
        )

    def card(self, *labels: str, exp_name: str = "an_experiment") -> None:
        self.json("model_card.json", {"exp_name": exp_name, "labels": labels})


@pytest.fixture
def written(tmp_path: Path) -> RunWriter:
    """An empty run folder and what writes into it."""
    return RunWriter(tmp_path / "logdirs" / "some_run")
