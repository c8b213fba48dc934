"""What the tests of Kaggle downloads share: a server that Kaggle's client takes for Kaggle."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest

from .kaggle_server import KaggleServer, serving_kaggle


@pytest.fixture
def kaggle(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Iterator[KaggleServer]:
    """The server, without waits; its client is somebody whom it knows."""
    with serving_kaggle(monkeypatch, tmp_path / "home") as server:
        yield server
