"""The network of a published config in our keywords."""

from __future__ import annotations

import re
from pathlib import Path
from typing import Any, NamedTuple

from dawnchorus.config.published_section import LeftOut, PublishedSection, experiment_name
from dawnchorus.config.python_literals import read_config_literal
from dawnchorus.errors import ConfigError

_PLAIN_NAME = re.compile(r"[A-Za-z0-9_.]+")


class PublishedNetwork(NamedTuple):
    """The network of a published config and its clip.

    Attributes
    ----------
    exp_name
        The experiment.
    keywords
        Of our network.
    segment_len, late_normalize
        Of its clips; None where the config does not say.

    Examples
    --------
    >>> PublishedNetwork("ebs", {"backbone": "eca_nfnet_l0"}, 5.0, True).segment_len
    5.0
    """

    exp_name: str
    keywords: dict[str, Any]
    segment_len: float | None
    late_normalize: bool | None


def read_published_network(path: Path) -> PublishedNetwork:
    """Return the network of a published config, for training or inference.

    Raises
    ------
    ConfigError
        The file has no such config.

    Examples
    --------
    >>> from pathlib import Path
    >>> text = "CONFIG = {'exp_name': 'ebs', 'segment_len': 5, 'model_config': dict(backbone='eca_nfnet_l0')}"
    >>> _ = Path("published.py").write_text(text)
    >>> read_published_network(Path("published.py")).keywords["backbone"]
    'eca_nfnet_l0'
    """
    config = read_config_literal(path)
    args = config.get("train_function_args")
    values, clip = (args, "val_dataset_config") if isinstance(args, dict) else (config, "")
    section, left_out = PublishedSection(values, []), list[LeftOut]()
    given = section.section("nn_model_config").values or section.section("model_config").values
    model = PublishedSection(given, left_out)
    if not model.values:
        raise ConfigError(f"{path} is no config of the published system: its CONFIG has no network")
    clips = section.section(clip) if clip else section
    network = network_values(section, model)[0]
    lost = [
        f"{each.key} {each.value}"
        for each in left_out
        if each.key.startswith("mel_spec_paramms.") and each.value != "None"
    ]
    if lost:
        raise ConfigError(
            f"{path}: the spectrogram has {', '.join(lost)}, which has no counterpart here; the model would "
            "hear something else"
        )
    return PublishedNetwork(
        experiment_name(PublishedSection(config, [])),
        network,
        clips.take("segment_len", (int, float)),
        clips.take("late_normalize", bool),
    )


def network_values(
    args: PublishedSection, model: PublishedSection
) -> tuple[dict[str, Any], dict[str, Any], int | None]:
    """Return the network's keywords, the masks of its training, and the sample rate.

    Examples
    --------
    >>> from dawnchorus.config.published_section import PublishedSection
    >>> model = PublishedSection({"backbone": "eca_nfnet_l0"}, [])
    >>> network_values(PublishedSection({}, []), model)[0]["backbone"]
    'eca_nfnet_l0'
    """
    values, backbone = {}, model.values.get("backbone")
    if isinstance(backbone, str) and _PLAIN_NAME.fullmatch(backbone):
        values["backbone"] = model.take("backbone")
    values["pretrained"] = True  # as the published network begins
    head = model.section("head_config")
    values["dropout"] = head.take("p", (int, float), 0.5)
    if (hidden := head.take("hidden_chans", int)) is not None:
        values["hidden_features"] = hidden
    head.leave_rest()
    added = model.section("add_backbone_config")
    if (rate := added.take("drop_path_rate", (int, float))) is not None:
        values["drop_path_rate"] = rate
    further = {
        key: added.take(key) for key, value in [*added.values.items()] if isinstance(value, int | float)
    }
    if further:
        values["backbone_config"] = further
    added.leave_rest()
    start = args.section("pretrain_config")
    if (weights := start.take("backbone_path", str)) is not None:
        values.update(weights=weights, pretrained=False)
    start.leave_rest()
    frontend = _frontend(model)
    if frontend:
        values["frontend"] = frontend
    if model.values.get("fixed_amplitude_to_db") is True:
        model.take("fixed_amplitude_to_db")
    return values, _masks(model), frontend.get("sample_rate")


def _frontend(model: PublishedSection) -> dict[str, Any]:
    """Return the settings of the front-end in a published network's keywords."""
    mel = model.section("mel_spec_paramms")
    names = {
        "sample_rate": "sample_rate",
        "n_fft": "n_fft",
        "hop_length": "hop_length",
        "n_mels": "n_mels",
        "f_min": "f_min_hz",
        "f_max": "f_max_hz",
        "win_length": "win_length",
    }
    found = {ours: mel.take(theirs, (int, float)) for theirs, ours in names.items() if theirs in mel.values}
    found = {
        key: float(value) if key.endswith("_hz") else value
        for key, value in found.items()
        if value is not None
    }
    rate = found.get("sample_rate", 32_000)
    found.setdefault("f_max_hz", rate / 2)  # torchaudio's default
    for theirs, ours in (("mel_scale", "mel_scale"), ("norm", "mel_norm")):
        if (name := mel.take(theirs, str)) is not None:
            found[ours] = name
    if "top_db" in model.values and (top_db := model.take("top_db", (int, float))) is not None:
        found["top_db"] = float(top_db)
    if mel.values.get("normalized") is True:
        mel.take("normalized")
    mel.leave_rest()
    return found


def _masks(model: PublishedSection) -> dict[str, Any]:
    given = model.section("spec_augment_config")
    values: dict[str, Any] = {}
    for kind, width, probability in (
        ("freq_mask", "max_mels", "frequency_probability"),
        ("time_mask", "max_frames", "time_probability"),
    ):
        mask = given.section(kind)
        if not mask.values:
            values[probability] = 0.0
            continue
        values[probability] = mask.take("p", (int, float), 0.5)
        if (longest := mask.take("mask_max_length", int)) is not None:
            values[width] = longest - 1
        most = mask.values.get("mask_max_masks")
        if type(most) is int and values.setdefault("max_masks", most) == most:
            mask.take("mask_max_masks")
        mask.take("inplace")
        mask.leave_rest()
    given.leave_rest()
    if not values.get("frequency_probability") and not values.get("time_probability"):
        return {}
    return {"spectrogram_masks": {"min_width": 0, **values}}
