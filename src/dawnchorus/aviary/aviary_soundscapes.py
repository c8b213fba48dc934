"""The soundscapes: several birds that sing over each other, annotated with exact times."""

from __future__ import annotations

from typing import NamedTuple

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from dawnchorus.aviary.aviary_settings import AviarySettings, Stream
from dawnchorus.aviary.noise import draw_background
from dawnchorus.aviary.scene import PlacedSong, draw_gear, mix_scene, record, sing_along
from dawnchorus.aviary.songs import draw_voice

FORMS = (("flac", 32000), ("ogg", 48000))
COLUMNS = ("filename", "start_s", "end_s", "label", "low_hz", "high_hz")
# One bird of each species, unless a species has two turns in one soundscape.
N_BIRDS = 4
GAP_S = (0.4, 1.2)
# Seconds for which a bird sings, and pauses.
BOUT_S = (6.0, 12.0)
PAUSE_S = (14.0, 26.0)
# All birds are silent for this fraction of a soundscape, at a stretch.
QUIET_FRACTION = 0.2


class Soundscape(NamedTuple):
    """A soundscape and its annotations.

    Attributes
    ----------
    waveform
        Shape (n_samples, 1), float32 in [-1, 1].
    annotations
        A row for each song: filename, start_s, end_s, label, low_hz, high_hz.

    Examples
    --------
    >>> from dawnchorus.aviary.aviary_settings import AviarySettings
    >>> soundscape = make_soundscape(0, AviarySettings(soundscape_s=10.0))
    >>> soundscape.waveform.shape[1], list(soundscape.annotations.columns)[:3]
    (1, ['filename', 'start_s', 'end_s'])
    """

    waveform: NDArray[np.float32]
    annotations: pd.DataFrame


def soundscape_form(index: int) -> tuple[str, int]:
    """Return the file name of soundscape ``index`` and its sample rate in hertz.

    Examples
    --------
    >>> soundscape_form(0), soundscape_form(1)
    (('dawn_000.flac', 32000), ('dawn_001.ogg', 48000))
    """
    extension, sample_rate = FORMS[index % len(FORMS)]
    return f"dawn_{index:03d}.{extension}", sample_rate


def make_soundscape(index: int, settings: AviarySettings) -> Soundscape:
    """Return soundscape ``index``: several birds that sing in bouts, and one long silence.

    Examples
    --------
    >>> from dawnchorus.aviary.aviary_settings import AviarySettings
    >>> settings = AviarySettings(soundscape_s=10.0)
    >>> len(make_soundscape(0, settings).waveform) / soundscape_form(0)[1]
    10.0
    """
    rng = settings.generator(Stream.SOUNDSCAPE, index)
    filename, sample_rate = soundscape_form(index)
    n_samples = round(settings.soundscape_s * sample_rate)
    n_quiet = round(QUIET_FRACTION * n_samples)
    quiet_start = int(rng.integers(0, n_samples - n_quiet))
    quiet = range(quiet_start, quiet_start + n_quiet)
    songs = []
    for number in cast(index, settings):
        songs += bird_songs(number, settings, rng, n_samples=n_samples, sample_rate=sample_rate)
    songs = [placed for placed in songs if is_heard(placed, quiet, n_samples)]
    scene = mix_scene(draw_background(rng, n_samples, sample_rate), songs, sample_rate)
    waveform = record(scene, sample_rate, draw_gear(rng), rng)
    return Soundscape(waveform, annotate(filename, songs, sample_rate))


def cast(index: int, settings: AviarySettings) -> list[int]:
    """Return the numbers of the species in soundscape ``index``; over all soundscapes they take turns.

    Examples
    --------
    >>> from dawnchorus.aviary.aviary_settings import AviarySettings
    >>> len(set(cast(0, AviarySettings()))) == len(cast(0, AviarySettings()))
    True
    """
    first, last = N_BIRDS * index, N_BIRDS * (index + 1)
    rng = settings.generator(Stream.CAST)
    rounds = [rng.permutation(settings.n_species) for _ in range(-(-last // settings.n_species))]
    return list(dict.fromkeys(np.concatenate(rounds)[first:last].tolist()))


def bird_songs(
    number: int, settings: AviarySettings, rng: np.random.Generator, *, n_samples: int, sample_rate: int
) -> list[PlacedSong]:
    """Return all songs of one bird of species ``number``, 7 to 28 dB above the background.

    Examples
    --------
    >>> import numpy as np
    >>> from dawnchorus.aviary.aviary_settings import AviarySettings
    >>> settings, rng = AviarySettings(), np.random.default_rng(0)
    >>> songs = bird_songs(0, settings, rng, n_samples=320_000, sample_rate=32_000)
    >>> {song.label for song in songs}
    set()
    """
    voice = draw_voice(rng, pitch_spread=0.15, tempo_spread=0.12)
    snr_db = float(rng.uniform(10, 25))
    songs: list[PlacedSong] = []
    start = round(rng.uniform(0, PAUSE_S[1]) * sample_rate)
    while start < n_samples:
        stop = start + round(rng.uniform(*BOUT_S) * sample_rate)
        songs += sing_along(
            settings.species[number],
            voice,
            rng,
            span=range(start, min(stop, n_samples)),
            gap_s=GAP_S,
            snr_db=snr_db,
            sample_rate=sample_rate,
        )
        start = stop + round(rng.uniform(*PAUSE_S) * sample_rate)
    return songs


def is_heard(placed: PlacedSong, quiet: range, n_samples: int) -> bool:
    """Return whether a song lies wholly inside the soundscape and outside its silence.

    Examples
    --------
    >>> import numpy as np
    >>> from dawnchorus.aviary.scene import PlacedSong
    >>> from dawnchorus.aviary.songs import Song
    >>> song = PlacedSong("Sibilus_lentus", Song(np.ones(3200, np.float32), 2000.0, 3000.0), 16_000, 12.0)
    >>> is_heard(song, quiet=range(32_000, 64_000), n_samples=320_000)
    True
    >>> is_heard(song, quiet=range(0, 32_000), n_samples=320_000)
    False
    """
    end = placed.start + len(placed.song.waveform)
    return end <= n_samples and (end <= quiet.start or placed.start >= quiet.stop)


def annotate(filename: str, songs: list[PlacedSong], sample_rate: int) -> pd.DataFrame:
    """Return a row for each song, sorted by time: seconds to the microsecond, hertz to a tenth.

    Examples
    --------
    >>> import numpy as np
    >>> from dawnchorus.aviary.scene import PlacedSong
    >>> from dawnchorus.aviary.songs import Song
    >>> song = PlacedSong("Sibilus_lentus", Song(np.ones(3200, np.float32), 2000.0, 3000.0), 16_000, 12.0)
    >>> annotate("night.flac", [song], 32_000).iloc[0].to_dict()
    {'filename': 'night.flac', 'start_s': 0.5, 'end_s': 0.6, 'label': 'Sibilus_lentus', 'low_hz': 2000.0,
    'high_hz': 3000.0}
    """
    rows = [
        (
            filename,
            round(placed.start / sample_rate, 6),
            round((placed.start + len(placed.song.waveform)) / sample_rate, 6),
            placed.label,
            round(placed.song.low_hz, 1),
            round(placed.song.high_hz, 1),
        )
        for placed in songs
    ]
    return pd.DataFrame(sorted(rows), columns=list(COLUMNS))
