"""Blocks of a job's items on the workers of a Ray cluster, whichever of these are killed meanwhile.

Ray (https://docs.ray.io) starts the workers, and says which are gone. Only names of items go to them, and
counts come back: they read and write files themselves, where the job's process would.
"""

from __future__ import annotations

import logging
import os
import socket
from collections import Counter, deque
from collections.abc import Callable, Hashable, Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager, suppress
from dataclasses import dataclass, replace
from itertools import islice
from pathlib import Path
from typing import Any, Generic, NamedTuple, TypeVar

from dawnchorus.errors import DawnchorusError, MissingExtraError, RunError
from dawnchorus.machine import usable_cores
from dawnchorus.wording import counted, in_line, install_extra

logger = logging.getLogger(__name__)

LOCAL = "local"
_ATTEMPTS = 3
"""So often an item may be with a worker that is killed, and a worker before it has begun."""
_PATIENCE_S = 60.0
_ANSWER_S = 10.0
_STORE_BYTES = 100_000_000  # nothing is kept there

ItemT = TypeVar("ItemT", bound=Hashable)
ResultT = TypeVar("ResultT")
Work = Callable[[Sequence[ItemT]], ResultT]


@dataclass(frozen=True)
class Cluster:
    """A Ray cluster, and what a job takes of it.

    Attributes
    ----------
    address
        ``local`` for the cores of this machine, with which a cluster of its own is started; ``auto`` for the
        cluster that this machine belongs to; ``host:6379``; or ``ray://host:10001`` from outside.
    n_cores
        Cores of each worker, which uses no more.
    n_workers
        Workers; None takes as many as the cluster has cores for when the job begins.
    n_gpus
        GPUs of each worker, beside its cores.

    Examples
    --------
    >>> Cluster("local", n_cores=2).n_workers is None
    True
    """

    address: str
    n_cores: int = 1
    n_workers: int | None = None
    n_gpus: int = 0

    def with_gpus(self) -> Cluster:
        """Return the same with a GPU for each worker, where the connected cluster has some."""
        import ray

        return replace(self, n_gpus=1) if ray.cluster_resources().get("GPU", 0) else self

    @contextmanager
    def connected(self) -> Iterator[int]:
        """Yield the number of workers while this process is connected; within another such block, by that.

        Raises
        ------
        MissingExtraError
            Ray is not installed.
        RunError
            There is no such cluster, or it has no cores for a worker.
        """
        os.environ.setdefault("RAY_USAGE_STATS_ENABLED", "0")  # otherwise Ray tells its makers
        if self.address == LOCAL:
            # Its servers then listen at 127.0.0.1 alone, as they do by themselves on macOS and Windows.
            os.environ.setdefault("RAY_ENABLE_WINDOWS_OR_OSX_CLUSTER", "0")
        try:
            import ray
        except ImportError as error:
            raise MissingExtraError(f"--cluster needs Ray: {install_extra('cluster')}") from error
        if ray.is_initialized():
            yield self._n_workers(ray)
            return
        options: dict[str, Any] = {}
        if self.address == LOCAL:
            options = {
                "num_cpus": max(usable_cores(), self.n_cores),
                "object_store_memory": _STORE_BYTES,
                "include_dashboard": False,
            }
        try:
            _check_port(self.address)
            ray.init(self.address, log_to_driver=False, logging_level=logging.ERROR, **options)
        except (OSError, ValueError, RuntimeError) as error:
            raise RunError(
                f"no cluster answers at {self.address} ({_first_line(error)}); legal: {LOCAL}, auto, "
                "host:6379 or ray://host:10001 of one that ray start has started"
            ) from None
        try:
            yield self._n_workers(ray)
        finally:
            ray.shutdown()

    def _n_workers(self, ray: Any) -> int:
        """Return how many workers find room. Raises RunError where none does."""
        machines = [node["Resources"] for node in ray.nodes() if node["Alive"]]
        n_workers = sum(self._n_in(machine) for machine in machines)
        if not n_workers:
            n_cores = max((machine.get("CPU", 0) for machine in machines), default=0)
            gpu = " and a GPU" if self.n_gpus else ""
            raise RunError(
                f"a worker takes {counted(self.n_cores, 'core')}{gpu} of one machine, and the largest of "
                f"{counted(len(machines), 'machine')} has {n_cores:g}; give --threads less, or wait until "
                "larger ones have joined"
            )
        return self.n_workers or n_workers

    def _n_in(self, machine: Mapping[str, float]) -> int:
        n_workers = machine.get("CPU", 0) // self.n_cores
        if self.n_gpus:
            n_workers = min(n_workers, machine.get("GPU", 0) // self.n_gpus)
        return int(n_workers)


class Killed(NamedTuple):
    """In place of a result: the workers that had an item were killed, time and again.

    Examples
    --------
    >>> Killed("the process that had it was killed 3 times").reason[:11]
    'the process'
    """

    reason: str


def spread(
    cluster: Cluster,
    open_work: Callable[[], Work[ItemT, ResultT]],
    items: Iterable[ItemT],
    *,
    n_items: int,
    largest: int = 16,
) -> Iterator[tuple[Sequence[ItemT], ResultT | Killed]]:
    """Yield blocks of the items and the result of each, in any order.

    A block that a killed worker had goes to others, item by item, and another worker is started in its place.
    With ``local`` and paths from the root on, nothing depends on the folder that this process is in;
    otherwise each worker needs it too.

    Parameters
    ----------
    cluster
        The cluster.
    open_work
        Called once by each worker; must be pickled. What it returns is called with a block.
    items
        The items, small ones, such as names; each is taken when a worker is free for it.
    n_items
        Their number, at most.
    largest
        Items of a block at most: what a worker that is killed leaves to others.

    Raises
    ------
    RunError
        There is no cluster, or none of its workers can begin.
    DawnchorusError
        What the work raises.

    Examples
    --------
    >>> list(spread(Cluster("local"), lambda: sum, [], n_items=0))
    []
    """
    if not n_items:
        return
    with cluster.connected() as n_workers:
        yield from _Job(cluster, open_work, items, (n_items, largest), n_workers).run()


class _Busy(NamedTuple):
    """A worker and the block that it has, none while it begins; and how many before it could not begin."""

    worker: Any
    block: Sequence[Any]
    n_failed: int = 0


class _Job(Generic[ItemT, ResultT]):
    """A job at work: its workers, and the items that are left."""

    def __init__(
        self,
        cluster: Cluster,
        open_work: Callable[[], Work],
        items: Iterable[ItemT],
        sizes: tuple[int, int],
        n_workers: int,
    ) -> None:
        import ray

        self._ray: Any = ray
        self._options = {"num_cpus": cluster.n_cores, "num_gpus": cluster.n_gpus, "max_restarts": 0}
        self._arguments = (open_work, cluster.n_cores, str(Path.cwd()))
        self._left = iter(items)
        self._n_left, self._largest = sizes
        self._again: deque[ItemT] = deque()
        self._attempts: Counter[ItemT] = Counter()
        self._n_workers = min(n_workers, self._n_left)
        self._busy: dict[Any, _Busy] = {}

    def run(self) -> Iterator[tuple[Sequence[ItemT], ResultT | Killed]]:
        for _ in range(self._n_workers):
            self._start()
        while self._busy:
            done, _ = self._ray.wait(list(self._busy), timeout=_PATIENCE_S)
            if not done and not any(busy.block for busy in self._busy.values()):
                n_free = self._ray.available_resources().get("CPU", 0)
                logger.warning(
                    f"no worker has begun yet; each takes {self._options['num_cpus']} of the cluster's "
                    f"cores, of which {n_free:g} are free now"
                )
            for reference in done:
                yield from self._ended(reference)
            if self._is_done():
                break  # workers that have not begun are not waited for
        for busy in self._busy.values():
            self._ray.kill(busy.worker)

    def _is_done(self) -> bool:
        return not (self._n_left or self._again or any(busy.block for busy in self._busy.values()))

    def _ended(self, reference: Any) -> Iterator[tuple[Sequence[ItemT], ResultT | Killed]]:
        busy = self._busy.pop(reference)
        try:
            result = self._ray.get(reference)
        except self._ray.exceptions.RayTaskError as error:
            raise _cause_of(error) from error
        except self._ray.exceptions.RayError as error:  # the worker, or its machine, is gone
            with suppress(Exception):
                self._ray.kill(busy.worker)
            yield from self._given_up(busy, error)
            return
        if busy.block:
            yield busy.block, result
        block = self._next_block()
        if block:
            self._busy[busy.worker.do.remote(block)] = _Busy(busy.worker, block)
        else:
            self._ray.kill(busy.worker)

    def _given_up(self, busy: _Busy, error: Exception) -> Iterator[tuple[Sequence[ItemT], Killed]]:
        """Take back what a worker had that was killed, and start another."""
        n_failed = 0 if busy.block else busy.n_failed + 1
        for item in busy.block:
            self._attempts[item] += 1
            if self._attempts[item] < _ATTEMPTS:
                self._again.append(item)
            else:
                n_times = self._attempts.pop(item)
                yield [item], Killed(f"the process that had it was killed, {n_times} times")
        if n_failed < _ATTEMPTS:
            self._start(n_failed)
        elif not self._busy:
            raise RunError(f"no worker can begin: {_first_line(error)}")

    def _start(self, n_failed: int = 0) -> None:
        actor: Any = self._ray.remote(_Worker)
        worker = actor.options(**self._options).remote(*self._arguments)
        self._busy[worker.begin.remote()] = _Busy(worker, (), n_failed)

    def _next_block(self) -> list[ItemT]:
        if self._again:
            return [self._again.popleft()]
        size = min(max(self._n_left // (4 * self._n_workers), 1), self._largest)
        block = list(islice(self._left, size))
        self._n_left = self._n_left - size if block else 0  # there may be fewer items than were said
        return block


class _Worker:
    """A process of the cluster that does blocks of a job."""

    def __init__(self, open_work: Callable[[], Work], n_cores: int, folder: str) -> None:
        self._open_work, self._n_cores = open_work, n_cores
        with suppress(OSError):  # names from the root on, and addresses, need none
            os.chdir(folder)
        self._work: Work | None = None

    def begin(self) -> None:
        """Open what the work needs. Raises what that raises, with the machine's name."""
        _limit_threads(self._n_cores)
        try:
            self._work = self._open_work()
        except DawnchorusError as error:
            raise RunError(f"worker on {socket.gethostname()}: {error}") from error
        _limit_threads(self._n_cores)

    def do(self, block: Sequence[Any]) -> Any:
        assert self._work is not None
        return self._work(block)


def _check_port(address: str) -> None:
    """Raise OSError where an address with a port does not answer, for which Ray would wait for minutes."""
    host, _, port = address.removeprefix("ray://").rpartition(":")
    if host and port.isdigit():
        socket.create_connection((host.strip("[]"), int(port)), timeout=_ANSWER_S).close()


def _limit_threads(n_threads: int) -> None:
    """Let libraries compute with so many threads, also those loaded later; engines have own settings."""
    from threadpoolctl import threadpool_limits

    for name in ("OMP_NUM_THREADS", "OPENBLAS_NUM_THREADS", "MKL_NUM_THREADS"):
        os.environ[name] = str(n_threads)
    threadpool_limits(n_threads)


def _cause_of(error: Any) -> BaseException:
    """Return what a worker has raised, as the job's own process would have raised it."""
    cause = error.cause
    return cause if isinstance(cause, DawnchorusError | OSError) else error


def _first_line(error: Exception) -> str:
    lines = [line for line in str(error).splitlines() if line.strip()]
    return in_line(lines[0]) if lines else type(error).__name__
