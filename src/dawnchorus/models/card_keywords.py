"""The keywords that a model card gives a network: data alone, which run no code and fetch nothing."""

from __future__ import annotations

import inspect
import re
from collections.abc import Mapping
from typing import Any, Literal

from pydantic import Field, field_validator

from dawnchorus.config.registry import BACKBONES, HEADS
from dawnchorus.config.settings import Settings, check_keywords, validate
from dawnchorus.errors import ConfigError
from dawnchorus.models.backbone import OWN_OPTIONS, WEIGHT_OPTIONS, is_timm_name
from dawnchorus.models.wave_cnn import WaveCNNAttenClassifier

REMEDY = (
    "a model card imports no code: open the run by the training config that it was made with, as in "
    "dawnchorus predict CONFIG.py or open_engine(RUN, config=CONFIG), or predict with its export"
)
"""Remedy for a run whose parts are not dawnchorus's."""

_PLAIN_TEXT = re.compile(r"[A-Za-z0-9_.-]{0,60}")
_NOT_BUILDING = ("pretrained", "weights")
"""Keywords for a network's starting weights. A checkpoint follows, so nothing is fetched or read."""


class CardKeywords(Settings):
    """The keywords of a :class:`WaveCNNAttenClassifier` that a card may give; see there.

    Examples
    --------
    >>> CardKeywords(backbone="test_resnet", dropout=0.2).dropout
    0.2
    """

    backbone: str = "tf_efficientnetv2_s.in21k"
    dropout: float = 0.5
    hidden_features: int = Field(default=512, ge=1, le=100_000)
    drop_path_rate: float | None = None
    frontend: dict[str, int | float | Literal["htk", "slaney"] | tuple[int, ...] | None] | None = None
    backbone_config: dict[str, Any] | None = None
    head: str = "attention"
    head_config: dict[str, Any] | None = None

    @field_validator("backbone_config", "head_config")
    @classmethod
    def _plain(cls, values: dict[str, Any] | None) -> dict[str, Any] | None:
        for key, value in (values or {}).items():
            if key.startswith("pretrained") or key in (*WEIGHT_OPTIONS, *OWN_OPTIONS) or not _is_plain(value):
                raise ValueError(f"{key} is {value!r}, which no model card may give a network")
        return values


def checked_keywords(network: Any, values: Mapping[str, Any], *, where: str) -> dict[str, Any]:
    """Return the keywords of a card that make its network.

    Parameters
    ----------
    network
        A registered network.
    values
        The card's keywords.
    where
        The card, for messages.

    Raises
    ------
    ConfigError
        A key is not known, or a value is not allowed in a card, such as a path or a part of one's own.

    Examples
    --------
    >>> from dawnchorus import WaveCNNAttenClassifier
    >>> checked_keywords(WaveCNNAttenClassifier, {"dropout": 0.2}, where="the card")["dropout"]
    0.2
    """
    values = {key: value for key, value in values.items() if key not in _NOT_BUILDING}
    if network is not WaveCNNAttenClassifier:
        check_keywords(network, values, where=where)
        for key, value in values.items():
            if not _is_plain(value):
                raise ConfigError(f"{where}.{key} is {value!r}, which no card may give a network; {REMEDY}")
        without = {"pretrained": False} if "pretrained" in inspect.signature(network).parameters else {}
        return {**values, **without}
    keywords = validate(CardKeywords, values, where=where)
    found = keywords.model_dump(exclude_unset=True)
    if not is_timm_name(keywords.backbone):
        found["backbone"] = BACKBONES.known(keywords.backbone, where=f"{where}.backbone", remedy=REMEDY)
    found["head"] = HEADS.known(keywords.head, where=f"{where}.head", remedy=REMEDY)
    return found


def _is_plain(value: Any) -> bool:
    """Return whether a value is a number, a plain word, or lists and dicts of such."""
    if isinstance(value, str):
        return _PLAIN_TEXT.fullmatch(value) is not None
    if isinstance(value, Mapping):
        return all(isinstance(key, str) and _is_plain(item) for key, item in value.items())
    if isinstance(value, list | tuple):
        return all(map(_is_plain, value))
    return value is None or isinstance(value, bool | int | float)
