"""A dict of a published config, whose keys are taken one by one, and what of it is left."""

from __future__ import annotations

import re
from collections.abc import Mapping
from typing import Any, NamedTuple

from dawnchorus.config.published_keys import PUBLISHED_KEYS, Counterpart
from dawnchorus.config.python_literals import LiteralPart, Unread, text_of
from dawnchorus.wording import in_line

_UNKNOWN = "dawnchorus does not know this key"
_LONGEST_NAME = 200


class LeftOut(NamedTuple):
    """A key that has no counterpart, its value as text, and the reason.

    Examples
    --------
    >>> LeftOut("train_function_args.metric_mode", "'max'", "follows from main_metric").key
    'train_function_args.metric_mode'
    """

    key: str
    value: str
    reason: str

    def __str__(self) -> str:
        return f"{self.key} = {in_line(self.value)}: {self.reason}"


class PublishedSection:
    """A dict of a published config, whose keys are taken one by one.

    Examples
    --------
    >>> left_out = []
    >>> section = PublishedSection({"n_epochs": 50, "prefix": "a"}, left_out)
    >>> section.take("n_epochs", int)
    50
    >>> section.leave_rest()
    >>> left_out[0].key
    'prefix'
    """

    def __init__(
        self,
        values: Mapping[str, Any],
        left_out: list[LeftOut],
        known: Mapping[str, Counterpart] = PUBLISHED_KEYS,
        prefix: str = "",
    ) -> None:
        self.values, self.left_out, self.known, self.prefix = dict(values), left_out, known, prefix

    def take(self, key: str, kind: type | tuple[type, ...] = object, default: Any = None) -> Any:
        """Return a value and remove it; one of another kind stays, to be listed, and the default counts."""
        value = self.values.get(key, default)
        wanted = kind if isinstance(kind, tuple) else (kind,)
        is_bool = isinstance(value, bool) and bool not in wanted and object not in wanted
        if isinstance(value, Unread) or is_bool or not isinstance(value, kind):
            return default
        self.values.pop(key, None)
        return value

    def section(self, key: str) -> PublishedSection:
        """Return a dict in this one."""
        return PublishedSection(self.take(key, dict, {}), self.left_out, self.known, f"{self.prefix}{key}.")

    def leave(self, key: str, value: Any, reason: str) -> None:
        """List a value that has no counterpart."""
        self.left_out.append(LeftOut(f"{self.prefix}{key}", text_of(value), reason))

    def leave_rest(self) -> None:
        """List what was not taken."""
        for key, value in self.values.items():
            known = self.known.get(f"{self.prefix}{key}", Counterpart("", _UNKNOWN))
            reasons = ("this value has no counterpart" if known.ours else "", known.remark)
            self.leave(key, value, "; ".join(filter(None, reasons)))

    def take_numbers(self, key: str) -> list[int] | None:
        """Return a list of whole numbers and remove it; None where there is none."""
        given = self.values.get(key)
        if isinstance(given, list) and given and all(type(one) is int for one in given):
            return list(self.take(key, list))
        return None


def experiment_name(top: PublishedSection) -> str:
    """Return the name of the experiment, as a folder may be named; a changed one is listed.

    Examples
    --------
    >>> experiment_name(PublishedSection({"exp_name": "night herons/v2"}, []))
    'night_herons_v2'
    """
    given = top.take("exp_name", str, "published")
    name = re.sub(r"[^A-Za-z0-9._-]+", "_", given).lstrip("._-")[:_LONGEST_NAME] or "published"
    if name != given:
        top.leave("exp_name", given, f"the name is {name}")
    return name


def call_arguments(part: LiteralPart, *names: str) -> dict[str, Any]:
    """Return the arguments of a call by name, positional ones without a name by their number.

    Examples
    --------
    >>> from dawnchorus.config.python_literals import LiteralPart
    >>> call_arguments(LiteralPart("torch.optim.Adam", ("weights", 1e-4)), "params", "lr")
    {'params': 'weights', 'lr': 0.0001}
    """
    positional = enumerate(part.arguments or ())
    numbered = {names[n] if n < len(names) else f"argument {n + 1}": value for n, value in positional}
    return {**numbered, **part.keywords}
