"""Audio files: the kinds that are read, their headers, and opening them.

libsndfile decodes; ffmpeg, where installed, unpacks formats that libsndfile cannot read.

*Reading is sequential.* soundfile seeks to the current position after every read, which resets Opus and MP3
decoders; ours does not, so that the samples do not depend on the size of the blocks.
"""

from __future__ import annotations

import importlib.util
import io
import os
import re
import shutil
import subprocess
import sys
import tempfile
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager, suppress
from functools import lru_cache
from pathlib import Path
from typing import IO, Any, NamedTuple

import numpy as np
import soundfile

from dawnchorus.audio.salvage import SALVAGE_REMEDY, salvage_note
from dawnchorus.audio.unclaimed_sound import Reading, behind_id3, whole_reading
from dawnchorus.audio.windows import SHORTEST_S
from dawnchorus.errors import AudioError
from dawnchorus.files import FaultKeeper, FileVersion, PiecedFile
from dawnchorus.files.storage import as_path, is_remote
from dawnchorus.wording import install_extra

BLOCK = 1 << 18
"""Frames decoded at a time: 8 s at 32 kHz, 1 MiB a channel."""

_COPY_BYTES = 1 << 22
_SALVAGE_BLOCK = 1 << 11  # of a block in which decoding fails, all is lost

COMPRESSED = frozenset({"OGG", "MP3"})
"""Formats whose frames are not at fixed places, by libsndfile's names."""

_FFMPEG_SUFFIXES = frozenset({".m4a", ".aac", ".wma", ".3gp", ".webm", ".mp4"})
AUDIO_SUFFIXES = _FFMPEG_SUFFIXES | {
    *(".wav", ".w64", ".rf64", ".flac", ".ogg", ".oga", ".mp3", ".opus", ".aif", ".aiff", ".caf")
}

_LOWEST_RATE = 1_000  # Hz; below it no bird sings, and resampling a small file would take gigabytes
_HEADER_ONLY = 4_096  # bytes; a larger file has sound, even where its recorder died without updating it
_FRAMES_PER_BYTE = 10_000  # more than any codec packs: FLAC's largest frame of silence has 65,535 in 10 bytes
_UNKNOWN_LENGTH = 1 << 62  # libsndfile reports 2⁶³ − 1 frames where the length of a stream is unknown
_SHORT_CHUNK = re.compile(r"^ *(?:data|SSND|riff) *: (\d+) \(should be (\d+)\)", re.MULTILINE)
_STREAMED_SIZES = (1 << 31, 1 << 32)  # a chunk of nearly this size was written to a pipe, its size unknown
_STREAMED_SLACK = 0x1000
_LENGTH_MISMATCH = "does not match value from 'ds64' chunk"


FileIdentity = tuple[Path, int, int]
"""A version of a file: its path, size in bytes and time of change in ns."""


class AudioInfo(NamedTuple):
    """Sample rate (Hz), frames and channels of a recording, by its header or, where that is vague, counted.

    Examples
    --------
    >>> AudioInfo(sample_rate=48_000, n_frames=120_000, n_channels=2).duration_s
    2.5
    """

    sample_rate: int
    n_frames: int
    n_channels: int

    @property
    def duration_s(self) -> float:
        """The duration in seconds."""
        return self.n_frames / self.sample_rate


def read_info(path: Path, *, salvage: bool = False, notes: list[str] | None = None) -> AudioInfo:
    """Return the sample rate (Hz), frames and channels of a recording, mostly from its header alone.

    Only a header without the length (a streamed FLAC, an MP3 without a Xing or Info tag) costs one pass
    through the file.

    Parameters
    ----------
    path
        The recording.
    salvage
        Whether the frames of a recording whose header is wrong are counted, instead of an error.
    notes
        Gets a sentence where they were.

    Raises
    ------
    AudioError
        The file is missing, empty, damaged or of an unknown kind.

    Examples
    --------
    >>> from pathlib import Path
    >>> read_info(Path("night.wav"))
    AudioInfo(sample_rate=32000, n_frames=384000, n_channels=1)
    """
    identity = file_identity(as_path(path))
    if identity not in _known_infos:
        try:
            _known_infos[identity] = _info_of(*identity[:2])
        except AudioError as error:
            if not salvage:
                raise
            info = count_salvaged(path)
            if notes is not None:
                notes.append(salvage_note(path, str(error)))
            return info
    return _known_infos[identity]


def count_salvaged(path: Path) -> AudioInfo:
    """Return the info of a recording, of which all frames that can be read were counted.

    Raises
    ------
    AudioError
        It holds no sound that can be read.

    Examples
    --------
    >>> from pathlib import Path
    >>> count_salvaged(Path("night.wav")).n_frames
    384000
    """
    return _cached_count(*file_identity(as_path(path)))


@lru_cache(maxsize=1 << 16)
def _cached_count(path: Path, size: int, mtime_ns: int) -> AudioInfo:
    with open_recording(path, salvage=True) as file:
        n_frames = 0
        while n_read := len(read_frames(file, BLOCK, salvage=True)):
            n_frames += n_read
        _refuse_absurd_length(path, n_frames, file.samplerate, size)
        return AudioInfo(file.samplerate, n_frames, file.channels)


def read_frames(file: SequentialFile, n_frames: int, *, salvage: bool = False) -> np.ndarray:
    """Return the next frames, shape (at most n_frames, n_channels), float32; none at the end.

    With ``salvage``, a recording ends where it cannot be decoded; at most 2,048 frames before are lost.

    Examples
    --------
    >>> from pathlib import Path
    >>> with open_recording(Path("night.wav")) as file:
    ...     read_frames(file, 32_000).shape
    (32000, 1)
    """
    if not salvage:
        return file.read(min(BLOCK, n_frames), dtype="float32", always_2d=True)
    with suppress(soundfile.LibsndfileError):
        return file.read(min(_SALVAGE_BLOCK, n_frames), dtype="float32", always_2d=True)
    return np.zeros((0, file.channels), np.float32)


def known_info(path: Path) -> tuple[FileIdentity, AudioInfo | None]:
    """Return the identity of a version of a recording, and its info where this process has read it.

    Raises
    ------
    AudioError
        The file is missing, empty, or cannot be read.

    Examples
    --------
    >>> from pathlib import Path
    >>> _ = read_info(Path("night.wav"))
    >>> (path, n_bytes, mtime_ns), info = known_info(Path("night.wav"))
    >>> path.name, n_bytes, info.n_frames
    ('night.wav', 768044, 384000)
    """
    identity = file_identity(as_path(path))
    return identity, _known_infos.get(identity)


def remember_info(identity: FileIdentity, info: AudioInfo) -> None:
    """Store the info of a version of a file, so that :func:`read_info` need not open it.

    Examples
    --------
    >>> from pathlib import Path
    >>> identity, _ = known_info(Path("night.wav"))
    >>> remember_info(identity, AudioInfo(sample_rate=32_000, n_frames=384_000, n_channels=1))
    >>> read_info(Path("night.wav")).n_frames  # without opening the file
    384000
    """
    _known_infos[identity] = info


class SequentialFile(soundfile.SoundFile):
    """A sound file in which soundfile does not seek after each read; ``seek`` itself works.

    Examples
    --------
    >>> with SequentialFile("night.wav") as file:
    ...     file.seekable(), file.seek(32_000)
    (False, 32000)
    """

    keeper: FaultKeeper | None = None
    """Where the sound comes through a file of Python, from which errors do not reach it."""

    def seekable(self) -> bool:
        return False

    def read(self, *args: Any, **options: Any) -> Any:
        """Return frames, as soundfile does; raise OSError where the file could not be read."""
        found = super().read(*args, **options)
        if self.keeper is not None and self.keeper.fault is not None:
            raise self.keeper.fault
        return found


_known_infos: dict[FileIdentity, AudioInfo] = {}


@contextmanager
def open_recording(path: Path, *, salvage: bool = False) -> Iterator[SequentialFile]:
    """Open a recording; errors of libsndfile, now or while it is read, become an AudioError.

    With ``salvage``, one that is cut off, or whose data size is 0, is opened too.

    Examples
    --------
    >>> from pathlib import Path
    >>> with open_recording(Path("night.wav")) as file:
    ...     file.samplerate, file.frames
    (32000, 384000)
    """
    if path.suffix.lower() not in AUDIO_SUFFIXES:
        raise AudioError(f"{path}: not a recording by its name; {legal_suffixes()} are read")
    is_open = False
    with ExitStack() as stack:
        needs_ffmpeg = path.suffix.lower() in _FFMPEG_SUFFIXES
        readable = stack.enter_context(_unpacked_by_ffmpeg(path, salvage=salvage)) if needs_ffmpeg else path
        try:
            file = stack.enter_context(_open_whole(path, readable, stack, salvage=salvage))
            if not salvage:
                _refuse_cut_off(path, file)
            _refuse_other_info(path, file)
            is_open = True
            yield file
        except soundfile.LibsndfileError as error:
            reason = error.error_string.removeprefix("Error : ").rstrip(". ")
            remedy = SALVAGE_REMEDY if is_open and not salvage else ""
            raise AudioError(
                f"{path}: cannot be decoded as audio; libsndfile says: {reason}{remedy}"
            ) from error
        except OSError as error:
            if not is_remote(path):
                raise
            raise AudioError(f"{path}: cannot be read; {error.strerror or error}") from error


def _open_whole(path: Path, readable: Path, stack: ExitStack, *, salvage: bool) -> SequentialFile:
    """Open a file so that all its sound is read, also what its header does not claim."""
    reading = whole_reading(*file_identity(readable), salvage=salvage)
    if reading is None and not is_remote(readable):
        return SequentialFile(_as_libsndfile_takes_it(readable))
    if reading is None:
        return _kept(stack, readable.open("rb"))
    if len(reading.links) > 1:
        return SequentialFile(str(stack.enter_context(_joined_links(path, reading))))
    pieces = io.BufferedReader(PiecedFile(readable, reading.links[0]))
    return _kept(stack, pieces, **reading.options)


def _kept(stack: ExitStack, file: IO[bytes], **options: Any) -> SequentialFile:
    """Open a file of Python, whose errors are raised when what they cut off is read."""
    keeper = stack.enter_context(FaultKeeper(file))
    try:
        opened = SequentialFile(keeper, **options)
    except soundfile.LibsndfileError:
        if keeper.fault is not None:
            raise keeper.fault from None
        raise
    opened.keeper = keeper
    return opened


@contextmanager
def _joined_links(path: Path, reading: Reading) -> Iterator[Path]:
    """Yield a temporary float file with the sound of all streams of a chained file, one after the other."""
    with _temporary_folder(path) as folder:
        joined, form = folder / "joined.w64", None
        with ExitStack() as stack:
            for link in reading.links:
                with SequentialFile(io.BufferedReader(PiecedFile(path, link))) as file:
                    if form is None:
                        form = file.samplerate, file.channels
                        out = stack.enter_context(
                            soundfile.SoundFile(joined, "w", *form, subtype="FLOAT", format="W64")
                        )
                    elif form != (file.samplerate, file.channels):
                        raise AudioError(
                            f"{path}: its streams one after the other differ in rate or channels; split it"
                        )
                    while len(block := file.read(BLOCK, dtype="float32", always_2d=True)):
                        out.write(block)
        yield joined


@contextmanager
def _temporary_folder(path: Path) -> Iterator[Path]:
    try:
        folder = tempfile.TemporaryDirectory(prefix="dawnchorus-")
    except OSError as error:
        raise AudioError(f"{path}: cannot be unpacked; {error.strerror}; set TMPDIR") from error
    with folder as name:
        yield Path(name)


def _as_libsndfile_takes_it(path: Path) -> str | bytes:
    """Return the name of a file in bytes where the system has them, since it need not be text there."""
    return str(path) if sys.platform == "win32" else os.fsencode(path)


@contextmanager
def _unpacked_by_ffmpeg(path: Path, *, salvage: bool) -> Iterator[Path]:
    """Yield a temporary float WAV of a file that libsndfile cannot read."""
    program = _ffmpeg_program()
    if program is None:
        raise AudioError(
            f"{path}: {path.suffix} needs ffmpeg, which is not installed; install it, or its package with "
            f"{install_extra('ffmpeg')}, or convert the file to FLAC"
        )
    with _temporary_folder(path) as folder:
        unpacked = folder / "unpacked.wav"
        source = path
        if is_remote(path):
            source = folder / path.name
            with path.open("rb") as remote, source.open("wb") as local:
                shutil.copyfileobj(remote, local, _COPY_BYTES)
        command = [program, "-nostdin", "-v", "error", "-i", f"file:{source}", "-map", "0:a:0"]
        command += ["-c:a", "pcm_f32le", "-rf64", "auto", str(unpacked)]
        result = subprocess.run(command, capture_output=True, text=True, errors="replace", check=False)
        complaints = result.stderr.strip().splitlines()
        if any("No space left" in complaint for complaint in complaints):
            raise AudioError(f"{path}: cannot be unpacked in {folder}, where no space is left; set TMPDIR")
        if result.returncode or complaints:  # ffmpeg goes on after an error, with sound missing
            reason = (complaints or ["no reason given"])[-1]
            has_sound = unpacked.is_file() and unpacked.stat().st_size > _HEADER_ONLY
            if not (salvage and has_sound):
                remedy = SALVAGE_REMEDY if has_sound else ""
                raise AudioError(f"{path}: cannot be decoded as audio; ffmpeg says: {reason}{remedy}")
        yield unpacked


def _ffmpeg_program() -> str | None:
    """Return the ffmpeg on the path, or that of the extra, or None."""
    found = shutil.which("ffmpeg")
    if found is None and importlib.util.find_spec("imageio_ffmpeg") is not None:
        import imageio_ffmpeg

        with suppress(RuntimeError):  # it has no program for this machine
            found = imageio_ffmpeg.get_ffmpeg_exe()
    return found


def _refuse_cut_off(path: Path, file: SequentialFile) -> None:
    """Raise for a cut-off file, whose remains libsndfile reads without an error."""
    log = file.extra_info
    cut_chunk = _SHORT_CHUNK.search(log)
    if cut_chunk:
        n_claimed, n_there = int(cut_chunk[1]), int(cut_chunk[2])
        is_streamed = any(abs(n_claimed - size) <= _STREAMED_SLACK for size in _STREAMED_SIZES)
        if n_there < n_claimed and not is_streamed:
            raise AudioError(
                f"{path}: truncated; {n_there} of {n_claimed} bytes of sound are there{SALVAGE_REMEDY}"
            )
    if _LENGTH_MISMATCH in log:
        raise AudioError(f"{path}: truncated; it has not the length that its header says{SALVAGE_REMEDY}")
    if "lacks an end-of-stream bit" in log and "Junk after the last page" in log:
        raise AudioError(f"{path}: truncated; the Ogg stream ends within a page{SALVAGE_REMEDY}")


def _refuse_other_info(path: Path, file: SequentialFile) -> None:
    """Raise where what was remembered of a file, such as by an earlier run, is not what the file says."""
    known = _known_infos.get(file_identity(path))
    if known is None:
        return
    n_frames = known.n_frames if file.frames >= _UNKNOWN_LENGTH or file.format == "MP3" else file.frames
    if known != (file.samplerate, n_frames, file.channels):
        raise AudioError(
            f"{path}: {known.n_frames} frames at {known.sample_rate} Hz are remembered of it, and it has "
            f"{file.frames} at {file.samplerate} Hz; delete the folder headers in dawnchorus's cache"
        )


def _info_of(path: Path, size: int) -> AudioInfo:
    with open_recording(path) as file:
        n_frames = file.frames
        if n_frames >= _UNKNOWN_LENGTH or (file.format == "MP3" and not _has_length_tag(path)):
            n_frames = 0
            while n_read := len(file.read(BLOCK, dtype="float32", always_2d=True)):
                n_frames += n_read
        _refuse_absurd_length(path, n_frames, file.samplerate, size)
        return AudioInfo(file.samplerate, n_frames, file.channels)


def _refuse_absurd_length(path: Path, n_frames: int, sample_rate: int, n_bytes: int) -> None:
    if n_frames < 1:
        hint = "" if n_bytes < _HEADER_ONLY else f" by its header, in {n_bytes} bytes; repair the header"
        remedy = SALVAGE_REMEDY if hint and path.suffix.lower() in (".wav", ".rf64") else ""
        raise AudioError(f"{path}: holds no samples{hint}{remedy}")
    if sample_rate < _LOWEST_RATE:
        raise AudioError(
            f"{path}: its header says a sample rate of {sample_rate} Hz, and {_LOWEST_RATE:,} Hz are the "
            "least; repair the header, or leave the file out"
        )
    if n_frames < SHORTEST_S * sample_rate:
        raise AudioError(
            f"{path}: too short to hold a sound; it has {n_frames} samples at {sample_rate} Hz, "
            f"and {1000 * SHORTEST_S:g} ms are the least"
        )
    if n_frames > _FRAMES_PER_BYTE * n_bytes:
        raise AudioError(
            f"{path}: damaged; its header promises {n_frames} samples in {n_bytes} bytes{SALVAGE_REMEDY}"
        )


def _has_length_tag(path: Path) -> bool:
    """Return whether an MP3's first frame has the length; libmpg123 estimates it otherwise (0.5 % off)."""
    with path.open("rb") as file:
        file.seek(behind_id3(file.read(10), 0))
        first_frame = file.read(4096)
    return any(tag in first_frame for tag in (b"Xing", b"Info", b"VBRI"))


def file_identity(path: Path) -> FileIdentity:
    """Return the key of cached facts about a file: its path, size in bytes and time of change.

    Raises
    ------
    AudioError
        The file is missing, empty, or may not be read.

    Examples
    --------
    >>> from pathlib import Path
    >>> file_identity(Path("night.wav"))[0].name
    'night.wav'
    """
    try:
        version = FileVersion.of(path)
    except OSError as error:
        raise AudioError(f"{path}: cannot be read; {error.strerror}") from error
    if not (is_remote(path) or os.access(path, os.R_OK)):
        raise AudioError(f"{path}: cannot be read; Permission denied")
    if not version.n_bytes:
        raise AudioError(f"{path}: empty (0 bytes)")
    return path, *version


def legal_suffixes() -> str:
    """Return the suffixes of the files that can be read, as text for a message.

    Examples
    --------
    >>> legal_suffixes().split(", ")[:3]
    ['.3gp', '.aac', '.aif']
    """
    return ", ".join(sorted(AUDIO_SUFFIXES))
