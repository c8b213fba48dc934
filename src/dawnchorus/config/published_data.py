"""The data, folds and clips of a published config in our keys."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from dawnchorus.config.published_section import PublishedSection, call_arguments
from dawnchorus.config.python_literals import LiteralPart

_ROOT_COLUMN = "data_root_id"  # of the published main table


def fold_values(top: PublishedSection) -> dict[str, Any]:
    """Return ``folds``.

    Examples
    --------
    >>> from dawnchorus.config.published_section import PublishedSection
    >>> fold_values(PublishedSection({"folds": [0, 1]}, []))
    {'trained': [0, 1], 'n_folds': 5}
    """
    folds = top.values.get("folds", [])
    if numbers := top.take_numbers("folds"):
        return {"trained": numbers, "n_folds": max(5, max(numbers) + 1)}
    if folds is None or folds == "train_valid" or type(folds) is int:
        top.take("folds")
    if folds is None:
        return {"n_folds": 1}
    if folds == "train_valid":
        return {"fold_column": "subset"}
    return {"trained": [folds], "n_folds": max(5, folds + 1)} if type(folds) is int else {}


def data_values(
    top: PublishedSection, train: PublishedSection, *, has_split: bool
) -> tuple[dict[str, Any], dict[str, Any]]:
    """Return ``data`` and ``labels``, and the folders of soundscapes.

    Examples
    --------
    >>> from dawnchorus.config.published_section import PublishedSection
    >>> train = PublishedSection({"root": "birds/train_audio"}, [])
    >>> data_values(PublishedSection({}, []), train, has_split=False)[1]
    {'audio_dir': 'birds/train_soundscapes'}
    """
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


def clip_values(section: PublishedSection) -> dict[str, Any]:
    """Return the length and levels of clips.

    Examples
    --------
    >>> from dawnchorus.config.published_section import PublishedSection
    >>> clip_values(PublishedSection({"segment_len": 5}, []))
    {'segment_len': 5, 'late_normalize': False, 'use_h5py': False}
    """
    found = {
        "segment_len": section.take("segment_len", (int, float)),
        "late_normalize": section.take("late_normalize", bool, False),
        "use_h5py": section.take("use_h5py", bool, False),
    }
    return {key: value for key, value in found.items() if value is not None}


def training_clip_values(train: PublishedSection, soundscapes: dict[str, Any]) -> dict[str, Any]:
    """Return ``train_dataset_config``; soundscapes with pseudo-labels lie in ``soundscapes``.

    Examples
    --------
    >>> from dawnchorus.config.published_section import PublishedSection
    >>> training_clip_values(PublishedSection({"do_mixup": True}, []), {})["mixup"]
    {'probability': 0.5, 'alpha': None}
    """
    # The published configs never use ratings, and smooth only where they say so.
    values = {**clip_values(train), "use_rating": False, "precompute": train.take("precompute", bool, False)}
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


def _background(train: PublishedSection) -> dict[str, Any]:
    """Return the late noises of ``late_aug``."""
    given = train.values.get("late_aug")
    kinds, is_one_of = [given], False
    if isinstance(given, LiteralPart) and given.last_name == "OneOf":
        choice = call_arguments(given, "transforms")
        if isinstance(transforms := choice.pop("transforms", None), list):
            kinds, is_one_of = transforms, True
    noises = [kind for kind in kinds if isinstance(kind, LiteralPart) and kind.last_name == "BackgroundNoise"]
    if not noises or len(noises) < len(kinds):
        return {}  # it stays, and is listed
    train.take("late_aug")
    if is_one_of:
        PublishedSection(choice, train.left_out, prefix=f"{train.prefix}late_aug.").leave_rest()
    rows = []
    for noise in noises:
        keys = PublishedSection(call_arguments(noise), train.left_out, prefix=f"{train.prefix}late_aug.")
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


def extra_recordings(train: PublishedSection) -> dict[str, int]:
    """Return how many recordings each class is filled up to.

    Examples
    --------
    >>> from dawnchorus.config.published_section import PublishedSection
    >>> extra_recordings(PublishedSection({"oversample_classes_dict": {"barswa": 20}}, []))
    {'barswa': 20}
    """
    given = train.values.get("oversample_classes_dict")
    if isinstance(given, dict) and all(type(number) is int and number >= 0 for number in given.values()):
        return {str(label): number for label, number in train.take("oversample_classes_dict", dict).items()}
    return {}
