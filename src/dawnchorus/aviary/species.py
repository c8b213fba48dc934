"""The ten invented species, in groups that share a band and differ only in the shape of their song.

A mean spectrum cannot tell a rising sweep from a falling one, a fast trill from a slow one, a buzz from
either: all of them fill the same band. Individual pitches spread by a fifth either way, so that the bands of
the groups run into each other as well. What is left to tell species apart is what happens over time.
"""

from __future__ import annotations

from dawnchorus.aviary.songs import SongPart, Species

ALL_SPECIES: tuple[Species, ...] = (
    # Twelve notes a second that dip and rise, and ...
    Species("Trillator_rapidus", 4300, (SongPart((1.18, 0.85, 1.18), 0.055, 0.028, repeats=(9, 16)),)),
    # ... fewer than four a second.
    Species("Trillator_tardus", 4300, (SongPart((1.18, 0.85, 1.18), 0.16, 0.10, repeats=(4, 6)),)),
    # One long climb, mirrored by ...
    Species("Ascensor_clarus", 3400, (SongPart((0.72, 1.4), 0.45, 0.12, repeats=(2, 3)),)),
    # ... one long fall.
    Species("Ruina_stellata", 3400, (SongPart((1.4, 0.72), 0.45, 0.12, repeats=(2, 3)),)),
    # Fills the sweeps' band at every moment: the modulation is too fast to be followed.
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
