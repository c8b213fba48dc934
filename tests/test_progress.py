"""Progress bars: where they are drawn, and that a notebook needs no widgets for them."""

from __future__ import annotations

import pytest
import rich.console

from dawnchorus.progress import audio_progress, progress_console, track


def test_where_stderr_is_no_terminal_the_end_is_one_line(capsys: pytest.CaptureFixture[str]) -> None:
    assert list(track([1, 2, 3], "Adding")) == [1, 2, 3]
    printed = capsys.readouterr()
    assert printed.out == ""
    assert printed.err.count("\n") == 1
    assert "3/3" in printed.err


def test_a_notebook_gets_lines_on_stderr_and_no_advice_about_widgets(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr(rich.console, "_is_jupyter", lambda: True)
    assert rich.console.Console(stderr=True).is_jupyter
    assert not progress_console().is_jupyter
    list(track([1, 2, 3], "Adding"))
    with audio_progress("Predicting", total_s=60.0) as advance:
        advance(60.0)
    printed = capsys.readouterr()
    assert printed.out == ""
    assert "Adding" in printed.err
    assert "Predicting" in printed.err
