"""Catalogue of downloads: competitions, their parts, and the places of these at Kaggle."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal

from dawnchorus.errors import DownloadError

SETTINGS_URL = "https://www.kaggle.com/settings"


@dataclass(frozen=True)
class KaggleSource:
    """A source at Kaggle, which sends it as one zip archive.

    Attributes
    ----------
    kind
        The data of a competition, whose rules must be accepted first, or a dataset.
    ref
        The competition's name, or the dataset's as ``owner/name``.

    Examples
    --------
    >>> source = KaggleSource("dataset", "somebody/birds")
    >>> source.slug, source.url
    ('birds', 'https://www.kaggle.com/datasets/somebody/birds')
    """

    kind: Literal["competition", "dataset"]
    ref: str

    @property
    def slug(self) -> str:
        """The last piece of the address, after which the archive is named."""
        return self.ref.rpartition("/")[2]

    @property
    def url(self) -> str:
        """The page that a person can open."""
        return f"https://www.kaggle.com/{self.kind}s/{self.ref}"

    def __str__(self) -> str:
        return f"the {self.kind} {self.ref}"


@dataclass(frozen=True)
class Pieces:
    """A zip archive that is spread over the archives of a part.

    Attributes
    ----------
    prefix
        Beginning of the pieces' names; joined in the order of their names they are one zip archive.
    folder
        Where its files must lie, relative to the folder of all downloads.

    Examples
    --------
    >>> Pieces(prefix="soundscapes.zip.part-", folder="soundscapes").folder
    'soundscapes'
    """

    prefix: str
    folder: str


@dataclass(frozen=True)
class Part:
    """A part of a competition that can be downloaded on its own.

    Attributes
    ----------
    name
        Its name for ``--only``.
    holds
        A few words for the help.
    sources
        The archives that it comes in.
    folder
        Where its files must lie, relative to the folder of all downloads; empty for that folder itself.
    default
        Whether it is downloaded where nothing is chosen.
    moved
        (folder in the archive, folder below the downloads); where some are given, other files are left out.
    pieces
        The zip archive that its archives hold in pieces, if they do.
    esc50
        (folder of ESC-50's clips, table of their classes, made from their names), if it has any.

    Examples
    --------
    >>> Part("noise", "soundscapes without birds", (KaggleSource("dataset", "somebody/noise"),)).default
    True
    """

    name: str
    holds: str
    sources: tuple[KaggleSource, ...]
    folder: str = ""
    default: bool = True
    moved: tuple[tuple[str, str], ...] = ()
    pieces: Pieces | None = None
    esc50: tuple[str, str] | None = None


@dataclass(frozen=True)
class Competition:
    """A competition by its name, and the parts that its pipeline needs.

    Examples
    --------
    >>> [part.name for part in COMPETITIONS["birdclef-2024"].parts]
    ['competition']
    """

    name: str
    parts: tuple[Part, ...]


def _dataset(name: str) -> KaggleSource:
    return KaggleSource("dataset", f"vladimirsydor/{name}")


def _competition_data(name: str, holds: str) -> Part:
    return Part("competition", holds, (KaggleSource("competition", name),))


# Downloads of the published second place: github.com/VSydorskyy/BirdCLEF_2025_2nd_place, rock_that_bird.sh.
_BIRDCLEF_2025 = (
    _competition_data(
        "birdclef-2025",
        "train.csv, taxonomy.csv, sample_submission.csv, train_audio, train_soundscapes, test_soundscapes",
    ),
    Part(
        "additional",
        "recordings of earlier competitions and of xeno-canto, with their tables",
        (_dataset("bird-clef-2025-add-data"),),
    ),
    Part(
        "backbones",
        "pretrained backbones",
        (_dataset("bird-clef-2025-all-pretrained-models"),),
        folder="birdclef_2025_all_pretrained_models",
    ),
    Part(
        "pseudo-labels",
        "tables of pseudo-labels",
        (_dataset("bird-clef-2025-pseudo"),),
        folder="birdclef_2025_pseudo",
    ),
    Part(
        "noise",
        "soundscapes without birds, and environmental sounds (ESC-50)",
        (_dataset("birdclef-2023-data-part2"), _dataset("birdclef-2023-data-part3")),
        moved=(("esc50/esc50", "esc50"),),
        pieces=Pieces("soundscapes_nocall.zip.part-", "soundscapes_nocall"),
        esc50=("esc50/audio", "esc50_background.csv"),
    ),
    Part(
        "models",
        "the trained ensembles, converted to OpenVINO",
        (_dataset("bird-clef-2025-models"),),
        folder="birdclef_2025_models",
    ),
    Part(
        "pretraining-tables",
        "tables of the recordings that the backbones were pretrained on",
        (_dataset("bird-clef-2025-pretrained-metadata"),),
        folder="birdclef_2025_pretrained_metadata",
        default=False,
    ),
)

COMPETITIONS = {
    "birdclef-2025": Competition("birdclef-2025", _BIRDCLEF_2025),
    **{
        name: Competition(name, (_competition_data(name, "all that the competition offers"),))
        for name in ("birdclef-2024", "birdclef-2023", "birdclef-2022", "birdclef-2021")
    },
}


def select_parts(competition: Competition, only: Sequence[str]) -> tuple[Part, ...]:
    """Return the chosen parts in the order of the catalogue; the default ones where none is chosen.

    Raises
    ------
    DownloadError
        The competition has no part of such a name.

    Examples
    --------
    >>> [part.name for part in select_parts(COMPETITIONS["birdclef-2025"], ["noise", "backbones"])]
    ['backbones', 'noise']
    """
    names = [part.name for part in competition.parts]
    for name in only:
        if name not in names:
            raise DownloadError(f"{competition.name} has no part {name!r}; legal: {', '.join(names)}")
    return tuple(part for part in competition.parts if (part.name in only if only else part.default))
