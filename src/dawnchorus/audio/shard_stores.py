"""Conversion of recordings in shards, and the join of their lists.

Each recording has a store of its own, so that shards write theirs to where they belong. Only the lists of
recordings that failed, were left out or sound odd are joined.
"""

from __future__ import annotations

import shutil
from collections.abc import Iterable
from dataclasses import asdict
from pathlib import Path
from typing import Annotated, Literal, NamedTuple

from pydantic import AfterValidator, Field

from dawnchorus.audio.listing import list_recordings
from dawnchorus.audio.precompute import (
    Conversion,
    PrecomputeReport,
    PrecomputeSettings,
    convert_listing,
    update_lists,
)
from dawnchorus.audio.torchaudio_decode import check_torchaudio
from dawnchorus.config.json_files import Record
from dawnchorus.errors import DawnchorusError
from dawnchorus.files import Failure, from_legible, legible, size_of
from dawnchorus.files.shards import SHARDS_NAME, Shard, ShardRecords, alone_in, listing_digest
from dawnchorus.wording import shown


class _Job(Record, extra="ignore"):
    """What all shards have in common; the settings of the stores are compared alone."""

    command: Literal["precompute"]


def _named(text: str) -> str:
    if not _path_of(text).name:
        raise ValueError(f"{shown(text)} names no recording")
    return text


class _ShardContent(NamedTuple):
    """What a shard has converted, as its record has it; paths are legible."""

    recordings: list[str]
    is_folder: bool
    converted: list[Annotated[str, AfterValidator(_named)]]
    failures: list[tuple[str, str]]
    notes: list[tuple[str, str]]
    left_out: list[tuple[str, str]]
    n_skipped: Annotated[int, Field(ge=0)]
    hours_done: Annotated[float, Field(ge=0, le=1e9)]


def precompute_shard(
    audio: Path,
    features_dir: Path,
    settings: PrecomputeSettings,
    shard: Shard,
    *,
    audio_root: Path | None = None,
) -> PrecomputeReport:
    """Convert the recordings of one shard that have no current store, and report the counts.

    Every shard is given all recordings, the same settings and the same folder; shards may be converted at the
    same time, by any number of processes and machines that see the folder. :func:`join_stores` then joins
    the lists of what failed.

    Parameters
    ----------
    audio, features_dir, settings, audio_root
        As for :func:`dawnchorus.audio.precompute.precompute_recordings`.
    shard
        The shard.

    Raises
    ------
    RunError
        Another process converts this shard.
    DataError, MissingExtraError, DawnchorusError
        As there.

    Examples
    --------
    >>> from pathlib import Path
    >>> from dawnchorus.audio.precompute import PrecomputeSettings
    >>> from dawnchorus.files.shards import Shard
    >>> settings = PrecomputeSettings()
    >>> precompute_shard(Path("recordings"), Path("features"), settings, Shard(1, 2)).n_done
    4
    """
    if settings.store.decoder == "torchaudio":
        check_torchaudio()
    listing, is_folder = list_recordings(audio, root=audio_root), Path(audio).is_dir()
    features_dir = Path(features_dir)
    sizes = {str(path): size_of(listing.root / path) for path in listing.relative_paths}
    ours = [Path(name) for name in shard.of(sizes)]
    records = ShardRecords(features_dir)
    with alone_in(features_dir, lock=features_dir / SHARDS_NAME / "lock", shard=shard):
        before = records.content(shard, _ShardContent)
        made = convert_listing(listing._replace(relative_paths=ours), features_dir, settings)
        report = made.report
        if made.problems:
            raise DawnchorusError(
                f"{'; '.join(made.problems)}; {report.n_done} of {made.n_todo} recordings of shard {shard} "
                "are converted and whole, run the same command again for the rest"
            )
        new = set(made.converted)
        earlier = [] if before is None else [f for f in _failures_of(before.notes) if f.path not in new]
        converted = sorted({*new, *(() if before is None else map(_path_of, before.converted))})
        content = _ShardContent(
            [legible(str(path)) for path in ours],
            is_folder,
            [legible(str(path)) for path in converted],
            _texts_of(report.failures),
            _texts_of(sorted([*earlier, *report.notes])),
            _texts_of(report.left_out),
            report.n_skipped,
            report.hours_done,
        )
        job = {"command": "precompute", **asdict(settings.store)}
        records.write(shard, content, listing=listing_digest(sizes), job=job)
    return report


def _path_of(text: str) -> Path:
    return Path(from_legible(text))


def _texts_of(failures: Iterable[Failure]) -> list[tuple[str, str]]:
    return [(legible(str(path)), legible(reason)) for path, reason in failures]


def _failures_of(texts: Iterable[tuple[str, str]]) -> list[Failure]:
    return [Failure(_path_of(path), from_legible(reason)) for path, reason in texts]


def join_stores(features_dir: Path) -> PrecomputeReport:
    """Put the lists of all shards into those of a folder of stores, and report the counts.

    The stores are where they belong as soon as their shard has written them; after this, the lists too are
    those of one run, and ``shards`` is removed.

    Raises
    ------
    RunError
        Shards are missing, or not of one job; or one is at work.

    Examples
    --------
    >>> from pathlib import Path
    >>> from dawnchorus.audio.precompute import PrecomputeSettings
    >>> from dawnchorus.files.shards import Shard
    >>> for number in (1, 2):
    ...     shard = Shard(number, 2)
    ...     precompute_shard(Path("recordings"), Path("features"), PrecomputeSettings(), shard).n_done
    4
    4
    >>> join_stores(Path("features")).n_done
    8
    """
    records = ShardRecords(features_dir)
    if not records.exist:
        records.read(_Job, _ShardContent)
    with alone_in(features_dir, lock=features_dir / SHARDS_NAME / "lock"):
        _, contents = records.read(_Job, _ShardContent)
        converted = sorted(_path_of(path) for each in contents for path in each.converted)
        report = PrecomputeReport(
            n_done=len(converted),
            n_replaced=0,
            n_skipped=sum(each.n_skipped for each in contents),
            left_out=sorted(f for each in contents for f in _failures_of(each.left_out)),
            failures=sorted(f for each in contents for f in _failures_of(each.failures)),
            hours_done=sum(each.hours_done for each in contents),
            notes=sorted(f for each in contents for f in _failures_of(each.notes)),
        )
        names = {_path_of(path) for each in contents for path in each.recordings}
        covered = None if contents[0].is_folder else names
        problems = update_lists(features_dir, Conversion(report, [], len(names), converted), covered)
        if problems:
            raise DawnchorusError(f"{'; '.join(problems)}; join again")
        shutil.rmtree(features_dir / SHARDS_NAME)
    return report
