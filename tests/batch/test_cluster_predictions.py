"""Recordings that the workers of a Ray cluster predict → the tables of one process, bit for bit."""

from __future__ import annotations

import hashlib
import os
import random
import shutil
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import h5py
import numpy as np
import pytest
from typer.testing import CliRunner

from dawnchorus.batch.bulk import predict_bulk
from dawnchorus.batch.bulk_output import BulkPredictions
from dawnchorus.batch.bulk_settings import BulkSettings
from dawnchorus.batch.cluster_predictions import ClusterPrediction
from dawnchorus.batch.journal import JOURNAL_NAME
from dawnchorus.cli import app
from dawnchorus.cluster.workers import Cluster
from dawnchorus.engines.ensembles import Ensemble, WeightedModel
from dawnchorus.errors import RunError
from dawnchorus.files.storage import as_path
from dawnchorus.formats import FORMATS
from dawnchorus.predict.detections import DetectionSettings
from dawnchorus.predict.postprocess import PostprocessSettings
from dawnchorus.predict.recording_files import find_recordings

RATE = 16_000
N_RECORDINGS = 24
SETTINGS = BulkSettings(
    DetectionSettings(np.float32([0.1, 0.3, np.inf]), top_k=2, merge=True),
    formats=tuple(FORMATS),
    overlap_s=0.5,
    postprocess=PostprocessSettings(smoothing=(0.25, 0.5, 0.25)),
    with_embeddings=True,
)


@pytest.fixture(autouse=True)
def _has_ray() -> None:
    pytest.importorskip("ray")


@pytest.fixture
def folder(data_factory: Any) -> Path:
    """Recordings of several kinds and lengths, and one that cannot be read."""
    rng = np.random.default_rng(0)
    for number in range(N_RECORDINGS):
        suffix = (".wav", ".flac", ".ogg", ".mp3")[number % 4]
        length_s = float(rng.uniform(0.5, 9))
        data_factory.tone(f"site_{number % 3}/{number:02}{suffix}", length_s, 700 + 50 * number, RATE)
    root = Path(data_factory.root)
    (root / "broken.wav").write_bytes(b"RIFF")
    return root


def tables_in(out: Path) -> dict[str, str]:
    """Return a digest of every file below a folder but the journal's."""
    files = [path for path in sorted(out.rglob("*")) if path.is_file()]
    digests = {
        path.relative_to(out).as_posix(): hashlib.sha256(path.read_bytes()).hexdigest() for path in files
    }
    return {name: digest for name, digest in digests.items() if not name.startswith(JOURNAL_NAME)}


def entries_of(out: Path) -> dict[str, int]:
    """Return when each entry of the journal was written."""
    return {path.name: path.stat().st_mtime_ns for path in (out / JOURNAL_NAME).glob("??/[!.]*.npz")}


def ensemble_of(exported: Any) -> Ensemble:
    return Ensemble([WeightedModel(exported.onnx.parent)], n_threads=1)


def predict_alone(exported: Any, folder: Path, out: Path) -> BulkPredictions:
    engine = ensemble_of(exported).open()
    return predict_bulk(engine, find_recordings([str(folder)]), out, SETTINGS)


def predict_spread(
    exported: Any, folder: Path, out: Path, cluster: Cluster, **options: Any
) -> BulkPredictions:
    ensemble = ensemble_of(exported)
    prediction = ClusterPrediction(ensemble, cluster, out)
    found = find_recordings([str(folder)])
    return predict_bulk(ensemble.open(), found, out, SETTINGS, prediction=prediction, **options)


def test_a_local_cluster_writes_the_tables_of_one_process(
    folder: Path, tmp_path: Path, exported: Any
) -> None:
    alone = predict_alone(exported, folder, tmp_path / "alone")
    made = predict_spread(exported, folder, tmp_path / "out", Cluster("local", n_workers=2))
    assert made.n_new == N_RECORDINGS
    assert [failure.path.name for failure in made.failures] == ["broken.wav"]
    assert made.counts == alone.counts
    assert tables_in(tmp_path / "out") == tables_in(tmp_path / "alone")
    before = entries_of(tmp_path / "out")
    assert predict_alone(exported, folder, tmp_path / "out").n_new == 0
    assert entries_of(tmp_path / "out") == before


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["--workers", "2"], "--workers is for a job on a cluster"),
        (["--cluster", "local", "--shard", "1/2"], "--shard does a part without a cluster"),
    ],
)
def test_options_that_contradict_one_another_are_refused(
    folder: Path, exported: Any, arguments: list[str], message: str
) -> None:
    result = CliRunner().invoke(app, ["predict", str(exported.onnx.parent), str(folder), *arguments])
    assert result.exit_code == 1
    assert message in str(result.exception)


class Nodes:
    """A Ray cluster of nodes of one core each, on this machine."""

    def __init__(self) -> None:
        from ray.cluster_utils import Cluster as RayCluster

        os.environ["RAY_USAGE_STATS_ENABLED"] = "0"
        options = {"num_cpus": 0, "include_dashboard": False, "object_store_memory": 10**8}
        self.cluster = RayCluster(initialize_head=True, head_node_args=options)
        self.workers: list[Any] = []

    @property
    def address(self) -> str:
        return str(self.cluster.address)

    def fill(self, n_nodes: int) -> None:
        """Let there be so many nodes again."""
        while len(self.workers) > n_nodes:
            self.cluster.remove_node(self.workers.pop())
        while len(self.workers) < n_nodes:
            self.workers.append(self.cluster.add_node(num_cpus=1, object_store_memory=10**8))

    def processes(self) -> list[int]:
        """Return the processes in which workers of a job are."""
        found = []
        for node in self.workers:
            raylet = node.all_processes["raylet"][0].process.pid
            children = Path(f"/proc/{raylet}/task/{raylet}/children")
            for child in children.read_text().split() if children.exists() else ():
                if b"ray::_Worker" in Path(f"/proc/{child}/cmdline").read_bytes():
                    found.append(int(child))
        return found


@pytest.fixture(scope="module")
def all_nodes() -> Iterator[Nodes]:
    pytest.importorskip("ray")
    made = Nodes()
    yield made
    made.cluster.shutdown()


@pytest.fixture
def nodes(all_nodes: Nodes) -> Nodes:
    all_nodes.fill(2)
    return all_nodes


@pytest.mark.stress
@pytest.mark.parametrize("n_workers", [1, 2, 4])
def test_any_number_of_workers_on_several_nodes_writes_the_same(
    folder: Path, tmp_path: Path, exported: Any, n_workers: int, nodes: Nodes
) -> None:
    nodes.fill(n_workers)
    predict_alone(exported, folder, tmp_path / "alone")
    made = predict_spread(exported, folder, tmp_path / "out", Cluster(nodes.address, n_workers=n_workers))
    assert made.n_new == N_RECORDINGS
    assert tables_in(tmp_path / "out") == tables_in(tmp_path / "alone")


def arguments_of(exported: Any, folder: Path, out: Path, *more: str) -> list[str]:
    model = str(exported.onnx.parent)
    return ["predict", model, str(folder), "--out", str(out), "--threads", "1", "--threshold", "0.1", *more]


def started(exported: Any, folder: Path, out: Path, address: str) -> subprocess.Popen[bytes]:
    """Return the command, at work in a process of its own."""
    arguments = arguments_of(exported, folder, out, "--cluster", address)
    with out.with_suffix(".log").open("wb") as log:
        return subprocess.Popen([sys.executable, "-m", "dawnchorus", *arguments], stdout=log, stderr=log)


def when_some_are_done(job: subprocess.Popen[bytes], out: Path, n_entries: int) -> None:
    while job.poll() is None and len(entries_of(out)) < n_entries:
        time.sleep(0.01)


def kill_a_worker(nodes: Nodes, job: subprocess.Popen[bytes], rng: random.Random) -> None:
    processes = nodes.processes()
    if processes:
        os.kill(rng.choice(processes), signal.SIGKILL)


def kill_a_node(nodes: Nodes, job: subprocess.Popen[bytes], rng: random.Random) -> None:
    nodes.cluster.remove_node(nodes.workers.pop(rng.randrange(len(nodes.workers))), allow_graceful=False)


def kill_the_job(nodes: Nodes, job: subprocess.Popen[bytes], rng: random.Random) -> None:
    job.kill()


@pytest.mark.stress
@pytest.mark.timeout(1200)
@pytest.mark.parametrize("kill", [kill_a_worker, kill_a_node, kill_the_job])
@pytest.mark.parametrize("seed", range(int(os.environ.get("DAWNCHORUS_STRESS_KILLS", "3"))))
def test_a_job_that_loses_processes_writes_the_same_and_predicts_nothing_twice(
    folder: Path, tmp_path: Path, exported: Any, nodes: Nodes, kill: Callable[..., None], seed: int
) -> None:
    out, rng = tmp_path / "out", random.Random(seed)
    arguments = arguments_of(exported, folder, tmp_path / "alone")
    assert CliRunner().invoke(app, arguments).exit_code == 2
    job = started(exported, folder, out, nodes.address)
    when_some_are_done(job, out, rng.randrange(0, N_RECORDINGS))
    done = entries_of(out)
    kill(nodes, job, rng)
    status = job.wait()
    assert status == (-signal.SIGKILL if kill is kill_the_job else 2), out.with_suffix(".log").read_text()
    if kill is kill_the_job:
        done = entries_of(out)
        job = started(exported, folder, out, nodes.address)
        assert job.wait() == 2, out.with_suffix(".log").read_text()
    assert tables_in(out) == tables_in(tmp_path / "alone")
    assert {name: when for name, when in entries_of(out).items() if name in done} == done
    assert not list(out.rglob(".dawnchorus-*"))


@pytest.mark.stress
def test_a_cluster_that_is_gone_stops_the_job_and_the_next_one_goes_on(
    folder: Path, tmp_path: Path, exported: Any
) -> None:
    arguments = arguments_of(exported, folder, tmp_path / "alone")
    assert CliRunner().invoke(app, arguments).exit_code == 2
    first, out = Nodes(), tmp_path / "out"
    first.fill(2)
    job = started(exported, folder, out, first.address)
    when_some_are_done(job, out, 5)
    first.cluster.shutdown()
    job.kill()  # Ray itself ends it after a minute without a head
    job.wait()
    done = entries_of(out)
    assert len(done) > 0
    job = started(exported, folder, out, "local")
    assert job.wait() == 2, out.with_suffix(".log").read_text()
    assert tables_in(out) == tables_in(tmp_path / "alone")
    assert {name: when for name, when in entries_of(out).items() if name in done} == done


@pytest.mark.stress
def test_two_jobs_on_one_output_are_refused(folder: Path, tmp_path: Path, exported: Any) -> None:
    out = tmp_path / "out"
    job = started(exported, folder, out, "local")
    while job.poll() is None and not (out / JOURNAL_NAME / "lock").exists():
        time.sleep(0.01)
    refused = CliRunner().invoke(app, arguments_of(exported, folder, out, "--cluster", "local"))
    assert "is being written by another process" in str(refused.exception)
    assert job.wait() == 2


@pytest.mark.stress
def test_what_workers_cannot_open_ends_the_job_with_one_sentence(
    folder: Path, tmp_path: Path, exported: Any
) -> None:
    model = shutil.copytree(exported.onnx.parent, tmp_path / "model")
    ensemble = Ensemble([WeightedModel(model)], n_threads=1)
    engine, found = ensemble.open(), find_recordings([str(folder)])
    shutil.rmtree(model)
    prediction = ClusterPrediction(ensemble, Cluster("local", n_workers=2), tmp_path / "out")
    with pytest.raises(RunError, match=r"worker on .*model is no model"):
        predict_bulk(engine, found, tmp_path / "out", SETTINGS, prediction=prediction)


@pytest.mark.stress
def test_a_bucket_is_read_and_written_by_the_workers(
    folder: Path, tmp_path: Path, exported: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    server = pytest.importorskip("moto.server").ThreadedMotoServer(port=0)
    server.start()
    host, port = server.get_host_and_port()
    for name, value in {
        "AWS_ENDPOINT_URL": f"http://{host}:{port}",
        "AWS_ACCESS_KEY_ID": "testing",
        "AWS_SECRET_ACCESS_KEY": "testing",
        "AWS_DEFAULT_REGION": "us-east-1",
        "DAWNCHORUS_CACHE": str(tmp_path / "cache"),
    }.items():
        monkeypatch.setenv(name, value)
    import fsspec

    fsspec.filesystem("s3", skip_instance_cache=True).mkdir("season")
    fsspec.get_filesystem_class("s3").clear_instance_cache()
    for path in folder.rglob("*.*"):
        as_path(f"s3://season/night/{path.relative_to(folder).as_posix()}").put(path)  # type: ignore[attr-defined]
    ensemble, out = ensemble_of(exported), as_path("s3://season/tables")
    engine, found = ensemble.open(), find_recordings(["s3://season/night"])
    predict_bulk(engine, found, tmp_path / "alone", SETTINGS)
    prediction = ClusterPrediction(ensemble, Cluster("local", n_workers=2), out)
    made = predict_bulk(engine, found, out, SETTINGS, prediction=prediction)
    assert made.n_new == N_RECORDINGS
    for name in ("detections.csv", "windows.parquet", "failures.csv"):
        with (out / name).open("rb") as file:
            assert file.read() == (tmp_path / "alone" / name).read_bytes()
    monkeypatch.setenv("DAWNCHORUS_CACHE", str(tmp_path / "another machine"))
    assert predict_bulk(engine, found, out, SETTINGS, prediction=prediction).n_new == 0
    server.stop()


@pytest.mark.stress
def test_pseudo_labels_and_stores_of_workers_are_those_of_one_process(
    folder: Path, tmp_path: Path, exported: Any, nodes: Nodes
) -> None:
    for name, options in {"alone": [], "spread": ["--cluster", nodes.address]}.items():
        out = tmp_path / name
        labels = ["pseudo-label", str(exported.onnx.parent), str(folder), "--out", str(out / "l.parquet")]
        for arguments in ([*labels, "--threads", "1"], ["precompute", str(folder), str(out / "stores")]):
            result = CliRunner().invoke(app, [*arguments, *options])
            assert result.exit_code == 2, result.output
    for name in ("l.parquet", "l.html", "l_work/failures.csv", "stores/failures.csv"):
        assert (tmp_path / "alone" / name).read_bytes() == (tmp_path / "spread" / name).read_bytes()
    for alone in (tmp_path / "alone" / "stores").rglob("*.hdf5"):
        spread = tmp_path / "spread" / alone.relative_to(tmp_path / "alone")
        with h5py.File(alone) as one, h5py.File(spread) as other:
            assert all(np.array_equal(one[key][()], other[key][()]) for key in one)
    assert len(list((tmp_path / "spread" / "stores").rglob("*.hdf5"))) == N_RECORDINGS
