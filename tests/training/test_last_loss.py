"""The loss of an epoch's last batch, which a GPU may have computed only after the epoch."""

from __future__ import annotations

from types import SimpleNamespace
from typing import Any

import pytest
import torch

from dawnchorus.training.module import PendingLoss, WaveClassifierModule
from dawnchorus.training.training_failures import NotFiniteError


@pytest.mark.parametrize("value", [0.5, float("nan"), float("inf")])
def test_it_is_checked_at_the_end_of_an_epoch_without_validation(value: float) -> None:
    loss = PendingLoss.of(torch.tensor(value), batch_index=3, n_processes=1)
    module: Any = SimpleNamespace(_last_loss=loss, current_epoch=2)
    module._check_last = lambda: WaveClassifierModule._check_last(module)
    if value == 0.5:
        WaveClassifierModule.on_train_epoch_end(module)
    else:
        with pytest.raises(NotFiniteError, match="3"):
            WaveClassifierModule.on_train_epoch_end(module)
    assert module._last_loss is None
