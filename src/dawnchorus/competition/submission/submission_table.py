"""The table of a submission while it is filled in."""

from __future__ import annotations

import logging
from collections.abc import Iterable, Mapping, Sequence

import numpy as np
import pandas as pd

from dawnchorus.competition.submission.form import ROW_S, SubmissionForm, parse_row_id, rows_of
from dawnchorus.errors import ModelError
from dawnchorus.formats.text_tables import some
from dawnchorus.predict.window_predictions import WindowPredictions
from dawnchorus.pseudo_labels.pseudo_label_table import ROW_ID

logger = logging.getLogger(__name__)


class SubmissionTable:
    """Rows and classes as in the form.

    Where the sample names a soundscape that is there, its rows are the submission's, all of them. Where it
    names none (the public sample of a competition whose soundscapes are hidden), or there is no sample, the
    rows are those of the soundscapes. Where there are no soundscapes at all, the sample is the submission.

    Parameters
    ----------
    form
        Classes, and the sample's rows.
    durations_s
        Length of each soundscape that is there, by its name, in seconds.

    Examples
    --------
    >>> import numpy as np
    >>> from dawnchorus.competition.submission.form import SubmissionForm
    >>> from dawnchorus.predict.window_predictions import WindowPredictions
    >>> windows = WindowPredictions(np.array([0]), np.array([160_000]), np.float32([[0.9, 0.2]]), 32_000)
    >>> table = SubmissionTable(SubmissionForm(("owl", "wren")), {"night": 10.0})
    >>> table.add("night", windows, ["owl", "wren"])
    >>> table.fill(), table.frame().index.tolist()  # the second row gets the means of the others
    (1, ['night_5', 'night_10'])
    """

    def __init__(self, form: SubmissionForm, durations_s: Mapping[str, float]) -> None:
        self.labels = form.labels
        rows = [parse_row_id(row_id, where="sample submission") for row_id in form.row_ids]
        self.row_ids = list(form.row_ids)
        self.is_sample = not durations_s
        of_sample = {row.soundscape for row in rows}
        if durations_s and of_sample.isdisjoint(durations_s):
            if rows:
                logger.info("No soundscape of the sample's rows is there; the rows are those of the files.")
            rows = [row for name in sorted(durations_s) for row in rows_of(name, durations_s[name])]
            self.row_ids = [row.row_id for row in rows]
        elif left_out := sorted(set(durations_s) - of_sample):
            logger.warning("The sample has no rows for %s; left out.", some(left_out))
        if durations_s and (missing := sorted({row.soundscape for row in rows} - set(durations_s))):
            logger.warning("The sample has rows of %s, which are not there.", some(missing))
        self.rows_of: dict[str, dict[float, int]] = {}
        for number, row in enumerate(rows):
            self.rows_of.setdefault(row.soundscape, {})[row.end_s] = number
        self.values = np.full((len(rows), len(self.labels)), np.nan, np.float32)
        self.sample_means = np.zeros(len(self.labels), np.float32)
        if form.values is not None and len(form.values):
            self.sample_means = form.values.mean(axis=0)
            if self.is_sample:
                self.values[:] = form.values

    def check_classes(self, known: Iterable[str]) -> None:
        """Log the form's classes that the models lack, and the models' that the form lacks.

        Raises
        ------
        ModelError
            The models have none of the form's classes.
        """
        known = list(known)
        unknown = [label for label in self.labels if label not in set(known)]
        if len(unknown) == len(self.labels):
            raise ModelError(
                f"the models know none of the submission's classes ({some(unknown)}), but {some(known)}; "
                "give models that were trained for this competition"
            )
        if unknown:
            logger.warning("The models do not know %s: these columns hold the sample's mean.", some(unknown))
        if extra := [label for label in known if label not in set(self.labels)]:
            logger.info("Not asked for and left out: %s.", some(extra))

    def wants(self, soundscape: str) -> bool:
        """Return whether the submission has rows of a soundscape."""
        return soundscape in self.rows_of

    def add(self, soundscape: str, windows: WindowPredictions, labels: Sequence[str]) -> None:
        """Fill in the rows of a soundscape from its windows, which begin at multiples of a row."""
        column_of = {label: column for column, label in enumerate(self.labels)}
        ours = [index for index, label in enumerate(labels) if label in column_of]
        columns = [column_of[labels[index]] for index in ours]
        row_of = self.rows_of[soundscape]
        for start, probabilities in zip(windows.starts.tolist(), windows.probabilities, strict=True):
            row = row_of.get(start / windows.sample_rate + ROW_S)
            if row is not None:
                self.values[row, columns] = probabilities[ours]

    def fill(self) -> int:
        """Fill every empty cell with the mean of its class, and return how many rows had one.

        Columns of classes that no model has are not counted.
        """
        empty = np.isnan(self.values)
        known = ~empty.all(axis=0)
        n_filled = int(empty[:, known].any(axis=1).sum()) if known.any() else len(self.values)
        sums, counts = np.nansum(self.values, axis=0), (~empty).sum(axis=0)
        means = np.where(counts > 0, sums / np.maximum(counts, 1), self.sample_means)
        self.values = np.where(empty, means[None, :], self.values).astype(np.float32)
        return n_filled

    def frame(self) -> pd.DataFrame:
        """Return a column a class, rows by ``row_id``."""
        index = pd.Index(self.row_ids, name=ROW_ID)
        return pd.DataFrame(self.values, index=index, columns=list(self.labels))
