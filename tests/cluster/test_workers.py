"""Blocks of items on workers of a Ray cluster, which are killed, cannot begin, or use too many cores."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from dawnchorus.cluster.workers import Cluster, Killed, spread
from dawnchorus.errors import DataError, MissingExtraError, RunError

pytestmark = pytest.mark.stress


@pytest.fixture(autouse=True)
def _has_ray() -> None:
    pytest.importorskip("ray")


def test_without_ray_the_extra_is_named(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "ray", None)
    with pytest.raises(MissingExtraError, match=r"--cluster needs Ray: .*\[cluster\]"):
        list(spread(Cluster("local"), lambda: sum, [1], n_items=1))


@pytest.mark.parametrize("address", ["127.0.0.1:1", "ray://127.0.0.1:1", "nowhere.invalid:6379"])
def test_an_address_without_a_cluster_is_named(address: str) -> None:
    with pytest.raises(RunError, match=rf"no cluster answers at {address} .*; legal: local, auto"):
        list(spread(Cluster(address), lambda: sum, [1], n_items=1))


def test_each_item_is_done_once_and_one_that_kills_is_named(tmp_path: Path) -> None:
    def open_work() -> Callable[[Sequence[int]], list[int]]:
        def work(block: Sequence[int]) -> list[int]:
            if 7 in block or (13 in block and not (tmp_path / "13").exists()):
                (tmp_path / "13").touch()
                os.kill(os.getpid(), signal.SIGKILL)
            return [10 * item for item in block]

        return work

    done: dict[int, int] = {}
    killed: list[tuple[Sequence[int], str]] = []
    for block, result in spread(Cluster("local", n_workers=2), open_work, range(40), n_items=40):
        if isinstance(result, Killed):
            killed.append((block, result.reason))
        else:
            done.update(zip(block, result, strict=True))
    assert done == {item: 10 * item for item in range(40) if item != 7}
    assert killed == [([7], "the process that had it was killed, 3 times")]


def test_what_work_raises_is_raised_here() -> None:
    def open_work() -> Any:
        def work(block: Sequence[int]) -> int:
            raise DataError("night.wav: no room")

        return work

    with pytest.raises(DataError, match=r"^night.wav: no room$"):
        list(spread(Cluster("local", n_workers=1), open_work, [1, 2], n_items=2))


def test_workers_that_cannot_begin_end_the_job() -> None:
    def killed() -> Any:
        os.kill(os.getpid(), signal.SIGKILL)

    with pytest.raises(RunError, match=r"no worker can begin"):
        list(spread(Cluster("local", n_workers=2), killed, [1, 2], n_items=2))


def test_a_worker_larger_than_the_cluster_is_refused() -> None:
    import ray

    ray.init("local", num_cpus=1, log_to_driver=False, include_dashboard=False)
    try:
        with pytest.raises(
            RunError, match=r"a worker takes 64 cores of one machine, and the largest of 1 machine has 1"
        ):
            list(spread(Cluster("local", n_cores=64), lambda: sum, [1], n_items=1))
    finally:
        ray.shutdown()


def test_workers_fit_into_single_machines() -> None:
    import ray
    from ray.cluster_utils import Cluster as Nodes

    nodes = Nodes(initialize_head=True, head_node_args={"num_cpus": 3})
    nodes.add_node(num_cpus=3)
    ray.init(nodes.address, log_to_driver=False)
    try:
        with Cluster(nodes.address, n_cores=2).connected() as n_workers:
            assert n_workers == 2
        with pytest.raises(RunError, match="of one machine"), Cluster(nodes.address, n_cores=4).connected():
            pass
    finally:
        ray.shutdown()
        nodes.shutdown()


def test_workers_that_are_not_needed_are_not_waited_for() -> None:
    def open_work() -> Any:
        return len

    done = [block for block, _ in spread(Cluster("local", n_workers=30), open_work, range(30), n_items=60)]
    assert sorted(item for block in done for item in block) == list(range(30))


def test_a_local_cluster_listens_to_this_machine_alone() -> None:
    script = """
import psutil
from dawnchorus.cluster.workers import Cluster

with Cluster("local").connected():
    me = psutil.Process()
    for process in (me, *me.children(recursive=True)):
        for each in process.net_connections(kind="inet"):
            if each.status == psutil.CONN_LISTEN:
                print(each.laddr.ip)
"""
    command = [sys.executable, "-c", script]
    listening = subprocess.run(command, capture_output=True, text=True, check=True).stdout.split()
    assert set(listening) <= {"127.0.0.1", "::ffff:127.0.0.1", "::1"}
    assert listening


@pytest.mark.parametrize("n_cores", [1, 2])
def test_a_worker_computes_with_the_threads_that_it_was_given(n_cores: int) -> None:
    def open_work() -> Any:
        import torch
        from threadpoolctl import threadpool_info

        def work(block: Sequence[int]) -> tuple[set[int], int, float]:
            rng = np.random.default_rng(0)
            matrix = rng.normal(size=(900, 900))
            start, start_cpu = time.perf_counter(), time.process_time()
            while time.perf_counter() - start < 1:
                matrix @ matrix
                torch.from_numpy(matrix) @ torch.from_numpy(matrix)
            share = (time.process_time() - start_cpu) / (time.perf_counter() - start)
            return {each["num_threads"] for each in threadpool_info()}, torch.get_num_threads(), share

        return work

    ((_, result),) = spread(Cluster("local", n_cores=n_cores, n_workers=1), open_work, [1], n_items=1)
    assert not isinstance(result, Killed)
    pools, n_torch, share = result
    assert pools == {n_cores}
    assert n_torch == n_cores
    assert share < n_cores + 0.2


@pytest.mark.timeout(1800)
def test_a_million_names_are_dealt_at_once_and_in_constant_memory() -> None:
    def open_work() -> Any:
        return len

    def resident_mb() -> float:
        return int(Path("/proc/self/statm").read_text().split()[1]) * 4096 / 1e6

    n_names, n_done, largest_mb = 10**6, 0, 0.0
    started = time.perf_counter()
    for block, result in spread(Cluster("local", n_workers=2), open_work, range(n_names), n_items=n_names):
        if not n_done:
            assert time.perf_counter() - started < 60
            first_mb = resident_mb()
        n_done += len(block)
        assert result == len(block)
        if n_done % 1000 < len(block):
            largest_mb = max(largest_mb, resident_mb() - first_mb)
    assert n_done == n_names
    assert largest_mb < 50
