"""Batch normalisation over all devices keeps what timm's layers do beside it."""

from __future__ import annotations

import timm
import torch

from dawnchorus.training.trainer import TimmSyncBatchNorm


def test_timms_activations_stay() -> None:
    torch.manual_seed(0)
    network = timm.create_model("test_efficientnet.r160_in1k").eval()
    picture = torch.rand(1, 3, 64, 64)
    before = network(picture)
    converted = TimmSyncBatchNorm().apply(network)
    kinds = {type(module).__name__ for module in converted.modules()}
    assert "SyncBatchNormAct" in kinds
    assert "BatchNormAct2d" not in kinds
    # Its forward needs a GPU even in evaluation, so that the same weights are heard in an unchanged network.
    unchanged = timm.create_model("test_efficientnet.r160_in1k").eval()
    unchanged.load_state_dict(converted.state_dict())
    torch.testing.assert_close(unchanged(picture), before)
    activations = [
        module.act for module in converted.modules() if type(module).__name__ == "SyncBatchNormAct"
    ]
    assert any(not isinstance(activation, torch.nn.Identity) for activation in activations)
