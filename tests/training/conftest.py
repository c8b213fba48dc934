"""Trainings without their page, which tests of ``report`` and of whole pipelines look at."""

from __future__ import annotations

import pytest

from dawnchorus.training import lightning_training, trainer


@pytest.fixture(autouse=True)
def _no_run_page(monkeypatch: pytest.MonkeyPatch) -> None:
    """Leave out ``report.html``: drawing it takes longer than training a fold of a test."""
    monkeypatch.setattr(lightning_training, "write_run_page", lambda run: None)
    monkeypatch.setattr(trainer, "write_run_page", lambda run, with_recordings: None)
