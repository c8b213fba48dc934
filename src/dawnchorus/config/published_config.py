"""Configs of the published system in the keys of dawnchorus, and what of them has no counterpart."""

from __future__ import annotations

import re
from collections.abc import Mapping
from pathlib import Path
from typing import Any, NamedTuple

from dawnchorus.config.config_files import load_inference_config, load_train_config
from dawnchorus.config.published_keys import PUBLISHED_INFERENCE_KEYS, PUBLISHED_KEYS, Counterpart
from dawnchorus.config.python_literals import Function, LiteralPart, Unread, read_config_literal, text_of
from dawnchorus.config.registry import OPTIMIZERS
from dawnchorus.errors import ConfigError
from dawnchorus.files import legible, refuse_existing, replacing
from dawnchorus.wording import in_line

_HEADER = '''"""{title}, in the keys of dawnchorus.

Made of {source} by dawnchorus adopt-config.
"""
'''
_IMPORTS = """
from dawnchorus import WaveAllFileDataset, WaveCNNAttenClassifier, WaveDataset, lightning_training
"""
_UNKNOWN = "dawnchorus does not know this key"
_PLAIN_NAME = re.compile(r"[A-Za-z0-9_.]+")
_LINE_LENGTH = 80
_ROOT_COLUMN = "data_root_id"  # of the published main table
METRICS: Mapping[str, str] = {"valid_roc_auc": "val_macro_roc_auc", "valid_avg_loss": "val_loss"}
_BALANCES = {"balanced": "inverse", "sqrt": "inverse_sqrt", None: "none"}


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


class AdoptedConfig(NamedTuple):
    """A published config in the keys of dawnchorus.

    Attributes
    ----------
    values
        The ``CONFIG`` dict.
    left_out
        What has no counterpart.
    is_inference
        Whether it is a config for inference.

    Examples
    --------
    >>> AdoptedConfig({"exp_name": "owls"}, left_out=[], is_inference=False).values["exp_name"]
    'owls'
    """

    values: dict[str, Any]
    left_out: list[LeftOut]
    is_inference: bool


class _Bare(str):
    """The name of something that the written config imports."""

    def __repr__(self) -> str:
        return str(self)


def adopt_config(path: Path, out: Path, *, force: bool = False) -> list[LeftOut]:
    """Write a published config in the keys of dawnchorus, and return what has no counterpart.

    Parameters
    ----------
    path
        A Python file with the published system's ``CONFIG``, for training or inference. It is read as data:
        nothing in it is run, and none of its modules is needed.
    out
        The config to write. What has no counterpart stands in it as comments.
    force
        Whether to overwrite it.

    Raises
    ------
    ConfigError
        The file has no such config, or its values make no legal config.
    OverwriteError
        ``out`` is there.

    Examples
    --------
    >>> from pathlib import Path
    >>> _ = Path("published.py").write_text("CONFIG = {'exp_name': 'ebs', 'model_class': Net, 'n_folds': 5}")
    >>> [left.key for left in adopt_config(Path("published.py"), Path("ebs.py"))]
    ['model_class', 'n_folds']
    """
    refuse_existing(out, force=force)
    adopted = read_published_config(path)
    with replacing(out) as temporary:
        temporary.write_text(_source(adopted, path), encoding="utf-8")
        try:
            (load_inference_config if adopted.is_inference else load_train_config)(temporary)
        except ConfigError as error:
            raise ConfigError(str(error).replace(str(temporary), str(path))) from None
    return adopted.left_out


def read_published_config(path: Path) -> AdoptedConfig:
    """Return a published config in the keys of dawnchorus.

    Raises
    ------
    ConfigError
        The file has no such config.

    Examples
    --------
    >>> from pathlib import Path
    >>> _ = Path("published.py").write_text("CONFIG = {'exp_name': 'ebs', 'model_class': Net, 'n_folds': 5}")
    >>> read_published_config(Path("published.py")).values
    {'run': 'logdirs/ebs', 'exp_name': 'ebs'}
    """
    config = read_config_literal(path)
    if "model_class" in config and "train_function_args" not in config:
        left_out: list[LeftOut] = []
        return AdoptedConfig(
            _inference_values(_Section(config, left_out, PUBLISHED_INFERENCE_KEYS)), left_out, True
        )
    if not isinstance(config.get("train_function_args"), dict):
        raise ConfigError(
            f"{path} is no config of the published system: its CONFIG has no dict train_function_args"
        )
    return _training_config(config)


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
    section, left_out = _Section(values, []), list[LeftOut]()
    given = section.section("nn_model_config").values or section.section("model_config").values
    model = _Section(given, left_out)
    if not model.values:
        raise ConfigError(f"{path} is no config of the published system: its CONFIG has no network")
    clips = section.section(clip) if clip else section
    network = _network(section, model)[0]
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
        _experiment_name(_Section(config, [])),
        network,
        clips.take("segment_len", (int, float)),
        clips.take("late_normalize", bool),
    )


class _Section:
    """A dict of a published config, whose keys are taken one by one."""

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

    def section(self, key: str) -> _Section:
        """Return a dict in this one."""
        return _Section(self.take(key, dict, {}), self.left_out, self.known, f"{self.prefix}{key}.")

    def leave(self, key: str, value: Any, reason: str) -> None:
        """List a value that has no counterpart."""
        self.left_out.append(LeftOut(f"{self.prefix}{key}", text_of(value), reason))

    def leave_rest(self) -> None:
        """List what was not taken."""
        for key, value in self.values.items():
            known = self.known.get(f"{self.prefix}{key}", Counterpart("", _UNKNOWN))
            reasons = ("this value has no counterpart" if known.ours else "", known.remark)
            self.leave(key, value, "; ".join(filter(None, reasons)))


def _inference_values(top: _Section) -> dict[str, Any]:
    name = _experiment_name(top)
    values: dict[str, Any] = {"run": f"logdirs/{name}", "exp_name": name}
    if folds := _numbers(top, "folds_to_onnx"):
        values["folds"] = folds
    top.leave_rest()
    return values


def _training_config(config: Mapping[str, Any]) -> AdoptedConfig:
    left_out: list[LeftOut] = []
    top = _Section(config, left_out)
    args = top.section("train_function_args")
    train, val = args.section("train_dataset_config"), args.section("val_dataset_config")
    model = args.section("nn_model_config")
    network, masks, sample_rate = _network(args, model)
    folds = _folds(top)
    data, soundscapes = _data(top, train, has_split="trained" in folds)
    values: dict[str, Any] = {
        "exp_name": _experiment_name(top),
        "seed": top.take("seed", int, 42),
        **data,
        "folds": folds,
        "train_function": _known_part(top, "train_function", "lightning_training"),
        "nn_model_class": _known_part(
            args, "nn_model_class", "WaveCNNAttenClassifier", "WaveCNNAttenClasifier"
        ),
        "nn_model_config": network,
    }
    clip = {"sample_rate": sample_rate} if sample_rate else {}
    loss, augmentations = _loss(args)
    arguments = {
        "train_dataset_class": _known_part(args, "train_dataset_class", "WaveDataset"),
        "train_dataset_config": {**clip, **_training_clips(train, soundscapes)},
        "val_dataset_class": _known_part(args, "val_dataset_class", "WaveAllFileDataset"),
        "val_dataset_config": {**clip, **_clip(val)},
        "train_loader": _loader(args.section("train_dataloader_config")),
        "val_loader": _loader(args.section("val_dataloader_config")),
        "class_balance": _class_balance(args),
        "extra_recordings": _extra_recordings(train),
        "loss": loss,
        "batch_augmentations": {**augmentations, **masks},
        "optimizer": _optimizer(args),
        **_training(args, debug=train.take("debug", bool, False)),
    }
    arguments["scheduler"] = _scheduler(args, arguments["n_epochs"])
    for section in (top, args, train, val, model):
        section.leave_rest()
    return AdoptedConfig({**values, "train_function_args": arguments}, left_out, False)


def _experiment_name(top: _Section) -> str:
    given = top.take("exp_name", str, "published")
    name = re.sub(r"[^A-Za-z0-9._-]+", "_", given).lstrip("._-")[:_LONGEST_NAME] or "published"
    if name != given:
        top.leave("exp_name", given, f"the name is {name}")
    return name


_LONGEST_NAME = 200


def _known_part(section: _Section, key: str, ours: str, *others: str) -> _Bare:
    """Return a class or function of ours by its name; another one is listed."""
    given = section.take(key)
    if not isinstance(given, LiteralPart) or given.last_name not in (ours, *others):
        section.leave(key, given, f"{ours} takes its place")
    return _Bare(ours)


def _numbers(section: _Section, key: str) -> list[int] | None:
    given = section.values.get(key)
    if isinstance(given, list) and given and all(type(one) is int for one in given):
        return list(section.take(key, list))
    return None


def _folds(top: _Section) -> dict[str, Any]:
    folds = top.values.get("folds", [])
    if numbers := _numbers(top, "folds"):
        return {"trained": numbers, "n_folds": max(5, max(numbers) + 1)}
    if folds is None or folds == "train_valid" or type(folds) is int:
        top.take("folds")
    if folds is None:
        return {"n_folds": 1}
    if folds == "train_valid":
        return {"fold_column": "subset"}
    return {"trained": [folds], "n_folds": max(5, folds + 1)} if type(folds) is int else {}


def _data(top: _Section, train: _Section, *, has_split: bool) -> tuple[dict[str, Any], dict[str, Any]]:
    """Return ``data`` and ``labels``, and the folders of soundscapes."""
    root, table = train.take("root", str, "data/train_audio"), top.take("df_path", str)
    split = top.take("split_path", str) if has_split and table is not None else None
    mapping = train.take("filename_change_mapping", dict, {})
    replaced = train.take("replace_pathes", list, [])
    # The published loader puts the name of each root in the place of that of the first, "base".
    base = str(mapping.get("base") or root)
    renamed = {str(key): root.replace(base, str(value)) for key, value in mapping.items()}
    soundscapes = {"audio_dir": (Path(root).parent / "train_soundscapes").as_posix()}
    if stored := next((folder for key, folder in renamed.items() if key.startswith("soundscape")), None):
        soundscapes["features_dir"] = stored
    # "base" is no root of its own, where another key has its folder.
    keys = {folder: key for key, folder in renamed.items() if not key.startswith("soundscape")}
    roots = []
    for folder, key in keys.items() or [(root, "")]:
        place = {"audio_dir": folder, "faulty": "leave_out"}
        if table is not None:
            place["recordings"] = table
            if split is not None:
                place["folds_array"] = split
            if len(keys) > 1:
                place["root_column"] = _ROOT_COLUMN
                if Path(folder).name != key:
                    place["name"] = key
        if len(replaced) == 2 and all(isinstance(text, str) for text in replaced):
            place["features_dir"] = folder.replace(*replaced)
        roots.append(place)
    labels = train.take("label_str2int_mapping_path", str)
    return {"data": roots, **({} if labels is None else {"labels": labels})}, soundscapes


def _clip(section: _Section) -> dict[str, Any]:
    found = {
        "segment_len": section.take("segment_len", (int, float)),
        "late_normalize": section.take("late_normalize", bool, False),
        "use_h5py": section.take("use_h5py", bool, False),
    }
    return {key: value for key, value in found.items() if value is not None}


def _training_clips(train: _Section, soundscapes: dict[str, Any]) -> dict[str, Any]:
    # The published configs never use ratings, and smooth only where they say so.
    values = {**_clip(train), "use_rating": False, "precompute": train.take("precompute", bool, False)}
    values["label_smoothing"] = train.take("label_smoothing", (int, float)) or 0.0
    mixup = train.section("mixup_params")
    values["mixup"] = None
    if train.take("do_mixup", bool, False):
        values["mixup"] = {
            "probability": mixup.take("prob", (int, float), 0.5),
            "alpha": mixup.take("alpha", (int, float, type(None))),
        }
    mixup.leave_rest()
    values.update(_background(train))
    tables = train.take("soundscape_pseudo_df_path", (str, list), [])
    settings = train.section("soundscape_pseudo_config")
    if tables:
        names = [tables] if isinstance(tables, str) else tables
        values["soundscape_pseudo_config"] = {
            "tables": [{"table": str(name), **soundscapes} for name in names],
            **{
                key: settings.take(key, (int, float))
                for key in ("primary_label_min_prob", "trim_min_prob", "sampling_prob")
                if key in settings.values
            },
        }
    settings.leave_rest()
    if table := train.take("oof_df_path", str):
        values["out_of_fold_targets"] = {"table": table}
    return values


def _background(train: _Section) -> dict[str, Any]:
    """Return the late noises of ``late_aug``."""
    given = train.values.get("late_aug")
    kinds, is_one_of = [given], False
    if isinstance(given, LiteralPart) and given.last_name == "OneOf":
        choice = _arguments(given, "transforms")
        if isinstance(transforms := choice.pop("transforms", None), list):
            kinds, is_one_of = transforms, True
    noises = [kind for kind in kinds if isinstance(kind, LiteralPart) and kind.last_name == "BackgroundNoise"]
    if not noises or len(noises) < len(kinds):
        return {}  # it stays, and is listed
    train.take("late_aug")
    if is_one_of:
        _Section(choice, train.left_out, prefix=f"{train.prefix}late_aug.").leave_rest()
    rows = []
    for noise in noises:
        keys = _Section(_arguments(noise), train.left_out, prefix=f"{train.prefix}late_aug.")
        row = {
            "folder": keys.take("esc50_root", str, ""),
            "table": keys.take("esc50_df_path", str),
            "labels": keys.take("esc50_cats_to_include", list),
            "probability": keys.take("p", (int, float), 0.5),
            "peak_of": "file",
        }
        if keys.values.get("normalize") is True:
            keys.take("normalize")
        keys.leave_rest()
        rows.append({key: value for key, value in row.items() if value is not None})
    return {"background": rows, **({"background_choice": "one_of"} if is_one_of else {})}


def _extra_recordings(train: _Section) -> dict[str, int]:
    given = train.values.get("oversample_classes_dict")
    if isinstance(given, dict) and all(type(number) is int and number >= 0 for number in given.values()):
        return {str(label): number for label, number in train.take("oversample_classes_dict", dict).items()}
    return {}


def _loader(section: _Section) -> dict[str, Any]:
    keys = ("batch_size", "num_workers")
    values = {key: section.take(key, int) for key in keys if key in section.values}
    section.leave_rest()
    return {key: value for key, value in values.items() if value is not None}


def _class_balance(args: _Section) -> str:
    is_used = args.take("use_sampler", bool, False)
    weights = args.values.get("class_weights_path")
    if isinstance(weights, str | None) and weights in _BALANCES:
        args.take("class_weights_path")
    return _BALANCES.get(weights, "none") if is_used and isinstance(weights, str | None) else "none"


def _network(args: _Section, model: _Section) -> tuple[dict[str, Any], dict[str, Any], int | None]:
    """Return the network's keywords, the masks of its training, and the sample rate."""
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


def _frontend(model: _Section) -> dict[str, Any]:
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


def _masks(model: _Section) -> dict[str, Any]:
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


def _arguments(part: LiteralPart, *names: str) -> dict[str, Any]:
    """Return the arguments of a call by name, positional ones without a name by their number."""
    positional = enumerate(part.arguments or ())
    numbered = {names[n] if n < len(names) else f"argument {n + 1}": value for n, value in positional}
    return {**numbered, **part.keywords}


def _loss(args: _Section) -> tuple[str, dict[str, Any]]:
    """Return the loss, and the augmentations of batches that the published forward pass holds."""
    given = args.values.get("forward")
    forward = given.result() if isinstance(given, Function) else given
    if not isinstance(forward, LiteralPart) or forward.last_name != "MultilabelClsForwardLongShort":
        return "bce_focal", {}
    args.take("forward")
    keys = _Section(_arguments(forward), args.left_out, prefix=f"{args.prefix}forward.")
    loss = "bce_focal" if keys.take("use_bce_focal_loss", bool, False) else "bce"
    for key, usual in (("loss_type", "baseline"), ("use_weights", False)):
        if keys.values.get(key) == usual:
            keys.take(key)
    augmentations: dict[str, Any] = {}
    filtering = keys.values.get("batch_aug")
    if isinstance(filtering, LiteralPart) and filtering.last_name == "RandomFiltering":
        keys.take("batch_aug")
        inner = _Section(_arguments(filtering), args.left_out, prefix=f"{keys.prefix}batch_aug.")
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


def _optimizer(args: _Section) -> dict[str, Any]:
    given = args.values.get("optimizer_init")
    made = given.result(LiteralPart("model")) if isinstance(given, Function) else None
    if not isinstance(made, LiteralPart) or not re.fullmatch(r"torch\.optim\.[A-Za-z]+", made.name):
        return {}
    args.take("optimizer_init")
    # All optimisers of torch begin with these two; what follows has other names in each.
    keys = _Section(_arguments(made, "params", "lr"), args.left_out, prefix=f"{args.prefix}optimizer_init.")
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


def _scheduler(args: _Section, n_epochs: int) -> dict[str, Any]:
    given = args.values.get("scheduler_init")
    if given is None:
        args.take("scheduler_init")
        return {"name": "constant"}
    made = (
        given.result(LiteralPart("optimizer"), 1) if isinstance(given, Function) else None
    )  # one step an epoch
    if not isinstance(made, LiteralPart) or made.last_name != "CosineAnnealingWarmRestarts":
        return {}
    given = _arguments(made, "optimizer", "T_0", "T_mult", "eta_min")
    keys = _Section(given, args.left_out, prefix=f"{args.prefix}scheduler_init.")
    period, factor = given.get("T_0"), given.get("T_mult", 1)
    if type(period) is not int or period < 1 or factor != 1 or n_epochs % period:
        return {}
    args.take("scheduler_init")
    lowest = keys.take("eta_min", (int, float), 0)
    for key in ("optimizer", "T_0", "T_mult", *(["last_epoch"] if given.get("last_epoch") == -1 else [])):
        keys.take(key)
    keys.leave_rest()
    return {"name": "cosine", "min_lr": lowest, "restarts": n_epochs // period - 1}


def _training(args: _Section, *, debug: bool) -> dict[str, Any]:
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


def _source(adopted: AdoptedConfig, path: Path) -> str:
    """Return the Python text of a config."""
    kind = "inference" if adopted.is_inference else "training"
    title = f"The published {kind} config {adopted.values['exp_name']}"
    text = _HEADER.format(title=title, source=re.sub(r"[^A-Za-z0-9._-]", "_", path.name))
    if not adopted.is_inference:
        text += _IMPORTS
    text += f"\nCONFIG = {_python_text(adopted.values)}\n"
    if adopted.left_out:
        listed = "".join(f"#   {' '.join(str(one).split())}\n" for one in adopted.left_out)
        text += f"\n# Without counterpart:\n{listed}"
    return legible(text)


def _python_text(value: Any, indent: str = "") -> str:
    """Return Python text of plain values, one key or item a line where one line would be long."""
    inner = f"{indent}    "
    if isinstance(value, dict):
        items, brackets = [f"{key!r}: {_python_text(item, inner)}" for key, item in value.items()], "{}"
    elif isinstance(value, list):
        items, brackets = [_python_text(item, inner) for item in value], "[]"
    else:
        return repr(value)
    line = f"{brackets[0]}{', '.join(items)}{brackets[1]}"
    if len(indent) + len(line) <= _LINE_LENGTH and "\n" not in line:
        return line
    return f"{brackets[0]}\n" + "".join(f"{inner}{item},\n" for item in items) + indent + brackets[1]
