"""Commands that are killed, run out of disk, or run twice at once, and end as if they had not been."""

from __future__ import annotations

import hashlib
import importlib.util
import os
import random
import shutil
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any, NamedTuple

import pytest

from dawnchorus.models.checkpoint_file import read_checkpoint

TESTS = Path(__file__).parents[1]
REPOSITORY = TESTS.parent


def _module(path: Path) -> Any:
    spec = importlib.util.spec_from_file_location(path.stem, path)
    assert spec is not None
    assert spec.loader is not None
    module = sys.modules[path.stem] = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


mutations = _module(TESTS / "mutations.py")
recording_server = _module(TESTS / "downloads" / "recording_server.py")

pytestmark = [pytest.mark.stress, pytest.mark.timeout(3600)]
N_KILLS = int(os.environ.get("DAWNCHORUS_STRESS_KILLS", "3"))
"""Kills of each command, at moments drawn over the time that it takes."""

TRAIN_CONFIG = """
CONFIG = {{
    "base": {base!r},
    "exp_name": "tiny",
    "data": {{"audio_dir": "audio", "features_dir": None}},
    "train_function_args": {{
        "clips_per_epoch": 8, "n_epochs": 2, "accelerator": "cpu", "train_loader": {{"batch_size": 4}},
    }},
}}
"""
SAMPLE_CONFIG = """
CONFIG = {{
    "base": {base!r},
    "train_function_args": {{"clips_per_epoch": 32, "n_epochs": 1, "train_dataset_config": {clips!r}}},
}}
"""
SURE_OF_NOTHING = {"soundscape_pseudo_config": {"primary_label_min_prob": 0.0}}
DOWNLOAD = """
import sys
from dawnchorus.downloads import retries, xeno_canto
retries.FIRST_WAIT_S, xeno_canto.SECONDS_A_REQUEST = 0.001, 0
xeno_canto.API_URL = sys.argv.pop(1) + "/api/3/recordings"
from dawnchorus.cli import main
main(sys.argv[1:])
"""
SAMPLE_ROWS = "row_id,species_0,species_1\n" + "".join(
    f"night_{number}_{end_s},0.5,0.5\n" for number in range(3) for end_s in (5, 10)
)


@dataclass(frozen=True)
class Job:
    """A command: its arguments, what it reads, and what it makes, below the folder that it runs in."""

    name: str
    arguments: tuple[str, ...]
    reads: tuple[str, ...]
    makes: tuple[str, ...]

    @property
    def command(self) -> list[str]:
        return [sys.executable, "-m", "dawnchorus", *self.arguments]


RUN, NIGHTS = "logdirs/tiny", "soundscapes"
ONE_THREAD = ("--threads", "1")
JOBS = (
    Job("precompute", ("precompute", "audio", "features"), ("audio",), ("features/**/*.hdf5",)),
    Job(
        "train",
        ("train", "train.py", "--folds", "0"),
        ("audio", "train.py"),
        (f"{RUN}/folds.csv", f"{RUN}/fold_0/checkpoints/*.safetensors", f"{RUN}/fold_0/per_class.csv"),
    ),
    Job("evaluate", ("evaluate", RUN), ("audio", "logdirs"), (f"{RUN}/oof_*",)),
    Job("export", ("export", RUN), ("audio", "logdirs"), (f"{RUN}/onnx_*/**/*",)),
    Job("calibrate", ("calibrate", RUN), ("audio", "logdirs"), (f"{RUN}/oof_*", f"{RUN}/*thresholds*.csv")),
    Job(
        "predict",
        ("predict", "exported", NIGHTS, "--threshold", "0.3", *ONE_THREAD),
        ("exported", NIGHTS),
        ("predictions/*.*", "predictions/raven/**/*"),
    ),
    Job("segments", ("segments", "tables", NIGHTS), ("tables", NIGHTS), ("predictions/segments/**/*",)),
    Job(
        "pseudo-label",
        ("pseudo-label", "exported", NIGHTS, *ONE_THREAD),
        ("exported", NIGHTS),
        ("pseudo_labels.parquet",),
    ),
    Job("bundle", ("bundle", "exported", "--engine", "onnx"), ("exported",), ("bundle/**/*",)),
    Job(
        "submit-kaggle",
        ("submit-kaggle", "exported", NIGHTS, *ONE_THREAD),
        ("exported", NIGHTS, "sample_submission.csv"),
        ("submission.csv",),
    ),
    Job(
        "download",
        ("download", "xeno-canto", "--species", "Turdus merula", "--leave-gb", "0", "--out", "xc"),
        (),
        ("xc/*/*.mp3", "xc.csv"),
    ),
    Job(
        "rock-that-bird",
        ("rock-that-bird", "--sample", "--out", "sample", "--n-cores", "1", "--checkout", "checkout"),
        ("checkout",),
        ("sample/submission.csv", "sample/data/pseudo_labels.parquet"),
    ),
)


class Ended(NamedTuple):
    """How a command ended."""

    code: int
    stderr: str
    seconds: float

    @property
    def fault(self) -> str:
        """What is wrong with it; empty where it ended well, or with one sentence."""
        if "Traceback" in self.stderr:
            return f"a traceback: {self.stderr.strip().splitlines()[-1][:160]}"
        sentences = [line for line in self.stderr.splitlines() if line.startswith("error: ")]
        if self.code not in (0, 2) and len(sentences) != 1:
            return f"exit code {self.code} and {len(sentences)} sentences: {self.stderr[-160:]}"
        return ""


class Place:
    """The folder that a job runs in: always the same path, which some files hold."""

    def __init__(self, root: Path, job: Job, server: Any) -> None:
        self.root, self.job, self.server, self.work = root, job, server, root / "work"
        self.environment = {**os.environ, "CUDA_VISIBLE_DEVICES": "", "XENO_CANTO_KEY": recording_server.KEY}

    def prepare(self) -> None:
        """Empty the folder, and put there what the job reads."""
        shutil.rmtree(self.work, ignore_errors=True)
        self.work.mkdir(exist_ok=True)
        self.fill()

    def fill(self) -> None:
        for name in self.job.reads:
            source = self.root / "given" / name
            copy = shutil.copytree if source.is_dir() else shutil.copy2
            copy(source, self.work / name)

    def start(self) -> subprocess.Popen[str]:
        command = self.job.command
        if self.job.name == "download":
            command = [sys.executable, "-c", DOWNLOAD, self.server.url, *self.job.arguments]
        return subprocess.Popen(
            command,
            cwd=self.work,
            env=self.environment,
            stdout=subprocess.DEVNULL,
            stderr=subprocess.PIPE,
            text=True,
            errors="replace",
            start_new_session=True,
        )

    def run(self) -> Ended:
        return ended(self.start())

    def made(self) -> dict[str, str]:
        """Return a digest of everything that the job has made, by name."""
        found = {path for pattern in self.job.makes for path in self.work.glob(pattern) if path.is_file()}
        return {path.relative_to(self.work).as_posix(): _digest(path) for path in sorted(found)}

    def keep(self, name: str) -> Path:
        """Copy what the job has made to a folder that stays, and return it."""
        kept = self.root / name / self.job.name
        for file in self.made():
            (kept / file).parent.mkdir(parents=True, exist_ok=True)
            shutil.copy2(self.work / file, kept / file)
        return kept


def ended(process: subprocess.Popen[str]) -> Ended:
    began = time.perf_counter()
    _, stderr = process.communicate(timeout=1800)
    return Ended(process.returncode, stderr, time.perf_counter() - began)


def _digest(path: Path) -> str:
    if path.suffix != ".safetensors":
        return hashlib.sha256(path.read_bytes()).hexdigest()
    weights, state, _ = read_checkpoint(path)  # the file also has the time of writing
    digest = hashlib.sha256(repr([(state or {}).get(key) for key in ("epoch", "global_step")]).encode())
    for name in sorted(weights):
        digest.update(name.encode() + weights[name].numpy().tobytes())
    return digest.hexdigest()


def _tell(kind: str, place: Place, made: dict[str, str], endings: list[Ended], *, n_tried: int) -> None:
    """Add to the table how often a kind ended in what, and fail where it was badly."""
    counted = mutations.Count(n_mutations=n_tried, longest_s=max(each.seconds for each in endings))
    faults = [each.fault for each in endings if each.fault]
    there = place.made()
    if not faults and there != made:
        differing = sorted(name for name in {**there, **made} if there.get(name) != made.get(name))
        kept = place.keep("differing")
        faults = [f"other bytes than undisturbed: {differing[:4]}, in {kept}; {endings[-1].stderr[-300:]}"]
    if faults:
        counted.badly[faults[0]] += n_tried
    elif any(each.code == 1 for each in endings):
        counted.n_refused = n_tried
    else:
        counted.n_read = n_tried
    name = f"{kind}: {place.job.name}"
    mutations.write_counts([(name, counted)])
    assert not faults, f"{name}: {faults}"


@pytest.fixture(scope="module")
def given(tmp_path_factory: pytest.TempPathFactory, data_factory_in: Any) -> Path:
    """A folder with recordings, a trained run, its export and tables; all that jobs read."""
    root = tmp_path_factory.mktemp("interrupted")
    work = root / "work"
    data_factory_in(work / "audio").recordings(n_species=2, n_per_species=6, duration_s=(4.0, 6.0))
    for number in range(3):
        data_factory_in(work / NIGHTS).tone(f"night_{number}.flac", 10.0, 1500 + 500 * number)
    (work / "sample_submission.csv").write_text(SAMPLE_ROWS)
    base = str(REPOSITORY / "train_configs" / "smoke.py")
    (work / "train.py").write_text(TRAIN_CONFIG.format(base=base))
    shutil.copytree(REPOSITORY / "inference_configs", work / "checkout" / "inference_configs")
    (work / "checkout" / "train_configs").mkdir()
    for name, clips in (("sample_a.py", {}), ("sample_b.py", SURE_OF_NOTHING)):
        base = str(REPOSITORY / "train_configs" / name)
        text = SAMPLE_CONFIG.format(base=base, clips=clips)
        (work / "checkout" / "train_configs" / name).write_text(text)
    for arguments in (
        ("train", "train.py"),
        ("export", RUN),
        ("predict", RUN, NIGHTS, "--threshold", "0.1", "--out", "tables"),
    ):
        job = Job("given", arguments, (), ())
        done = Place(root, job, None).run()
        assert done.code == 0, done.stderr
    shutil.copytree(work / RUN, work / "exported")
    shutil.rmtree(work / "exported" / "fold_1")
    for export in (work / RUN).glob("onnx_*"):
        shutil.rmtree(export)
    work.rename(root / "given")
    return root


@pytest.fixture(scope="module")
def server() -> Iterator[Any]:
    with recording_server.RecordingServer() as running:
        for number in range(1, 9):
            sound = random.Random(number).randbytes(40_000)
            running.add(number, "Turdus merula", sound, q="A")
        running.pause_s = 0.005
        yield running


class Undisturbed(NamedTuple):
    """Where a job runs, what it makes, and how long it takes."""

    place: Place
    made: dict[str, str]
    seconds: float
    n_bytes: int


@pytest.fixture(scope="module", params=JOBS, ids=lambda job: job.name)
def undisturbed(request: pytest.FixtureRequest, given: Path, server: Any) -> Undisturbed:
    place = Place(given, request.param, server)
    place.prepare()
    before = _size(place.work)
    done = place.run()
    assert done.code == 0, done.stderr
    made = place.made()
    assert made
    place.keep("undisturbed")
    return Undisturbed(place, made, done.seconds, _size(place.work) - before)


def _size(folder: Path) -> int:
    """Return the bytes below a folder, in whole pages."""
    return sum(-(-path.lstat().st_size // 4096) * 4096 + 4096 for path in folder.rglob("*"))


@pytest.mark.skipif(not hasattr(os, "killpg"), reason="there is no kill -9")
def test_a_killed_command_run_again_ends_with_the_same_bytes(undisturbed: Undisturbed) -> None:
    place, made, seconds, _ = undisturbed
    moments = random.Random(place.job.name)
    place.prepare()
    n_killed = n_resumed = 0
    for _ in range(2 * N_KILLS):
        process = place.start()
        with suppress(subprocess.TimeoutExpired):  # one that goes on from a kill has less to do
            process.wait(seconds * moments.uniform(0.2, 1) / (1 + n_resumed))
        with suppress(ProcessLookupError):
            os.killpg(process.pid, signal.SIGKILL)
        if ended(process).code == -signal.SIGKILL:
            n_killed, n_resumed = n_killed + 1, n_resumed + 1
        else:  # it was faster, and is done
            n_resumed = 0
            place.prepare()
        if n_killed == N_KILLS:
            break
    last = place.run()
    _tell("kill -9", place, made, [last], n_tried=n_killed)


def test_two_of_a_command_at_once_end_well_or_one_tells_of_the_other(undisturbed: Undisturbed) -> None:
    place, made, *_ = undisturbed
    place.prepare()
    both = [ended(process) for process in [place.start(), place.start()]]
    _tell("twice at once", place, made, both, n_tried=2)


def test_a_full_disk_is_told_and_after_room_is_made_it_ends_with_the_same_bytes(
    undisturbed: Undisturbed,
) -> None:
    place, made, _, n_bytes = undisturbed
    place.prepare()
    room = _size(place.work) + int(n_bytes * random.Random(place.job.name).uniform(0.05, 0.5))
    shutil.rmtree(place.work)
    place.work.mkdir()
    mount = ["mount", "-t", "tmpfs", "-o", f"size={room}", "tmpfs", str(place.work)]
    if not hasattr(os, "geteuid") or os.geteuid() or subprocess.run(mount, capture_output=True).returncode:
        pytest.skip("only root can mount a small disk, and not in every container")
    try:
        place.fill()
        full = place.run()
        subprocess.run(["mount", "-o", "remount,size=2g", str(place.work)], check=True)
        last = place.run()
        if full.code != 0 and not full.fault and not _names_file_and_remedy(full.stderr):
            full = full._replace(stderr=f"Traceback\nno file or remedy: {full.stderr[-300:]}")
        _tell("full disk", place, made, [full, last], n_tried=1)
    finally:
        subprocess.run(["umount", "--lazy", str(place.work)], check=True)


def _names_file_and_remedy(stderr: str) -> bool:
    return ": " in stderr and "make room" in stderr
