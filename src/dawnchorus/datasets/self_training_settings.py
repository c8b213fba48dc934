"""Settings of training on pseudo-labels, ``soundscape_pseudo_config``, and the recipes with names."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Annotated, Any, Literal

from pydantic import Field, model_validator

from dawnchorus.augment.mixup import TargetRule
from dawnchorus.config import Settings

Recipe = Literal["published", "noisy_student"]
"""A named set of defaults: that of BirdCLEF+ 2025's second place, or that of its first."""

RECIPES: dict[str, dict[str, Any]] = {
    "published": {},
    "noisy_student": {
        "how": "mixup",
        "sampling_prob": 1.0,
        "primary_label_min_prob": 0.0,
        "target_rule": "maximum",
        "drawing": "soundscapes",
        "max_label_sum": 0.75,
        "powers": (1.0, 1 / 0.65, 1 / 0.55, 1 / 0.6),
        "drop_path_rate": 0.15,
    },
}


class PseudoTableSettings(Settings):
    """One table of pseudo-labels, and the folders of its soundscapes.

    Attributes
    ----------
    table
        ``.parquet`` or ``.csv``: ``row_id`` and a column a class.
    audio_dir, features_dir
        Folders of the soundscapes, and of the HDF5 files that ``dawnchorus precompute`` made of them.
    row_s
        Length of a row, seconds, where it is not that of the other tables.
    missing
        What classes without a column are in its rows: ``absent``, or ``unknown``, as in the table of a
        teacher who does not know them; a loss that passes over unknown targets must then be chosen.

    Examples
    --------
    >>> PseudoTableSettings(table="round_1.parquet", audio_dir="soundscapes").features_dir is None
    True
    """

    table: Path
    audio_dir: Path
    features_dir: Path | None = None
    row_s: float | None = Field(default=None, gt=0)
    missing: Literal["absent", "unknown"] = "absent"


class KnownSoundscapeSettings(Settings):
    """Soundscapes whose labels are known, mixed into training clips beside those with pseudo-labels.

    Attributes
    ----------
    tables
        Tables of rows with 1 for the classes that sing and 0 for the others.
    sampling_prob
        Chance that a training clip is mixed with one of them; it is then mixed with no pseudo-labelled one.
    max_label_sum
        As for pseudo-labels, for these.

    Examples
    --------
    >>> table = {"table": "known.csv", "audio_dir": "soundscapes"}
    >>> KnownSoundscapeSettings(tables=[table]).max_label_sum
    0.5
    """

    tables: tuple[PseudoTableSettings, ...] = Field(min_length=1)
    sampling_prob: float = Field(default=0.2, ge=0, le=1)
    max_label_sum: float | None = Field(default=0.5, gt=0)


class SelfTrainingSettings(Settings):
    """Settings of training on pseudo-labels whose tables are still to be made, as ``dawnchorus rounds`` does.

    Attributes
    ----------
    recipe
        Defaults of the other settings: ``published``, those named below; ``noisy_student``, mixup of every
        clip with chunks of soundscapes, the largest of both targets, no threshold of rows, labels that sum to
        0.75, four powers, and stochastic depth 0.15 (BirdCLEF+ 2025, first place).
    primary_label_min_prob
        Rows whose largest probability is above this are kept.
    trim_min_prob
        Probabilities below this become 0.
    exponent
        Power to which the probabilities are raised before that; above 1 it makes them sharper.
    powers
        The exponent of each round of ``dawnchorus rounds``, instead of ``exponent``; the last one also of all
        later rounds.
    sampling_prob
        Chance that a training clip is replaced by, or mixed with, a kept row.
    how
        ``replace``: a clip of class c becomes a random row whose primary label is c. ``mixup``: a clip is
        mixed with a random row, whatever its class.
    mixup_weight
        Weight of the labelled clip in that mix; the pseudo-labelled one has the rest.
    target_rule
        How the targets of that mix become one, as in ``mixup``; None takes the rule of ``mixup``.
    drawing
        ``rows``: a row, and a clip that holds it. ``soundscapes``: a soundscape, whose weight is the sum over
        classes of its largest probability, and a clip anywhere in it, whose target is the largest of the rows
        that it touches; with ``mixup`` only.
    max_label_sum
        Targets of a clip are scaled down to this sum; None leaves them.
    known
        Soundscapes with labels, mixed in at their own chance; None for none.
    out_of_fold
        Use only rows made by the models of other folds.
    row_s
        Length of a row, seconds.
    drop_path_rate
        Stochastic depth of the backbone in the rounds on pseudo-labels, not in the first training; None
        leaves that of ``nn_model_config``.
    n_epochs
        Epochs of a fold in the rounds on pseudo-labels; None leaves those of the config.

    Examples
    --------
    >>> SelfTrainingSettings().how, SelfTrainingSettings(recipe="noisy_student").how
    ('replace', 'mixup')
    >>> [round(SelfTrainingSettings(recipe="noisy_student").exponent_of(k), 2) for k in (1, 2, 3, 4, 5)]
    [1.0, 1.54, 1.82, 1.67, 1.67]
    """

    recipe: Recipe = "published"
    primary_label_min_prob: float = Field(default=0.5, ge=0, lt=1)
    trim_min_prob: float = Field(default=0.1, ge=0, le=1)
    exponent: float = Field(default=1.0, gt=0)
    powers: tuple[Annotated[float, Field(gt=0)], ...] = ()
    sampling_prob: float = Field(default=0.4, ge=0, le=1)
    how: Literal["replace", "mixup"] = "replace"
    mixup_weight: float = Field(default=0.5, ge=0, le=1)
    target_rule: TargetRule | None = None
    drawing: Literal["rows", "soundscapes"] = "rows"
    max_label_sum: float | None = Field(default=None, gt=0)
    known: KnownSoundscapeSettings | None = None
    out_of_fold: bool = False
    row_s: float = Field(default=5.0, gt=0)
    drop_path_rate: float | None = Field(default=None, ge=0, lt=1)
    n_epochs: int | None = Field(default=None, ge=1)

    @model_validator(mode="before")
    @classmethod
    def _with_recipe(cls, values: Any) -> Any:
        named = values.get("recipe") if isinstance(values, Mapping) else None
        return {**RECIPES[named], **values} if isinstance(named, str) and named in RECIPES else values

    @model_validator(mode="after")
    def _fits_together(self) -> SelfTrainingSettings:
        if self.drawing == "soundscapes" and self.how != "mixup":
            raise ValueError(
                f"drawing is soundscapes, whose clips have no class, and how is {self.how}; take mixup, or "
                "drawing rows"
            )
        return self

    def exponent_of(self, number: int) -> float:
        """Return the exponent of a round, from 1."""
        return self.powers[min(number, len(self.powers)) - 1] if self.powers else self.exponent


class PseudoLabelSettings(SelfTrainingSettings):
    """Settings of training on tables of pseudo-labels, beside those of :class:`SelfTrainingSettings`.

    Attributes
    ----------
    tables
        Tables in the order of their rank: a soundscape kept from one is not used again from later ones.

    Examples
    --------
    >>> table = {"table": "round_1.parquet", "audio_dir": "soundscapes"}
    >>> PseudoLabelSettings(tables=[table], how="mixup").primary_label_min_prob
    0.5
    """

    tables: tuple[PseudoTableSettings, ...] = Field(min_length=1)
