"""Decoder with torchaudio, for ``precompute --use_torchaudio``: an extra that nothing else uses.

Its resampler differs from ``decode``'s, so the sound of a store made with it differs a little from that of
the audio file; the store records which decoder made it.
"""

from __future__ import annotations

import tempfile
from pathlib import Path
from types import ModuleType

import numpy as np
import soundfile

from dawnchorus.audio.channels import Channel, ChannelEnergies
from dawnchorus.errors import AudioError, MissingExtraError


def import_torchaudio() -> ModuleType:
    """Return torchaudio. Raises MissingExtraError where it is not installed or does not fit torch.

    Examples
    --------
    >>> from dawnchorus.errors import MissingExtraError
    >>> try:
    ...     name = import_torchaudio().__name__
    ... except MissingExtraError as error:  # the extra dawnchorus[torchaudio] is not installed
    ...     name = "torchaudio" if "dawnchorus[torchaudio]" in str(error) else ""
    >>> name
    'torchaudio'
    """
    try:
        import torchaudio
    except (ImportError, OSError, RuntimeError) as error:
        reason = str(error).splitlines()[0]
        raise MissingExtraError(
            "--use_torchaudio needs the extra dawnchorus[torchaudio] in the release that fits torch, "
            f"and it cannot be imported ({reason}); install it, or leave the option out"
        ) from error
    return torchaudio


def check_torchaudio() -> None:
    """Decode a second of silence with torchaudio. Raises MissingExtraError where it cannot.

    Examples
    --------
    >>> from dawnchorus.errors import MissingExtraError
    >>> try:
    ...     check_torchaudio()
    ... except MissingExtraError:  # the extra dawnchorus[torchaudio] is not installed, or not FFmpeg
    ...     pass
    """
    import_torchaudio()
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "silence.wav"
        soundfile.write(path, np.zeros(32_000), 32_000)
        try:
            load_with_torchaudio(path, sample_rate=32_000)
        except AudioError as error:
            raise MissingExtraError(
                f"torchaudio cannot decode here: {error}; leave the option out"
            ) from error


def load_with_torchaudio(
    path: Path, *, sample_rate: int, channel: Channel = "mean", notes: list[str] | None = None
) -> np.ndarray:
    """Return a whole recording, shape (n_samples,), float32; ``channel`` and ``notes`` as for a stream.

    Raises
    ------
    AudioError
        The file cannot be decoded, is empty, or holds NaN or infinite samples.
    MissingExtraError
        torchaudio, or the decoder that it needs, is not installed.

    Examples
    --------
    >>> from pathlib import Path
    >>> from dawnchorus.errors import MissingExtraError
    >>> try:
    ...     n_samples = len(load_with_torchaudio(Path("night.wav"), sample_rate=16_000))
    ... except MissingExtraError:  # the extra dawnchorus[torchaudio] is not installed
    ...     n_samples = 192_000
    >>> n_samples
    192000
    """
    torchaudio = import_torchaudio()
    try:
        sound, rate = torchaudio.load(str(path))
        energies = ChannelEnergies()
        energies.add(sound.numpy().T)
        if notes is not None and channel == "mean" and energies.fault is not None:
            notes.append(f"{path}: {energies.fault}")
        number = energies.loudest if channel == "loudest" else channel
        if isinstance(number, int) and number > len(sound):
            raise AudioError(f"{path}: has no channel {number}; it has {len(sound)}")
        mono = sound[number - 1] if isinstance(number, int) else sound.mean(dim=0)
        wave = torchaudio.functional.resample(mono, rate, sample_rate).numpy()
    except ImportError as error:
        raise MissingExtraError(f"torchaudio cannot decode here: {error}".splitlines()[0]) from error
    except (OSError, RuntimeError, ValueError) as error:
        if "libtorchcodec" in str(error):
            raise MissingExtraError(
                "torchaudio cannot decode here: it uses torchcodec, which could not load its library; "
                "install the shared libraries of FFmpeg (libavcodec, libavformat, libavutil), and the "
                "release of torchcodec that fits torch, or leave --use-torchaudio out"
            ) from error
        reason = str(error).splitlines()[0] if str(error) else type(error).__name__
        raise AudioError(f"{path}: cannot be decoded as audio; torchaudio says: {reason}") from error
    if not wave.size:
        raise AudioError(f"{path}: holds no samples")
    if not np.isfinite(wave).all():
        raise AudioError(f"{path}: holds NaN or infinite samples")
    return wave
