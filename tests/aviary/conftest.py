"""One small aviary for all tests of this folder."""

from __future__ import annotations

import pytest

from dawnchorus.aviary import Aviary, AviarySettings, make_aviary

SMALL = AviarySettings(
    seed=7, n_recordings=40, n_nocall=4, n_soundscapes=2, duration_s=(4.0, 6.0), soundscape_s=30.0
)


@pytest.fixture(scope="session")
def small_settings() -> AviarySettings:
    return SMALL


@pytest.fixture(scope="session")
def small_aviary(tmp_path_factory: pytest.TempPathFactory) -> Aviary:
    """40 recordings of ten species and two half-minute soundscapes."""
    return make_aviary(tmp_path_factory.mktemp("birds") / "aviary", SMALL, n_cores=1)
