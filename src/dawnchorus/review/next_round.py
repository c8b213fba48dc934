"""The training of the next round, as a process beside the page."""

from __future__ import annotations

import subprocess
import sys
import threading
from collections.abc import Sequence
from pathlib import Path
from typing import NamedTuple

from dawnchorus.engines.opening import is_run

LOG_NAME = "retrain.log"
_SHOWN = 2000  # letters of the log that the page shows


class RoundState(NamedTuple):
    """State of the training of a next round.

    Attributes
    ----------
    is_running
        Whether it is at work.
    exit_code
        Of the last one; None before the first and while it runs.
    log
        The end of what it has said.

    Examples
    --------
    >>> RoundState(False, None, "").is_running
    False
    """

    is_running: bool
    exit_code: int | None
    log: str


def retraining_process(model: Path, predictions: Path, audio: Path, folder: Path) -> NextRound | None:
    """Return the process of ``dawnchorus retrain`` for a run; None where the model is none.

    Examples
    --------
    >>> from pathlib import Path
    >>> retraining_process(Path("model.onnx"), Path("predictions"), Path("audio"), Path("review")) is None
    True
    """
    if not is_run(model):
        return None
    command = [sys.executable, "-m", "dawnchorus", "retrain", str(model), str(predictions)]
    return NextRound([*command, "--audio", str(audio), "--folder", str(folder)], folder / LOG_NAME)


class NextRound:
    """A command that trains on what was reviewed; one at a time.

    Parameters
    ----------
    command
        The command, as a list.
    log
        File for what it says.

    Examples
    --------
    >>> import sys
    >>> from pathlib import Path
    >>> once = NextRound([sys.executable, "-c", "print('trained')"], Path("retrain.log"))
    >>> once.start().is_running
    True
    >>> once.wait().log
    'trained\\n'
    """

    def __init__(self, command: Sequence[str], log: Path) -> None:
        self.command, self.log = list(command), log
        self._lock = threading.Lock()
        self._process: subprocess.Popen[bytes] | None = None

    def start(self) -> RoundState:
        """Begin the training, unless it is running."""
        with self._lock:
            if self._process is None or self._process.poll() is not None:
                self.log.parent.mkdir(parents=True, exist_ok=True)
                with self.log.open("wb") as file:
                    self._process = subprocess.Popen(
                        self.command, stdin=subprocess.DEVNULL, stdout=file, stderr=subprocess.STDOUT
                    )
                return RoundState(True, None, "")
        return self.state()

    def state(self) -> RoundState:
        """Return what it is doing."""
        code = None if self._process is None else self._process.poll()
        text = "" if self._process is None else self.log.read_text(encoding="utf-8", errors="replace")
        return RoundState(self._process is not None and code is None, code, text[-_SHOWN:])

    def wait(self) -> RoundState:
        """Return its state when it has ended."""
        if self._process is not None:
            self._process.wait()
        return self.state()
