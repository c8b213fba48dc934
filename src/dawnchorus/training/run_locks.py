"""Locks on a run: one process prepares it at a time, and one trains a fold.

Only the first process of a data-parallel training takes them. A lock ends with its process, even if that is
killed.
"""

from __future__ import annotations

import logging
import time
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager, suppress
from pathlib import Path
from types import TracebackType
from typing import Self

from dawnchorus.errors import RunError
from dawnchorus.files import locked
from dawnchorus.runs import Run

logger = logging.getLogger(__name__)

_PATIENCE_S, _LOOK_EVERY_S = 1800.0, 0.2


class RunLocks:
    """The locks of a training, held until its block ends.

    Parameters
    ----------
    run
        The run.
    is_needed
        False in the other processes of a data-parallel training, which take no lock.

    Examples
    --------
    >>> from dawnchorus.runs import Run
    >>> with RunLocks(Run.open("logdirs/tiny")) as locks, locks.preparing():
    ...     pass  # nobody else writes the run meanwhile
    """

    def __init__(self, run: Run, *, is_needed: bool = True) -> None:
        self.run, self.is_needed = run, is_needed
        self._held = ExitStack()

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        self._held.close()

    @contextmanager
    def preparing(self) -> Iterator[None]:
        """Hold the lock for writing the run and for beginning folds; wait until no other process has it.

        Raises
        ------
        RunError
            Another process has held it for half an hour.
        """
        if not self.is_needed:
            yield
            return
        # Beside the run, whose folder does not exist yet, and is not made if the config turns out wrong.
        file = self.run.path.with_name(f".{self.run.path.name}.lock")
        new_folders = [folder for folder in file.parents if not folder.exists()]
        waited_until, is_told = time.monotonic() + _PATIENCE_S, False
        while True:
            file.parent.mkdir(parents=True, exist_ok=True)
            with locked(file) as is_ours:
                if is_ours:
                    try:
                        yield
                    finally:
                        if not self.run.path.exists():
                            _remove(file, new_folders)
                    return
            if not is_told:
                logger.info("%s is being prepared by another process; waiting for it", self.run.path)
                is_told = True
            if time.monotonic() > waited_until:
                raise RunError(
                    f"{self.run.path} has been prepared by another process for half an hour; end that one, "
                    "or choose another exp_name"
                )
            time.sleep(_LOOK_EVERY_S)

    def hold(self, fold: int) -> None:
        """Hold the lock of a fold, instead of the one held so far; call it while :meth:`preparing`.

        Raises
        ------
        RunError
            Another process trains the fold.
        """
        self._held.close()
        if self.is_needed and not self._held.enter_context(locked(self.run.fold_lock(fold))):
            raise RunError(
                f"fold {fold} of {self.run.path} is being trained by another process; wait for it, train "
                "other folds with --folds, or choose another exp_name"
            )


def _remove(file: Path, folders: list[Path]) -> None:
    """Remove a file, and those of the folders above it that are then empty."""
    with suppress(OSError):  # Windows cannot remove an open file
        file.unlink()
        for folder in folders:
            folder.rmdir()


def is_being_trained(run: Run) -> bool:
    """Return whether another process trains a fold of a run; call it while :meth:`RunLocks.preparing`.

    Examples
    --------
    >>> from dawnchorus.runs import Run
    >>> is_being_trained(Run.open("logdirs/tiny"))
    False
    """
    for file in run.path.glob(run.fold_lock("*").name):
        with locked(file) as is_free:
            if not is_free:
                return True
    return False
