"""The loaders, loss, optimizer and schedule of a published config in our keys."""

from __future__ import annotations

import re
from collections.abc import Mapping
from typing import Any

from dawnchorus.config.published_section import PublishedSection, call_arguments
from dawnchorus.config.python_literals import Function, LiteralPart
from dawnchorus.config.registry import OPTIMIZERS

METRICS: Mapping[str, str] = {"valid_roc_auc": "val_macro_roc_auc", "valid_avg_loss": "val_loss"}
_BALANCES = {"balanced": "inverse", "sqrt": "inverse_sqrt", None: "none"}


def loader_values(section: PublishedSection) -> dict[str, Any]:
    """Return the settings of a loader.

    Examples
    --------
    >>> from dawnchorus.config.published_section import PublishedSection
    >>> loader_values(PublishedSection({"batch_size": 64}, []))
    {'batch_size': 64}
    """
    keys = ("batch_size", "num_workers")
    values = {key: section.take(key, int) for key in keys if key in section.values}
    section.leave_rest()
    return {key: value for key, value in values.items() if value is not None}


def class_balance(args: PublishedSection) -> str:
    """Return the name of the balance of classes.

    Examples
    --------
    >>> from dawnchorus.config.published_section import PublishedSection
    >>> class_balance(PublishedSection({"use_sampler": True, "class_weights_path": "sqrt"}, []))
    'inverse_sqrt'
    """
    is_used = args.take("use_sampler", bool, False)
    weights = args.values.get("class_weights_path")
    if isinstance(weights, str | None) and weights in _BALANCES:
        args.take("class_weights_path")
    return _BALANCES.get(weights, "none") if is_used and isinstance(weights, str | None) else "none"


def loss_and_augmentations(args: PublishedSection) -> tuple[str, dict[str, Any]]:
    """Return the loss, and the augmentations of batches that the published forward pass holds.

    Examples
    --------
    >>> from dawnchorus.config.published_section import PublishedSection
    >>> loss_and_augmentations(PublishedSection({}, []))
    ('bce_focal', {})
    """
    given = args.values.get("forward")
    forward = given.result() if isinstance(given, Function) else given
    if not isinstance(forward, LiteralPart) or forward.last_name != "MultilabelClsForwardLongShort":
        return "bce_focal", {}
    args.take("forward")
    keys = PublishedSection(call_arguments(forward), args.left_out, prefix=f"{args.prefix}forward.")
    loss = "bce_focal" if keys.take("use_bce_focal_loss", bool, False) else "bce"
    for key, usual in (("loss_type", "baseline"), ("use_weights", False)):
        if keys.values.get(key) == usual:
            keys.take(key)
    augmentations: dict[str, Any] = {}
    filtering = keys.values.get("batch_aug")
    if isinstance(filtering, LiteralPart) and filtering.last_name == "RandomFiltering":
        keys.take("batch_aug")
        inner = PublishedSection(call_arguments(filtering), args.left_out, prefix=f"{keys.prefix}batch_aug.")
        augmentations["random_filtering"] = {
            "min_db": inner.take("min_db", (int, float), -20),
            "flat_ends": True,
        }
        for key in ("is_wave", "normalize_wave"):
            if inner.values.get(key) is True:
                inner.take(key)
        inner.leave_rest()
    keys.leave_rest()
    return loss, augmentations


def optimizer_values(args: PublishedSection) -> dict[str, Any]:
    """Return ``optimizer``; nothing where it has no counterpart.

    Examples
    --------
    >>> from dawnchorus.config.published_section import PublishedSection
    >>> from dawnchorus.config.python_literals import read_expression
    >>> adam = read_expression("lambda model: torch.optim.Adam(model.parameters(), lr=1e-4)")
    >>> optimizer_values(PublishedSection({"optimizer_init": adam}, []))
    {'name': 'Adam', 'lr': 0.0001, 'weight_decay': 0.0}
    """
    given = args.values.get("optimizer_init")
    made = given.result(LiteralPart("model")) if isinstance(given, Function) else None
    if not isinstance(made, LiteralPart) or not re.fullmatch(r"torch\.optim\.[A-Za-z]+", made.name):
        return {}
    args.take("optimizer_init")
    # All optimisers of torch begin with these two; what follows has other names in each.
    keys = PublishedSection(
        call_arguments(made, "params", "lr"), args.left_out, prefix=f"{args.prefix}optimizer_init."
    )
    if keys.values.get("params") == LiteralPart("model.parameters", ()):
        keys.take("params")
    name = made.last_name
    values: dict[str, Any] = {"name": name if name in OPTIMIZERS else f"torch.optim:{name}"}
    if (rate := keys.take("lr", (int, float))) is not None:
        values["lr"] = rate
    # AdamW is the one optimiser of torch that decays weights by default, by 0.01.
    values["weight_decay"] = keys.take("weight_decay", (int, float), 0.01 if name == "AdamW" else 0.0)
    further = {
        key: keys.take(key)
        for key, value in [*keys.values.items()]
        if key.isidentifier() and _is_plain(value)
    }
    if further:
        values["args"] = further
    keys.leave_rest()
    return values


def scheduler_values(args: PublishedSection, n_epochs: int) -> dict[str, Any]:
    """Return ``scheduler``, with one step an epoch; nothing where it has no counterpart.

    Examples
    --------
    >>> from dawnchorus.config.published_section import PublishedSection
    >>> scheduler_values(PublishedSection({"scheduler_init": None}, []), n_epochs=50)
    {'name': 'constant'}
    """
    given = args.values.get("scheduler_init")
    if given is None:
        args.take("scheduler_init")
        return {"name": "constant"}
    made = (
        given.result(LiteralPart("optimizer"), 1) if isinstance(given, Function) else None
    )  # one step an epoch
    if not isinstance(made, LiteralPart) or made.last_name != "CosineAnnealingWarmRestarts":
        return {}
    given = call_arguments(made, "optimizer", "T_0", "T_mult", "eta_min")
    keys = PublishedSection(given, args.left_out, prefix=f"{args.prefix}scheduler_init.")
    period, factor = given.get("T_0"), given.get("T_mult", 1)
    if type(period) is not int or period < 1 or factor != 1 or n_epochs % period:
        return {}
    args.take("scheduler_init")
    lowest = keys.take("eta_min", (int, float), 0)
    for key in ("optimizer", "T_0", "T_mult", *(["last_epoch"] if given.get("last_epoch") == -1 else [])):
        keys.take(key)
    keys.leave_rest()
    return {"name": "cosine", "min_lr": lowest, "restarts": n_epochs // period - 1}


def training_values(args: PublishedSection, *, debug: bool) -> dict[str, Any]:
    """Return epochs, checkpoints, metric and precision.

    Examples
    --------
    >>> from dawnchorus.config.published_section import PublishedSection
    >>> training_values(PublishedSection({"n_epochs": 30}, []), debug=False)["n_epochs"]
    30
    """
    values: dict[str, Any] = {
        "n_epochs": args.take("n_epochs", int, 50),
        "n_checkpoints": args.take("n_checkpoints_to_save", int, 3),
        "debug": args.take("debug", bool, False) or debug,
    }
    metric = args.values.get("main_metric")
    if isinstance(metric, str) and metric in METRICS:
        args.take("main_metric")
        values["main_metric"] = METRICS[metric]
    if args.values.get("precision_mode") in ("32-true", "16-mixed", "bf16-mixed"):
        values["precision_mode"] = args.take("precision_mode")
    return values


def _is_plain(value: Any) -> bool:
    if isinstance(value, list):
        return all(map(_is_plain, value))
    return isinstance(value, bool | int | float)
