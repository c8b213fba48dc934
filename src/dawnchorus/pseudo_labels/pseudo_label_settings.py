"""Settings of a table of pseudo-labels, and the check of an existing table against them."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from dawnchorus.batch.journaled import JournalSettings
from dawnchorus.config import read_json_if_sound
from dawnchorus.errors import ConfigError, RunError
from dawnchorus.files import refuse_existing
from dawnchorus.files.storage import given_path, is_remote
from dawnchorus.predict.postprocess import PostprocessSettings
from dawnchorus.pseudo_labels.pseudo_label_table import TABLE_SUFFIXES

SETTINGS_NAME = "settings.json"


@dataclass(frozen=True)
class LabellingSettings:
    """Settings of a table of pseudo-labels.

    Parameters
    ----------
    table
        The table to write, ``.parquet`` or ``.csv``.
    min_prob
        Rows whose largest probability is below this are left out.
    postprocess
        Postprocessing of probabilities before that choice.
    n_workers
        Threads that make spectrograms; None chooses.

    Raises
    ------
    ConfigError
        The table is of another kind, or ``min_prob`` not in 0 to 1.

    Examples
    --------
    >>> from pathlib import Path
    >>> settings = LabellingSettings(Path("round_1.parquet"), min_prob=0.1)
    >>> settings.min_prob
    0.1
    """

    table: Path
    min_prob: float = 0.0
    postprocess: PostprocessSettings = field(default_factory=PostprocessSettings)
    n_workers: int | None = None

    @property
    def journaled(self) -> JournalSettings:
        """Those of them that the journals depend on."""
        return JournalSettings(self.postprocess, n_workers=self.n_workers)

    def __post_init__(self) -> None:
        if is_remote(given := given_path(self.table)):
            raise ConfigError(f"{given}: the table is a file of this machine; name one")
        if self.table.suffix.lower() not in TABLE_SUFFIXES:
            raise ConfigError(
                f"{self.table}: pseudo-labels cannot be written {_kind(self.table)}; "
                f"legal: {' and '.join(TABLE_SUFFIXES)}"
            )
        if not 0 <= self.min_prob <= 1:
            raise ConfigError(f"min_prob is {self.min_prob:g}; it must lie in 0 to 1")


def _kind(table: Path) -> str:
    return f"as {table.suffix}" if table.suffix else "without a suffix"


def made_with(settings: LabellingSettings, folds: Sequence[int]) -> dict[str, Any]:
    """Return the settings that the table depends on beside the journals, in JSON's types.

    Examples
    --------
    >>> from pathlib import Path
    >>> made_with(LabellingSettings(Path("round_1.parquet")), folds=[0, 1])["out-of-fold"]
    [0, 1]
    """
    smoothing = settings.postprocess.smoothing
    return {
        "out-of-fold": list(folds),
        "min-prob": settings.min_prob,
        "smooth": None if smoothing is None else list(smoothing),
        "scale-by-maximum": settings.postprocess.scale_exponent,
    }


def check_earlier(out_dir: Path, table: Path, ours: Mapping[str, Any], *, force: bool) -> None:
    """Refuse to overwrite a table that was made with other settings, or is not noted as ours.

    Raises
    ------
    RunError
        There is such a table, and ``force`` is not set.

    Examples
    --------
    >>> from pathlib import Path
    >>> check_earlier(Path("out"), Path("round_1.csv"), {"min-prob": 0.1}, force=False)  # there is none yet
    """
    if force or not table.exists():
        return
    earlier = read_json_if_sound(out_dir / SETTINGS_NAME, dict[str, Any])
    if earlier is None:
        refuse_existing(table, force=False)
        return
    differing = [key for key in ours if earlier.get(key, ours[key]) != ours[key]]
    if differing:
        raise RunError(
            f"{table} was made with another {' and '.join(differing)}; choose another --out, or make it anew "
            "with --force (soundscapes are not predicted again for that)"
        )
