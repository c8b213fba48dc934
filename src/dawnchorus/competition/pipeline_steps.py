"""Pipelines of commands: each has a line of status and a log, and is run once.

A step that ended well is not run again, unless its command or a config that it names has changed, its output
is gone, or a step before it is run again. A killed step goes on from what its command had done.
"""

from __future__ import annotations

import hashlib
import json
import os
import subprocess
import sys
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from dawnchorus.config import Record, config_chain, read_json_if_sound
from dawnchorus.errors import RunError
from dawnchorus.files import locked, write_text

DONE_NAME = "done.json"
_LOCK_NAME = ".lock"
_SOME_FAILED = 2  # exit code of a command that finished, with failures listed
_SHOWN_LINES = 12  # of the log of a step that failed


@dataclass(frozen=True)
class Step:
    """One command.

    Attributes
    ----------
    name
        A few words for people.
    command
        Arguments of ``dawnchorus``; paths are relative to the folder that the steps run in.
    makes
        Globs of its output.
    speed
        Further arguments, which change its speed and not its output.
    configs
        Config files that it reads.
    disk
        Disk space that it needs, for people.
    must_be_whole
        Whether failures that it lists stop the steps after it.

    Examples
    --------
    >>> step = Step("make the miniature", ("miniature", "data"), makes=("data/train.csv",))
    >>> str(step)
    'dawnchorus miniature data'
    """

    name: str
    command: tuple[str, ...]
    makes: tuple[str, ...]
    speed: tuple[str, ...] = ()
    configs: tuple[Path, ...] = ()
    disk: str = ""
    must_be_whole: bool = False

    def __str__(self) -> str:
        return "dawnchorus " + " ".join([*self.command, *self.speed])

    def is_made(self, folder: Path) -> bool:
        """Return whether all its output is in the folder that the steps run in."""
        return all(any(folder.glob(pattern)) for pattern in self.makes)


@dataclass(frozen=True)
class StepsResult:
    """Outcome of steps.

    Attributes
    ----------
    n_run, n_skipped
        Steps that were run now, and those that had been run before.
    incomplete
        Names of steps that finished and listed failures.
    seconds
        The time it took.

    Examples
    --------
    >>> StepsResult(n_run=3, n_skipped=0, incomplete=(), seconds=12.5).n_run
    3
    """

    n_run: int
    n_skipped: int
    incomplete: tuple[str, ...]
    seconds: float


class DoneStep(Record):
    """A step in ``done.json``: a fingerprint of it and of all before it, and its exit code.

    Examples
    --------
    >>> DoneStep(fingerprint="0a1b", exit_code=0).exit_code
    0
    """

    fingerprint: str
    exit_code: int


def run_steps(
    steps: Sequence[Step],
    folder: Path,
    *,
    environment: Mapping[str, str] | None = None,
    say: Callable[[str], object] = sys.stderr.write,
) -> StepsResult:
    """Run steps one after the other in a folder, and report each in a line: its beginning, then its end.

    Parameters
    ----------
    steps
        The steps.
    folder
        Working directory of the commands; logs go to ``logs`` in it.
    environment
        Variables for the commands besides those of this process.
    say
        Called with text: first the beginning of a line, then the rest.

    Raises
    ------
    RunError
        A step failed; the message holds the end of its log. Or other steps are at work in the folder.

    Examples
    --------
    >>> from pathlib import Path
    >>> said = []
    >>> result = run_steps([Step("show the help", ("--help",), makes=())], Path(), say=said.append)
    >>> result.n_run, "show the help" in "".join(said)
    (1, True)
    """
    logs = folder / "logs"
    logs.mkdir(parents=True, exist_ok=True)
    with locked(logs / _LOCK_NAME, inherited=True) as is_free:
        if not is_free:
            raise RunError(
                f"{folder}: another pipeline is at work here, or a step of one that was killed; wait for it, "
                f"or end it: the newest log in {logs} says what it is"
            )
        return _run_steps(steps, folder, logs, {**os.environ, **(environment or {})}, say)


def _run_steps(
    steps: Sequence[Step],
    folder: Path,
    logs: Path,
    environment: Mapping[str, str],
    say: Callable[[str], object],
) -> StepsResult:
    started = time.monotonic()
    # Without a sound record, no step counts as done.
    done = read_json_if_sound(logs / DONE_NAME, dict[str, DoneStep]) or {}
    n_run, above = 0, ""
    incomplete: list[str] = []
    for number, step in enumerate(steps, start=1):
        above = _fingerprint(step, above)
        say(f"[{number:2d}/{len(steps)}] {step.name} ... ")
        earlier = done.get(step.name)
        if earlier is not None and earlier.fingerprint == above and step.is_made(folder):
            say("done before\n")
            exit_code = earlier.exit_code
        else:
            # Later steps depend on it, and so are run again too, even after a kill.
            done = {before.name: done[before.name] for before in steps[: number - 1]}
            _write_done(logs, done)
            log = logs / f"{number:02d}_{step.name.replace(' ', '_')}.log"
            began = time.monotonic()
            try:
                exit_code = _run(step, folder, log, environment)
            except (RunError, KeyboardInterrupt, SystemExit):
                say(f"stopped after {_duration_text(time.monotonic() - began)}; the same command goes on\n")
                raise
            n_run += 1
            done[step.name] = DoneStep(fingerprint=above, exit_code=exit_code)
            _write_done(logs, done)
            some = f", with failures listed in {log}" if exit_code == _SOME_FAILED else ""
            say(f"done in {_duration_text(time.monotonic() - began)}{some}\n")
        if exit_code == _SOME_FAILED:
            incomplete.append(step.name)
    return StepsResult(n_run, len(steps) - n_run, tuple(incomplete), time.monotonic() - started)


def _run(step: Step, folder: Path, log: Path, environment: Mapping[str, str]) -> int:
    """Run one command with its output in its log; return its exit code, 0 or that of some failures."""
    with log.open("wb") as file:
        file.write(f"$ {step}\n".encode())
        file.flush()
        command = [sys.executable, "-m", "dawnchorus", *step.command, *step.speed]
        process = subprocess.run(
            command,
            cwd=folder,
            env=environment,
            stdout=file,
            stderr=subprocess.STDOUT,
            check=False,
            close_fds=False,
        )
    text = log.read_text(encoding="utf-8", errors="replace").rstrip().splitlines()
    # The command line's own exit code for wrong arguments is the same.
    is_done = step.is_made(folder) and not any(line.startswith("Usage: ") for line in text)
    is_good = process.returncode == 0 or (process.returncode == _SOME_FAILED and is_done)
    if not is_good or (process.returncode and step.must_be_whole):
        last = "\n".join(f"    {line}" for line in text[-_SHOWN_LINES:])
        raise RunError(
            f"the step {step.name!r} ended with exit code {process.returncode}:\n{last}\n"
            f"The whole of it is in {log}. When that is mended, the same command goes on from here."
        )
    return process.returncode


def _write_done(logs: Path, done: Mapping[str, DoneStep]) -> None:
    write_text(
        logs / DONE_NAME, json.dumps({name: dict(step) for name, step in done.items()}, indent=2) + "\n"
    )


def _fingerprint(step: Step, above: str) -> str:
    """Return a digest that changes with a step, its configs or any step before it."""
    digest = hashlib.sha256("\0".join([above, *step.command]).encode())
    for config in step.configs:
        for file in config_chain(config):
            digest.update(file.read_bytes())
    return digest.hexdigest()[:16]


def _duration_text(seconds: float) -> str:
    if seconds < 90:
        return f"{seconds:.0f} s"
    return f"{seconds / 60:.0f} min" if seconds < 5400 else f"{seconds / 3600:.1f} h"
