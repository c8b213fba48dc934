"""The labelled recordings: their species, recordists, gear and formats, and their sound."""

from __future__ import annotations

from dataclasses import dataclass
from itertools import product

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from dawnchorus.aviary.aviary_settings import FORMATS, SAMPLE_RATES, AviarySettings, Stream
from dawnchorus.aviary.noise import draw_background
from dawnchorus.aviary.scene import Gear, draw_gear, mix_scene, record, sing_along
from dawnchorus.aviary.songs import Species, Voice, draw_voice

RECORDIST_NAMES = (
    "Ada Fenn",
    "Bruno Halm",
    "Cleo Marsh",
    "Dario Quill",
    "Edda Thorn",
    "Falk Reed",
    "Greta Moor",
    "Hugo Larch",
    "Ilse Brook",
    "Jonas Heath",
    "Karla Sedge",
    "Linus Alder",
)
NOCALL = "nocall"
# Species are unevenly recorded: the rarest about half as often as the commonest.
COMMONEST_FRACTION, RAREST_FRACTION = 1.3, 0.7
# The silence between two songs of the labelled bird: short enough that 5 s almost always hold a song.
GAP_S = (0.4, 1.4)
DISTANT_GAP_S = (0.6, 2.2)


@dataclass(frozen=True)
class RecordingPlan:
    """The plan of a recording: everything that is drawn before its sound is made.

    Attributes
    ----------
    index
        Its number in the aviary, from 0.
    primary, secondary
        The species it is of, None where no bird sings, and those that sing farther away.
    recordist
        Index of its author.
    duration_s, sample_rate, n_channels, extension
        Its form: seconds, hertz, 1 or 2, and one of wav, flac, ogg and mp3.

    Examples
    --------
    >>> from dawnchorus.aviary.aviary_settings import ALL_SPECIES
    >>> plan = RecordingPlan(3, ALL_SPECIES[0], (), 1, 5.0, 32_000, n_channels=1, extension="flac")
    >>> plan.label, plan.n_samples
    ('Trillator_rapidus', 160000)
    """

    index: int
    primary: Species | None
    secondary: tuple[Species, ...]
    recordist: int
    duration_s: float
    sample_rate: int
    n_channels: int
    extension: str

    @property
    def label(self) -> str:
        """Primary label: a species, or ``nocall``."""
        return self.primary.name if self.primary is not None else NOCALL

    @property
    def filename(self) -> str:
        """Path below the recordings folder, with forward slashes."""
        return f"{self.label}/AV{self.index:05d}.{self.extension}"

    @property
    def n_samples(self) -> int:
        """Length of the recording in samples."""
        return round(self.duration_s * self.sample_rate)


def plan_recordings(settings: AviarySettings) -> list[RecordingPlan]:
    """Return the plans of all recordings.

    Forms (format, rate, channels) take turns in a shuffled order, so that all are equally frequent.

    Examples
    --------
    >>> from dawnchorus.aviary.aviary_settings import AviarySettings
    >>> plans = plan_recordings(AviarySettings(n_recordings=30, n_nocall=2))
    >>> len(plans), sum(plan.label == "nocall" for plan in plans)
    (32, 2)
    """
    rng = settings.generator(Stream.PLAN)
    n_plans = settings.n_recordings + settings.n_nocall
    forms = list(product(FORMATS, SAMPLE_RATES, (1, 2)))
    order = np.concatenate([rng.permutation(len(forms)) for _ in range(-(-n_plans // len(forms)))])
    primaries: list[Species | None] = [
        settings.species[number]
        for number in rng.permutation(np.repeat(np.arange(settings.n_species), species_counts(settings)))
    ]
    primaries += [None] * settings.n_nocall
    productivity = 1 / (1 + np.arange(settings.n_recordists)) ** 0.6
    recordists = rng.choice(settings.n_recordists, n_plans, p=productivity / productivity.sum())
    plans = []
    for index, (primary, recordist) in enumerate(zip(primaries, recordists, strict=True)):
        extension, sample_rate, n_channels = forms[order[index]]
        plans.append(
            RecordingPlan(
                index=index,
                primary=primary,
                secondary=_draw_secondary(primary, settings, rng),
                recordist=int(recordist),
                duration_s=float(np.clip(8.5 * np.exp(rng.normal(0, 0.5)), *settings.duration_s)),
                sample_rate=sample_rate,
                n_channels=n_channels,
                extension=extension,
            )
        )
    return plans


def _draw_secondary(
    primary: Species | None, settings: AviarySettings, rng: np.random.Generator
) -> tuple[Species, ...]:
    """Return the species behind the primary one: mostly none, and none where there is no primary one."""
    others = [species for species in settings.species if species is not primary]
    n_secondary = min(len(others), int(rng.choice(3, p=(0.8, 0.15, 0.05))))
    chosen = rng.choice(len(others), n_secondary, replace=False)
    return tuple(others[number] for number in chosen) if primary is not None else ()


def species_counts(settings: AviarySettings) -> NDArray[np.int64]:
    """Return how many recordings each species has, shape (n_species,); they sum to ``n_recordings``.

    Examples
    --------
    >>> from dawnchorus.aviary.aviary_settings import AviarySettings
    >>> counts = species_counts(AviarySettings(n_species=4, n_recordings=30))
    >>> counts.shape, int(counts.sum()), int(counts.min()) >= 2
    ((4,), 30, True)
    """
    fractions = np.linspace(COMMONEST_FRACTION, RAREST_FRACTION, settings.n_species)
    fractions = settings.generator(Stream.PLAN, 1).permutation(fractions / fractions.sum())
    edges = np.round(np.cumsum(fractions) * settings.n_recordings)
    return np.diff(edges, prepend=0).astype(np.int64)


def recordist_name(recordist: int) -> str:
    """Return a recordist's name; from the thirteenth on, names repeat with a number.

    Examples
    --------
    >>> recordist_name(0) != recordist_name(1), recordist_name(12).startswith(recordist_name(0))
    (True, True)
    """
    generation, first = divmod(recordist, len(RECORDIST_NAMES))
    return RECORDIST_NAMES[first] + (f" {generation + 1}" if generation else "")


def recordist_gear(settings: AviarySettings, recordist: int) -> Gear:
    """Return the gear of a recordist in all recordings.

    Examples
    --------
    >>> from dawnchorus.aviary.aviary_settings import AviarySettings
    >>> recordist_gear(AviarySettings(), 0) == recordist_gear(AviarySettings(), 0)
    True
    """
    return draw_gear(settings.generator(Stream.RECORDIST, recordist))


def recordist_dialect(settings: AviarySettings, recordist: int, species: Species) -> Voice:
    """Return the dialect of ``species`` at a recordist's home, as a voice common to all birds there.

    Examples
    --------
    >>> from dawnchorus.aviary.aviary_settings import AviarySettings
    >>> from dawnchorus.aviary.aviary_settings import ALL_SPECIES
    >>> dialect = recordist_dialect(AviarySettings(), 0, ALL_SPECIES[0])
    >>> 0.5 < dialect.pitch < 1.5
    True
    """
    rng = settings.generator(Stream.DIALECT, recordist, settings.species.index(species))
    return draw_voice(rng, pitch_spread=0.05, tempo_spread=0.06)


def recordings_table(plans: list[RecordingPlan]) -> pd.DataFrame:
    """Return ``recordings.csv``: filename, primary_label, secondary_labels (joined by ``;``) and author.

    Examples
    --------
    >>> from dawnchorus.aviary.aviary_settings import AviarySettings
    >>> list(recordings_table(plan_recordings(AviarySettings())).columns)
    ['filename', 'primary_label', 'secondary_labels', 'author']
    """
    return pd.DataFrame(
        {
            "filename": [plan.filename for plan in plans],
            "primary_label": [plan.label for plan in plans],
            "secondary_labels": [";".join(species.name for species in plan.secondary) for plan in plans],
            "author": [recordist_name(plan.recordist) for plan in plans],
        }
    )


def make_recording(plan: RecordingPlan, settings: AviarySettings) -> NDArray[np.float32]:
    """Return the sound of a planned recording, shape (n_samples, n_channels), float32 in [-1, 1].

    The labelled bird sings throughout, mostly 8 to 28 dB above the background; one in ten is faint, at 5 to
    8 dB. Birds behind it are 1 to 6 dB softer and pause for longer.

    Examples
    --------
    >>> from dawnchorus.aviary.aviary_settings import AviarySettings
    >>> settings = AviarySettings(duration_s=(1.0, 2.0))
    >>> plan = plan_recordings(settings)[0]
    >>> make_recording(plan, settings).shape == (plan.n_samples, plan.n_channels)
    True
    """
    rng = settings.generator(Stream.RECORDING, plan.index)
    background = draw_background(rng, plan.n_samples, plan.sample_rate)
    snr_db = float(rng.uniform(5, 8) if rng.uniform() < 0.1 else rng.uniform(8, 28))
    songs = []
    for species in (plan.primary, *plan.secondary) if plan.primary is not None else ():
        is_primary = species is plan.primary
        individual = draw_voice(rng, pitch_spread=0.15, tempo_spread=0.12)
        songs += sing_along(
            species,
            individual * recordist_dialect(settings, plan.recordist, species),
            rng,
            span=range(plan.n_samples),
            gap_s=GAP_S if is_primary else DISTANT_GAP_S,
            snr_db=snr_db if is_primary else max(7.0, snr_db - float(rng.uniform(1, 6))),
            sample_rate=plan.sample_rate,
        )
    scene = mix_scene(background, songs, plan.sample_rate)
    gear = recordist_gear(settings, plan.recordist)
    return record(scene, plan.sample_rate, gear, rng, n_channels=plan.n_channels)
