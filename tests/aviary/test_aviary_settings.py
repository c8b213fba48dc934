"""Settings that no aviary could be made from."""

from __future__ import annotations

import numpy as np
import pytest

from dawnchorus.aviary.aviary_settings import AviarySettings, Stream
from dawnchorus.errors import ConfigError


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"seed": -1}, "seed is -1; it must be 0 or more"),
        ({"n_species": 1}, "n_species is 1; it must be 2 to 10"),
        ({"n_species": 11}, "n_species is 11; it must be 2 to 10"),
        ({"n_recordings": 19}, "n_recordings is 19; it must be at least two a species, 20"),
        ({"n_recordists": 0}, "n_recordists is 0; it must be 1 or more"),
        ({"n_soundscapes": -1}, "n_soundscapes is -1; it must be 0 or more"),
        ({"duration_s": (6.0, 5.0)}, "duration_s is"),
        ({"duration_s": (0.1, 5.0)}, "duration_s is"),
        ({"soundscape_s": 3.0}, "soundscape_s is 3.0; it must be 10 s or more"),
    ],
)
def test_an_impossible_aviary_is_refused_with_what_would_be_possible(
    change: dict[str, int], message: str
) -> None:
    with pytest.raises(ConfigError, match=message):
        AviarySettings(**change)  # type: ignore[arg-type]


def test_generators_repeat_and_no_two_uses_share_one() -> None:
    settings = AviarySettings()
    draws = {
        (seed, stream, index): tuple(
            AviarySettings(seed=seed).generator(stream, index).integers(1 << 60, size=2)
        )
        for seed in (42, 43)
        for stream in Stream
        for index in range(3)
    }
    assert len(set(draws.values())) == len(draws)
    again = settings.generator(Stream.RECORDING, 2).integers(1 << 60, size=2)
    assert np.array_equal(again, draws[42, Stream.RECORDING, 2])
