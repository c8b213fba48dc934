"""Recordings with labels and the embeddings of their windows: what heads are fitted to, and scored on."""

from __future__ import annotations

from pathlib import Path
from typing import NamedTuple

import numpy as np
import numpy.typing as npt
import pandas as pd

from dawnchorus.engines import Engine
from dawnchorus.errors import DataError
from dawnchorus.files import Failure, from_legible
from dawnchorus.models.probe_head import HeadKind
from dawnchorus.pipelines.frozen_embeddings import WindowEmbeddings, embed_recordings
from dawnchorus.pipelines.probe_heads import Examples, fit_head, joined
from dawnchorus.recordings.labels import UNKNOWN, LabelMap
from dawnchorus.recordings.time_labels import Boxes, time_targets
from dawnchorus.wording import counted

_PATHS = ("audio_path", "stored_path")
_SHORTEST = 0.5  # of a window: what a recording's end cuts shorter is no example where there are longer ones


class LabelledEmbeddings(NamedTuple):
    """Recordings with the embeddings of their windows and their labels.

    Attributes
    ----------
    table
        The recordings, a row each.
    labels
        The classes.
    windows
        Embeddings of each recording.
    targets
        Shape (n_recordings, n_classes), in {0, 1}; -1 where unknown.
    examples
        What heads are fitted to: of a recording with labels in time each window, of others the windows of at
        least half their length, which together weigh as much as one.
    failures
        Recordings that could not be read, with the reason.

    Examples
    --------
    >>> from dawnchorus import open_engine
    >>> from dawnchorus.recordings.recordings_table import label_map_of, load_recordings
    >>> table = load_recordings("recordings").table
    >>> found = LabelledEmbeddings.of(open_engine("model", n_threads=1), table, label_map_of(table))
    >>> found.targets.shape, found.examples.features.shape
    ((8, 2), (8, 96))
    """

    table: pd.DataFrame
    labels: LabelMap
    windows: tuple[WindowEmbeddings, ...]
    targets: npt.NDArray[np.float32]
    examples: Examples
    failures: tuple[Failure, ...]

    @classmethod
    def of(
        cls, engine: Engine, table: pd.DataFrame, labels: LabelMap, *, cache: Path | None = None
    ) -> LabelledEmbeddings:
        """Return the recordings that can be read, embedded by a model.

        Parameters
        ----------
        engine
            The model.
        table
            Recordings, as :func:`dawnchorus.load_recordings` returns them.
        labels
            The classes.
        cache
            Folder that embeddings are kept in.

        Raises
        ------
        DataError
            None can be read.
        ModelError
            The model gives no embeddings.
        """
        audio, stored = ([Path(from_legible(path)) for path in table[name]] for name in _PATHS)
        paths = [raw if raw.is_file() else kept for raw, kept in zip(audio, stored, strict=True)]
        embedded = embed_recordings(engine, paths, cache=cache)
        is_there = [windows is not None for windows in embedded.recordings]
        if not any(is_there):
            raise DataError(f"none of the recordings can be read: {embedded.failures[0].reason}")
        rows = table[is_there].reset_index(drop=True)
        windows = tuple(found for found in embedded.recordings if found is not None)
        facts = rows.to_dict("records")
        targets = np.stack([_target(row, labels) for row in facts])
        window_s = engine.card.segment_len
        examples = joined(
            _examples_of(found, row.get("boxes"), target, labels, window_s)
            for found, row, target in zip(windows, facts, targets, strict=True)
        )
        return cls(rows, labels, windows, targets, examples, embedded.failures)

    def grouped(self, groups: npt.NDArray[np.int64]) -> LabelledEmbeddings:
        """Return the same with the group of each recording, shape (n_recordings,), that no part may split."""
        of_each = groups[self.examples.recordings]
        return self._replace(examples=self.examples._replace(groups=of_each))

    def __repr__(self) -> str:
        n = counted(len(self.windows), "recording")
        return f"LabelledEmbeddings({n}, {counted(len(self.labels), 'class', 'classes')})"


def _target(row: dict[str, object], labels: LabelMap) -> npt.NDArray[np.float32]:
    """Return 1 for each label of a recording, -1 for species that nobody looked for; shape (n_classes,)."""
    asked, boxes, secondary = (row.get(name) for name in ("known_labels", "boxes", "secondary_labels"))
    target = np.zeros(len(labels), np.float32)
    if isinstance(asked, tuple) and asked:
        target[:] = UNKNOWN
        target[labels.indices(asked)] = 0
    heard = [row["primary_label"], *(secondary if isinstance(secondary, tuple) else ())]
    if isinstance(boxes, tuple):
        heard = [label for _, _, label in boxes]
    target[labels.indices(map(str, heard))] = 1
    return target


def _examples_of(
    windows: WindowEmbeddings,
    boxes: object,
    target: npt.NDArray[np.float32],
    labels: LabelMap,
    window_s: float,
) -> Examples:
    """Return the examples that a recording gives, each window with boxes a bag of its own."""
    share = (windows.stop_s - windows.start_s) / window_s
    used = share >= _SHORTEST if (share >= _SHORTEST).any() else share >= share.max()
    n_used = int(used.sum())
    targets = np.repeat(target[None], n_used, axis=0)
    if isinstance(boxes, tuple):
        of_time = time_targets(
            windows.start_s[used], windows.stop_s[used], Boxes.of(boxes, labels), len(labels)
        )
        targets = np.where((target < 0) & (of_time < 0.5), np.float32(UNKNOWN), of_time)
    none = np.zeros(n_used, np.int64)
    if isinstance(boxes, tuple):
        return Examples(windows.features[used], targets, none, np.arange(n_used), none, np.ones(n_used))
    return Examples(windows.features[used], targets, none, none, none, np.full(n_used, 1 / n_used))


def fold_by_fold(
    found: LabelledEmbeddings,
    folds: npt.NDArray[np.int64],
    validated: npt.NDArray[np.bool_],
    head: HeadKind,
    seed: int = 0,
) -> npt.NDArray[np.float32]:
    """Return the scores of recordings by heads fitted without their fold, shape (n_recordings, n_classes).

    A recording's score is the maximum over its windows, as in ``train``. Rows that are not validated are 0.

    Parameters
    ----------
    found
        Recordings with embeddings.
    folds, validated
        Fold of each recording, and whether its head is tested on it, shape (n_recordings,).
    head, seed
        As for :func:`dawnchorus.pipelines.probe_heads.fit_head`.

    Examples
    --------
    >>> import numpy as np
    >>> from dawnchorus import open_engine
    >>> from dawnchorus.recordings.recordings_table import label_map_of, load_recordings
    >>> table = load_recordings("recordings").table
    >>> found = LabelledEmbeddings.of(open_engine("model", n_threads=1), table, label_map_of(table))
    >>> fold_by_fold(found, np.array([0, 1] * 4), np.ones(8, bool), "prototype").shape
    (8, 2)
    """
    scores = np.zeros(found.targets.shape, np.float32)
    for fold in np.unique(folds[validated]):
        learnt = folds[found.examples.recordings] != fold
        fitted = fit_head(head, found.examples.of(learnt), seed=seed).head
        for row in np.flatnonzero((folds == fold) & validated):
            scores[row] = fitted.scores(found.windows[row].features).max(axis=0)
    return scores
