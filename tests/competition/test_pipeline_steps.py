"""Steps: a line and a log each, done once, and again when something before them changed."""

from __future__ import annotations

import json
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path

import pytest

from dawnchorus.competition.pipeline_steps import DONE_NAME, Step, run_steps
from dawnchorus.errors import RunError
from dawnchorus.files import locked


def config_file(path: Path, n_epochs: int = 1) -> Path:
    path.write_text(f"CONFIG = {{'n_epochs': {n_epochs}}}\n", encoding="utf-8")
    return path


def steps(folder: Path) -> list[Step]:
    """Two commands that take no time, the second of which reads the first one's configs."""
    configs = folder / "configs"
    configs.mkdir(exist_ok=True)
    file = configs / "mine.py"
    if not file.is_file():
        config_file(file)
    return [
        Step("list them", ("configs", "configs"), ("configs/*.py",), configs=(file,)),
        Step("tell them apart", ("configs", "configs", "--differences"), ("configs/mine.py",)),
    ]


def wait_until(is_so: Callable[[], bool]) -> None:
    deadline = time.monotonic() + 60
    while not is_so():
        assert time.monotonic() < deadline
        time.sleep(0.02)


def is_free(lock: Path) -> bool:
    with locked(lock) as free:
        return free


def test_each_step_has_its_line_and_its_log_and_is_done_once(tmp_path: Path) -> None:
    said: list[str] = []
    result = run_steps(steps(tmp_path), tmp_path, say=said.append)
    assert (result.n_run, result.n_skipped, result.incomplete) == (2, 0, ())
    lines = "".join(said).splitlines()
    assert [line.partition(" in ")[0] for line in lines] == [
        "[ 1/2] list them ... done",
        "[ 2/2] tell them apart ... done",
    ]
    log = (tmp_path / "logs" / "02_tell_them_apart.log").read_text()
    assert log.startswith("$ dawnchorus configs configs --differences\n")
    assert "`n_epochs`" in log
    said.clear()
    again = run_steps(steps(tmp_path), tmp_path, say=said.append)
    assert (again.n_run, again.n_skipped) == (0, 2)
    assert "".join(said) == "[ 1/2] list them ... done before\n[ 2/2] tell them apart ... done before\n"


def test_a_changed_config_does_its_step_and_those_after_it_again(tmp_path: Path) -> None:
    run_steps(steps(tmp_path), tmp_path, say=str)
    config_file(tmp_path / "configs" / "mine.py", n_epochs=2)
    assert run_steps(steps(tmp_path), tmp_path, say=str).n_run == 2


def test_what_is_gone_is_made_again(tmp_path: Path) -> None:
    first, second = steps(tmp_path)
    made = Step(second.name, second.command, ("configs/*.py", "page.md"))
    with_page = [first, made]
    (tmp_path / "page.md").touch()
    run_steps(with_page, tmp_path, say=str)
    (tmp_path / "page.md").unlink()
    assert run_steps(with_page, tmp_path, say=str).n_run == 1


def test_a_damaged_note_of_what_is_done_does_all_again(tmp_path: Path) -> None:
    run_steps(steps(tmp_path), tmp_path, say=str)
    for text in ("{", "[]", '{"list them": 3}'):
        (tmp_path / "logs" / DONE_NAME).write_text(text, encoding="utf-8")
        assert run_steps(steps(tmp_path), tmp_path, say=str).n_run == 2


def test_a_step_that_fails_ends_with_its_log_and_is_gone_on_from(tmp_path: Path) -> None:
    good, _ = steps(tmp_path)
    bad = Step("list nothing", ("configs", "nowhere"), ("x",))
    with pytest.raises(
        RunError, match=r"(?s)'list nothing' ended with exit code 1:\n.* error: nowhere: no conf"
    ):
        run_steps([good, bad], tmp_path, say=str)
    mended = Step("list nothing", ("configs", "configs"), ("configs/*.py",))
    result = run_steps([good, mended], tmp_path, say=str)
    assert (result.n_run, result.n_skipped) == (1, 1)


def test_a_command_that_lists_failures_is_done_and_said_each_time(tmp_path: Path) -> None:
    audio = tmp_path / "audio" / "wren"
    audio.mkdir(parents=True)
    (audio / "broken.wav").write_bytes(b"no sound")
    (tmp_path / "features").mkdir()
    (tmp_path / "features" / "here.hdf5").touch()
    step = Step("convert", ("precompute", "audio", "features"), ("features/*.hdf5",), ("--n_cores", "1"))
    for _ in range(2):
        result = run_steps([step], tmp_path, say=str)
        assert result.incomplete == ("convert",)
    assert json.loads((tmp_path / "logs" / DONE_NAME).read_text())["convert"]["exit_code"] == 2


def test_a_command_that_was_used_wrongly_is_no_success(tmp_path: Path) -> None:
    wrong = Step("list", ("configs", "--colour"), ("made/*",))
    with pytest.raises(RunError, match=r"(?s)'list' ended with exit code 64:.*No such option"):
        run_steps([wrong], tmp_path, say=str)


def test_where_all_is_needed_a_listed_failure_ends_the_steps(tmp_path: Path) -> None:
    audio = tmp_path / "audio" / "wren"
    audio.mkdir(parents=True)
    (audio / "broken.wav").write_bytes(b"no sound")
    command = ("precompute", "audio", "features", "--n_cores", "1")
    step = Step("convert", command, ("audio/**/*.wav",), must_be_whole=True)
    with pytest.raises(RunError, match="'convert' ended with exit code 2"):
        run_steps([step], tmp_path, say=str)


def test_usage_that_is_wrong_is_no_success_beside_what_was_made_before(tmp_path: Path) -> None:
    (tmp_path / "made").touch()
    with pytest.raises(RunError, match=r"(?s)exit code 64:.*No such option"):
        run_steps([Step("list", ("configs", "--colour"), ("made",))], tmp_path, say=str)


def test_a_changed_second_config_of_a_step_does_it_again(tmp_path: Path) -> None:
    first, _ = steps(tmp_path)
    other = config_file(tmp_path / "other.py")
    step = Step(first.name, first.command, first.makes, configs=(*first.configs, other))
    run_steps([step], tmp_path, say=str)
    assert run_steps([step], tmp_path, say=str).n_run == 0
    config_file(other, n_epochs=5)
    assert run_steps([step], tmp_path, say=str).n_run == 1


@pytest.mark.skipif(sys.platform == "win32", reason="locks and signals of Unix")
def test_a_killed_pipeline_whose_step_goes_on_is_not_begun_twice(tmp_path: Path) -> None:
    worker = tmp_path / "worker"
    worker.write_text("#!/bin/sh\ntouch begun\nsleep 4\ntouch ended\n", encoding="utf-8")
    worker.chmod(0o755)
    code = (
        "import sys\n"
        "from pathlib import Path\n"
        "from dawnchorus.competition.pipeline_steps import Step, run_steps\n"
        "sys.executable = str(Path('worker').absolute())\n"
        "run_steps([Step('work', (), ('ended',))], Path('.'))\n"
    )
    pipeline = subprocess.Popen([sys.executable, "-c", code], cwd=tmp_path, stderr=subprocess.DEVNULL)
    wait_until((tmp_path / "begun").exists)
    pipeline.kill()
    pipeline.wait()
    with pytest.raises(RunError, match="another pipeline is at work here, or a step of one that was killed"):
        run_steps(steps(tmp_path), tmp_path, say=str)
    wait_until((tmp_path / "ended").exists)
    wait_until(lambda: is_free(tmp_path / "logs" / ".lock"))  # which it holds until it has ended
    assert run_steps(steps(tmp_path), tmp_path, say=str).n_run == 2


def test_what_only_changes_the_speed_does_nothing_again(tmp_path: Path) -> None:
    first, _ = steps(tmp_path)
    for n_cores in ("1", "2"):
        step = Step("convert", ("miniature", "--help"), first.makes, ("--n_cores", n_cores))
        assert run_steps([step], tmp_path, say=str).n_run == (1 if n_cores == "1" else 0)
