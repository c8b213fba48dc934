"""Settings of an aviary: its size and seed, and its ten invented species."""

from __future__ import annotations

from dataclasses import dataclass
from enum import IntEnum

import numpy as np

from dawnchorus.aviary.songs import SongPart, Species
from dawnchorus.errors import ConfigError

ALL_SPECIES: tuple[Species, ...] = (
    # Twelve notes a second that dip and rise, and ...
    Species("Trillator_rapidus", 4300, (SongPart((1.18, 0.85, 1.18), 0.055, 0.028, repeats=(9, 16)),)),
    # ... fewer than four a second.
    Species("Trillator_tardus", 4300, (SongPart((1.18, 0.85, 1.18), 0.16, 0.10, repeats=(4, 6)),)),
    # One long climb, mirrored by ...
    Species("Ascensor_clarus", 3400, (SongPart((0.72, 1.4), 0.45, 0.12, repeats=(2, 3)),)),
    # ... one long fall.
    Species("Ruina_stellata", 3400, (SongPart((1.4, 0.72), 0.45, 0.12, repeats=(2, 3)),)),
    # Fills the sweeps' band at every moment: the modulation is too fast to be resolved.
    Species("Stridor_aridus", 3900, (SongPart((1.0, 1.0), 0.75, vibrato_hz=85, vibrato_depth=0.22),)),
    # A long straight whistle, ...
    Species("Sibilus_lentus", 2600, (SongPart((1.0, 1.0), 1.1),)),
    # ... one that winds up and down, ...
    Species("Undulina_tremens", 2600, (SongPart((1.0, 1.0), 1.1, vibrato_hz=5.5, vibrato_depth=0.16),)),
    # ... and one that comes down in three steps.
    Species(
        "Scalaria_declivis",
        2600,
        (SongPart((1.35, 1.35), 0.20, 0.03), SongPart((1.0, 1.0), 0.20, 0.03), SongPart((0.74, 0.74), 0.28)),
    ),
    # Nasal calls, each an arch with its harmonics above it.
    Species(
        "Cornicula_nasalis",
        1700,
        (SongPart((0.92, 1.08, 0.92), 0.24, 0.16, repeats=(2, 4), partials=(1.0, 0.7, 0.45)),),
    ),
    # A whistle that breaks into a trill of rising notes.
    Species(
        "Duplex_matutina",
        3300,
        (SongPart((0.8, 0.8), 0.42, 0.06), SongPart((0.9, 1.3), 0.08, 0.05, repeats=(4, 7))),
    ),
)


# Ogg and mp3 take twenty times as long to write as wav and flac, and so are half as frequent.
FORMATS = ("wav", "flac", "ogg", "wav", "flac", "mp3")
SAMPLE_RATES = (22050, 32000, 44100, 48000)


class Stream(IntEnum):
    """The uses of random generators; each use has its own generators.

    Examples
    --------
    >>> [stream.name for stream in Stream][:2]
    ['RECORDIST', 'DIALECT']
    """

    RECORDIST = 0
    DIALECT = 1
    PLAN = 2
    RECORDING = 3
    SOUNDSCAPE = 4
    CAST = 5


@dataclass(frozen=True)
class AviarySettings:
    """The settings that determine an aviary completely.

    Attributes
    ----------
    seed
        Not negative. Another seed is another aviary.
    n_species
        Number of the ten species that live in it.
    n_recordings
        Recordings of a species, at least two a species.
    n_nocall
        Recordings in which no bird sings, labelled ``nocall``.
    n_recordists
        Number of authors of the recordings; the first made the most.
    n_soundscapes
        Annotated soundscapes.
    duration_s
        Shortest and longest recording, seconds; most are 5–20 s long.
    soundscape_s
        Length of a soundscape, seconds.

    Examples
    --------
    >>> settings = AviarySettings(seed=7, n_species=4)
    >>> len(settings.species)
    4
    >>> AviarySettings(n_species=40)
    Traceback (most recent call last):
        ...
    dawnchorus.errors.ConfigError: aviary settings: n_species is 40; it must be 2 to 10
    """

    seed: int = 42
    n_species: int = 10
    n_recordings: int = 280
    n_nocall: int = 24
    n_recordists: int = 12
    n_soundscapes: int = 6
    duration_s: tuple[float, float] = (4.0, 40.0)
    soundscape_s: float = 60.0

    def __post_init__(self) -> None:
        shortest_s, longest_s = self.duration_s
        demands = (
            ("seed", self.seed, self.seed >= 0, "0 or more"),
            (
                "n_species",
                self.n_species,
                2 <= self.n_species <= len(ALL_SPECIES),
                f"2 to {len(ALL_SPECIES)}",
            ),
            (
                "n_recordings",
                self.n_recordings,
                self.n_recordings >= 2 * self.n_species,
                f"at least two a species, {2 * self.n_species}",
            ),
            ("n_nocall", self.n_nocall, self.n_nocall >= 0, "0 or more"),
            ("n_recordists", self.n_recordists, self.n_recordists >= 1, "1 or more"),
            ("n_soundscapes", self.n_soundscapes, self.n_soundscapes >= 0, "0 or more"),
            (
                "duration_s",
                self.duration_s,
                1 <= shortest_s <= longest_s,
                "(shortest, longest), both 1 s or more",
            ),
            ("soundscape_s", self.soundscape_s, self.soundscape_s >= 10, "10 s or more"),
        )
        for name, value, is_legal, legal in demands:
            if not is_legal:
                raise ConfigError(f"aviary settings: {name} is {value}; it must be {legal}")

    @property
    def species(self) -> tuple[Species, ...]:
        """The species that live in this aviary."""
        return ALL_SPECIES[: self.n_species]

    def generator(self, stream: Stream, *index: int) -> np.random.Generator:
        """Return the generator of item ``index`` of ``stream``; it depends on these and the seed alone."""
        return np.random.default_rng([self.seed, int(stream), *index])
