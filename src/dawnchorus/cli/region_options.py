"""Options of plausible species."""

from __future__ import annotations

from enum import StrEnum
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

if TYPE_CHECKING:
    from dawnchorus.models.card import ModelCard
    from dawnchorus.predict.region import Region


class RegionMode(StrEnum):
    """What happens to the scores of implausible species."""

    hard = "hard"
    soft = "soft"


RegionOption = Annotated[
    list[Path] | None,
    typer.Option(
        "--region",
        help="Which species occur: a list, a table of species and weeks, eBird's bar chart, or GeoJSON of "
        "the area that the others are about; repeat the option for several.",
    ),
]
RegionModeOption = Annotated[
    RegionMode,
    typer.Option(help="With --region, never detect implausible species, or multiply their scores down."),
]
RegionMinimumOption = Annotated[
    float, typer.Option(min=0, max=1, help="With --region-mode hard, the frequency that a species must have.")
]
RegionSynonymsOption = Annotated[
    Path | None, typer.Option(help="Table of names that stand for one another, two columns.")
]
RegionSitesOption = Annotated[
    Path | None,
    typer.Option(
        help="Table of sites, for the coordinates of recordings that do not tell theirs; as report --sites."
    ),
]
RegionRemovedOption = Annotated[
    Path | None, typer.Option(help="Table of each detection that --region takes away, with the reason.")
]


def region_of(
    files: list[Path] | None,
    card: ModelCard,
    mode: RegionMode,
    minimum: float,
    synonyms: Path | None,
    sites: Path | None,
    removed: Path | None,
) -> Region | None:
    """Return the region that options describe, None where there is none."""
    from dawnchorus.errors import ConfigError
    from dawnchorus.formats.sites import read_sites
    from dawnchorus.formats.synonyms import Synonyms
    from dawnchorus.predict.region import Region, RegionSettings

    if not files:
        if removed is not None or synonyms is not None or sites is not None or minimum:
            raise ConfigError(
                "--region-removed and its siblings tell more of a region; name it with --region"
            )
        return None
    return Region.of(
        files,
        card.labels,
        RegionSettings(mode.value, minimum),
        taxonomy=card.species,
        synonyms=None if synonyms is None else Synonyms.read(synonyms),
        sites=() if sites is None else read_sites(sites),
    )
