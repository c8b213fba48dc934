"""What augmentations share: the check of their settings, and numbers drawn for a batch."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

import torch
from torch import Generator, Tensor

from dawnchorus.errors import ConfigError


def check_settings(augmentation: Any, rules: Iterable[tuple[str, bool, str]]) -> None:
    """Raise a ConfigError for the first setting (name, whether it is legal, legal values) out of range.

    Examples
    --------
    >>> check_settings(object(), [("probability", True, "0 to 1")])
    """
    for name, holds, legal in rules:
        if not holds:
            kind = type(augmentation).__name__
            raise ConfigError(f"{kind}: {name} is {getattr(augmentation, name)}; legal: {legal}")


def uniform(low: float, high: float, batch_size: int, generator: Generator) -> Tensor:
    """Return a number for each example, low to high, shape (batch,), on the generator's device.

    Examples
    --------
    >>> import torch
    >>> uniform(2.0, 3.0, 4, torch.Generator().manual_seed(0)).shape
    torch.Size([4])
    """
    return low + (high - low) * torch.rand(batch_size, generator=generator, device=generator.device)
