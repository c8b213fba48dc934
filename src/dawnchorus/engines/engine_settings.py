"""Settings of an engine on a machine: measured there, not the engine's defaults.

``dawnchorus tune`` measures and writes ``tuned.json`` beside the model; on another machine, or with another
number of threads, that file is ignored.
"""

from __future__ import annotations

import platform
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import Annotated, Any, ClassVar, Literal

from pydantic import ConfigDict, Field

from dawnchorus.config import Record, read_json_if_sound
from dawnchorus.machine import usable_cores

TUNED_NAME = "tuned.json"
_MAX_STREAMS = 8
_CLIPS_PER_REQUEST = 4


@dataclass(frozen=True)
class EngineSettings:
    """Threads, streams, clips and precision of an engine.

    Attributes
    ----------
    n_threads
        Threads of all streams together.
    n_streams
        Requests that are computed at the same time, each with a part of the threads.
    clips_per_request
        Clips of one request.
    precision
        ``f32``, or ``bf16`` where that was measured to be faster and close enough.

    Examples
    --------
    >>> EngineSettings(n_threads=4, n_streams=2, clips_per_request=8).precision
    'f32'
    """

    __pydantic_config__: ClassVar[ConfigDict] = ConfigDict(extra="forbid")

    n_threads: Annotated[int, Field(ge=1, strict=True)]
    n_streams: Annotated[int, Field(ge=1, strict=True)]
    clips_per_request: Annotated[int, Field(ge=1, strict=True)]
    precision: Literal["f32", "bf16"] = "f32"


class TunedEngine(Record):
    """The settings of an engine that were measured to be the fastest, and their time, ms a clip.

    Examples
    --------
    >>> TunedEngine(settings=default_settings(n_threads=4), ms_per_clip=12.5).ms_per_clip
    12.5
    """

    settings: EngineSettings
    ms_per_clip: float = Field(gt=0)


def default_settings(n_threads: int | None = None) -> EngineSettings:
    """Return settings that are good on most machines: a stream a core, a few clips each, float32.

    Examples
    --------
    >>> settings = default_settings(n_threads=4)
    >>> settings.n_threads, settings.precision
    (4, 'f32')
    """
    n_threads = n_threads or usable_cores()
    return EngineSettings(n_threads, min(n_threads, _MAX_STREAMS), _CLIPS_PER_REQUEST)


def frontend_threads(n_threads: int | None = None) -> int:
    """Return the number of threads for spectrograms beside an engine of ``n_threads``: half as many.

    Examples
    --------
    >>> frontend_threads(4), frontend_threads(1)
    (2, 1)
    """
    return max(1, (n_threads or usable_cores()) // 2)


def machine_name() -> str:
    """Return the key of tuned settings: the processor and the number of usable cores.

    Examples
    --------
    >>> machine_name().endswith("cores")
    True
    """
    cpuinfo = Path("/proc/cpuinfo")
    lines = cpuinfo.read_text(encoding="utf-8").splitlines() if cpuinfo.is_file() else []
    facts = dict(line.partition(":")[::2] for line in lines)  # of the last core; all are alike
    known = [facts[key].strip() for key in facts if key.strip() in ("cpu family", "model", "model name")]
    name = " ".join(known) or platform.processor() or platform.machine()
    return f"{name}, {usable_cores()} cores"


def engine_settings(
    folder: Path,
    engine: str,
    *,
    n_threads: int | None = None,
    clips_per_request: int | None = None,
) -> EngineSettings:
    """Return the settings that were measured on this machine, else the default ones.

    Parameters
    ----------
    folder
        Folder of the exported model.
    engine
        ``onnx`` or ``openvino``.
    n_threads, clips_per_request
        Overrides; None takes the measured or default values.

    Examples
    --------
    >>> from pathlib import Path
    >>> engine_settings(Path("model"), "onnx", n_threads=2, clips_per_request=8).clips_per_request
    8
    """
    wanted = n_threads or usable_cores()
    tuned = read_tuned(folder, engine)
    settings = default_settings(wanted) if tuned is None else tuned.settings
    if wanted != settings.n_threads:
        # The precision depends on the processor, streams and clips on the number of threads.
        settings = replace(default_settings(wanted), precision=settings.precision)
    return replace(settings, clips_per_request=clips_per_request or settings.clips_per_request)


def read_tuned(folder: Path, engine: str) -> TunedEngine | None:
    """Return what was measured for an engine on this machine; None where nothing was, or it is damaged.

    Examples
    --------
    >>> from pathlib import Path
    >>> read_tuned(Path("model"), "onnx") is None  # nothing was measured
    True
    """
    tuned = read_json_if_sound(folder / TUNED_NAME, dict[str, dict[str, TunedEngine]]) or {}
    return tuned.get(machine_name(), {}).get(engine)


def with_tuned(
    earlier: dict[str, Any], engine: str, settings: EngineSettings, ms_per_clip: float
) -> dict[str, Any]:
    """Return the content of ``tuned.json`` with an engine's settings on this machine set.

    Examples
    --------
    >>> tuned = with_tuned({}, "onnx", default_settings(n_threads=1), ms_per_clip=12.5)
    >>> tuned[machine_name()]["onnx"]["ms_per_clip"]
    12.5
    """
    machine = machine_name()
    entry = {"settings": asdict(settings), "ms_per_clip": round(ms_per_clip, 3)}
    return {**earlier, machine: {**earlier.get(machine, {}), engine: entry}}
