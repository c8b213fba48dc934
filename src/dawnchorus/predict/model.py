"""``Model``, a trained ensemble that takes any sound, and ``load_model``, which opens one."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import AbstractContextManager, nullcontext
from datetime import datetime
from glob import has_magic
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from dawnchorus.audio.channels import Channel, checked_channel
from dawnchorus.audio.clips import make_clip
from dawnchorus.audio.container import read_info
from dawnchorus.audio.recorder_names import RecorderTimes
from dawnchorus.audio.recorder_times import Recorder, recorder_of, recorder_time
from dawnchorus.audio.sound import Sound
from dawnchorus.config import TrainConfig
from dawnchorus.engines.calibrations import with_answers
from dawnchorus.engines.engine import Engine
from dawnchorus.engines.ensembles import Ensemble, WeightedModel, bundled_models
from dawnchorus.engines.opening import EngineName
from dawnchorus.errors import AudioError, ConfigError, DataError, ModelError
from dawnchorus.features.logmel import FrontendSettings
from dawnchorus.features.spectrogram import Spectrogram
from dawnchorus.files import Failure
from dawnchorus.formats import ModelFacts
from dawnchorus.models.card import ModelCard
from dawnchorus.predict.birds_inference import BirdsInference
from dawnchorus.predict.clip_requests import clip_requests
from dawnchorus.predict.postprocess import PostprocessSettings, postprocess
from dawnchorus.predict.predictions import PredictedRecording, Predictions
from dawnchorus.predict.recording_files import find_recordings
from dawnchorus.progress import audio_progress

_SHOW_PROGRESS_FROM_S = 600.0  # of sound


class Model:
    """A model that is ready to predict, in any engine. Made by :func:`load_model`.

    Parameters
    ----------
    engine
        The ensemble in its engine.
    path
        Path of the model; calibrated thresholds lie beside it.
    n_workers
        Threads that make spectrograms; one for two cores if not given.

    Attributes
    ----------
    labels
        The classes, in the order of the outputs.
    sample_rate
        Of its input, in Hz; sounds of other rates are resampled.
    window_s
        Seconds of a window.
    name
        The experiment that it comes from.
    card
        The model card.
    is_calibrated
        Whether its scores are probabilities of presence; otherwise they are the networks' own.

    Examples
    --------
    >>> import numpy as np
    >>> import dawnchorus as dc
    >>> model = dc.load_model("model", n_threads=1)
    >>> model.labels, model.sample_rate, model.window_s
    (('wren', 'robin', 'owl'), 16000, 5.0)
    >>> model.predict("night.wav").to_frame().shape  # three windows, three classes
    (3, 3)
    >>> model.embed(np.zeros(80_000), sample_rate=16_000).shape
    (1, 96)
    """

    def __init__(self, engine: Engine, *, path: Path | None = None, n_workers: int | None = None) -> None:
        self.engine = engine
        self.path = path
        self.n_workers = n_workers

    @property
    def card(self) -> ModelCard:
        """The model card."""
        return self.engine.card

    @property
    def labels(self) -> tuple[str, ...]:
        """The classes, in the order of the outputs."""
        return self.card.labels

    @property
    def sample_rate(self) -> int:
        """Of the model's input, in Hz."""
        return self.card.sample_rate

    @property
    def window_s(self) -> float:
        """Seconds of a window."""
        return self.card.segment_len

    @property
    def name(self) -> str:
        """The experiment that it comes from."""
        return self.card.exp_name

    @property
    def is_calibrated(self) -> bool:
        """Whether its scores are probabilities of presence; otherwise they are the networks' own."""
        return self.engine.thresholds is not None

    @property
    def _facts(self) -> ModelFacts:
        return ModelFacts(self.card.credit, self.card.species)

    def predict(
        self,
        sound: Any,
        *,
        sample_rate: int | None = None,
        overlap_s: float = 0.0,
        postprocessing: PostprocessSettings | None = None,
        embeddings: bool = False,
        channel: Channel | None = None,
        salvage: bool = False,
    ) -> Predictions:
        """Return the probability of each class in each window, that of its presence where it is calibrated.

        The numbers do not depend on what is predicted together, or on the form of a sound: a file, the
        samples of that file, or a stream of them in blocks.

        Parameters
        ----------
        sound
            A file, folder or pattern such as ``"nights/*.wav"``; an array or a generator of blocks, with
            ``sample_rate``; a :class:`dawnchorus.audio.sound.Sound`; or a list of any of them. A list of
            numbers is not an array: pass ``numpy.array(numbers)``.
        sample_rate
            Of arrays and streams, in Hz.
        overlap_s
            Seconds that a window shares with the next one, from 0 to below a window.
        postprocessing
            Means of shifted or overlapping windows, smoothing and scaling of probabilities.
        embeddings
            Whether to keep the embedding of each window.
        channel
            What to read of several channels, as for :meth:`dawnchorus.Sound.of`: a number from 1, ``mean``,
            ``loudest`` or ``each``; what the model was trained with if not given, mostly the mean.
        salvage
            Whether damaged recordings are read as far as they go, as for :meth:`dawnchorus.Sound.of`;
            ``notes`` of the result say of which this is so.

        Raises
        ------
        AudioError, StoreError
            The only sound cannot be read. Of several, ``failures`` of the result lists those that cannot.
        DataError
            There is no such file or folder, or none of several can be read.
        ConfigError
            The overlap or the shift is out of its range.
        """
        sounds = list(_sounds(sound, sample_rate, self._channel(channel), salvage=salvage))
        settings = postprocessing or PostprocessSettings()
        if settings.overlap_average and 2 * overlap_s < self.window_s:
            raise ConfigError(
                f"with an overlap of {overlap_s:g} s nothing can be averaged; overlap by "
                f"{self.window_s / 2:g} s or more, or leave overlap_average out"
            )
        inference = self._inference(overlap_s, settings.shift_s, embeddings=embeddings)
        recordings: list[PredictedRecording] = []
        failures: list[Failure] = []
        notes: list[Failure] = []
        with _progress(sounds) as advance:
            for done, outcome in inference.predict_sounds(sounds, on_progress=advance):
                notes += [Failure(done.path or Path(done.name), note) for note in done.notes]
                if isinstance(outcome, Failure):
                    failures.append(outcome)
                else:
                    calibrated = outcome.calibrated(self.engine.calibration)
                    windows = postprocess(
                        calibrated, settings, window=self.card.n_segment, step=inference.plan.step
                    )
                    recorder = Recorder() if done.path is None else recorder_of(done.path)
                    recordings.append(
                        PredictedRecording(done.name, done.path, _start_of(done), windows, recorder)
                    )
        if not recordings:
            raise _none_readable(failures, n_sounds=len(sounds))
        return Predictions(
            self.labels, recordings, failures, self.path, overlap_s, notes, self._facts,
            self.engine.thresholds, self.engine.calibration,
        )  # fmt: skip

    def stream(
        self,
        blocks: Any,
        *,
        sample_rate: int | None = None,
        overlap_s: float = 0.0,
        embeddings: bool = False,
        name: str | None = None,
        channel: Channel | None = None,
    ) -> Iterator[Predictions]:
        """Yield the prediction of each window as soon as its last sample has come.

        The numbers are those of :meth:`predict`. A window waits only for its own samples (and those after it
        that a clip includes).

        Parameters
        ----------
        blocks
            A generator of blocks of shape (any number,) or (any number, n_channels), such as a microphone's
            or a pipe's; or any other sound.
        sample_rate
            Of the blocks, in Hz.
        overlap_s, embeddings, channel
            As for :meth:`predict`.
        name
            Name of the sound in tables.

        Raises
        ------
        AudioError
            The sample rate is missing, or a block is no sound; the blocks before it have been predicted.
        """
        sound = Sound.of(blocks, sample_rate=sample_rate, name=name, channel=self._channel(channel))
        inference = self._inference(overlap_s, None, embeddings=embeddings)

        def parts() -> Iterator[Predictions]:
            began = _start_of(sound)
            for windows in inference.stream_windows(sound):
                calibrated = windows.calibrated(self.engine.calibration)
                part = PredictedRecording(sound.name, sound.path, began, calibrated)
                yield Predictions(
                    self.labels, [part], (), self.path, overlap_s, (), self._facts,
                    self.engine.thresholds, self.engine.calibration,
                )  # fmt: skip

        return parts()

    def embed(
        self,
        sound: Any,
        *,
        sample_rate: int | None = None,
        overlap_s: float = 0.0,
        channel: Channel | None = None,
    ) -> npt.NDArray[np.float32]:
        """Return the embedding of each window, shape (n_windows, n_features).

        Parameters
        ----------
        sound
            One sound, as for :meth:`predict`. An array without a sample rate has the model's, as in other
            model zoos.
        sample_rate, overlap_s, channel
            As for :meth:`predict`.

        Raises
        ------
        AudioError, StoreError
            The sound cannot be read.
        """
        one = self._one_sound(sound, sample_rate, channel)
        return self.predict(one, overlap_s=overlap_s, embeddings=True).embeddings

    def frame_logits(
        self,
        sound: Any,
        *,
        sample_rate: int | None = None,
        overlap_s: float = 0.0,
        channel: Channel | None = None,
    ) -> npt.NDArray[np.float32]:
        """Return the logit of each class in each frame of each window's clip.

        With most backbones a clip of 5 s has 10 frames of half a second. A clip with look-back and look-ahead
        has the frames of these too.

        Parameters
        ----------
        sound, sample_rate, overlap_s, channel
            As for :meth:`embed`.

        Returns
        -------
        numpy.ndarray
            Shape (n_windows, n_frames, n_classes), float32, the mean of the networks' logits.

        Raises
        ------
        AudioError, StoreError
            The sound cannot be read.
        ModelError
            The model gives none: it is several experiments, its head has no frames, or it was exported
            without ``--frames``.

        Examples
        --------
        >>> import dawnchorus as dc
        >>> dc.load_model("logdirs/tiny", "torch").frame_logits("night.wav").shape
        (12, 2, 2)
        """
        one = self._one_sound(sound, sample_rate, channel)
        plan = self._inference(overlap_s, None, embeddings=False).plan
        size = self.engine.clips_per_request
        parts: list[npt.NDArray[np.float32]] = []
        for request in clip_requests([one], self.card, plan, sample_rate=self.sample_rate, size=size):
            for ended in request.ended:
                if ended.failure is not None:
                    raise AudioError(ended.failure)
            if len(request.waves):
                found = self.engine.outputs(request.waves).frame_logits
                if found is None:
                    raise ModelError(
                        f"{self.name} gives no frame logits; open a single experiment whose head has frames, "
                        "by its checkpoints or by an export that was made with --frames"
                    )
                parts.append(found)
        return np.concatenate(parts)

    def batch_embed(
        self, arrays: Iterable[Any], *, sample_rate: int | None = None
    ) -> npt.NDArray[np.float32]:
        """Return the embeddings of sounds of one length, shape (n_sounds, n_windows, n_features).

        Parameters
        ----------
        arrays
            Sounds with as many windows each, such as an array of shape (n_sounds, n_samples).
        sample_rate
            As for :meth:`embed`.

        Raises
        ------
        AudioError
            A sound cannot be read, there is none, or their lengths differ.
        """
        found = [self.embed(array, sample_rate=sample_rate) for array in arrays]
        counts = sorted({len(embeddings) for embeddings in found})
        if len(counts) != 1:
            raise AudioError(
                f"batch_embed takes one or more sounds with as many windows each; these have "
                f"{counts or 'none'}; embed them one by one"
            )
        return np.stack(found)

    def spectrogram(self, sound: Any, *, sample_rate: int | None = None, start_s: float = 0.0) -> Spectrogram:
        """Return the spectrogram of the window that begins at ``start_s``, as the networks take it.

        Parameters
        ----------
        sound, sample_rate
            One sound, as for :meth:`predict`.
        start_s
            Where the window begins, seconds.

        Raises
        ------
        AudioError, StoreError
            The sound cannot be read, or ends before ``start_s``.
        """
        one = Sound.of(sound, sample_rate=sample_rate, channel=self.card.channel)
        first = round(start_s * self.sample_rate)
        begin = first - self.card.n_look_back
        n_before = max(-begin, 0)
        wave = _stretch(one.blocks(self.sample_rate), max(begin, 0), self.card.n_samples - n_before)
        if first < 0 or len(wave) <= self.card.n_look_back - n_before:
            raise AudioError(f"{one.name}: has no sound at {start_s:g} s")
        clip = make_clip(wave, self.card, n_before=n_before)
        settings = FrontendSettings(**self.card.frontend)
        return Spectrogram.of_wave(clip, settings, name=one.name, start_s=start_s - self.card.look_back_s)

    def _one_sound(self, sound: Any, sample_rate: int | None, channel: Channel | None) -> Sound:
        """Return a sound; an array without a sample rate has the model's."""
        is_file = isinstance(sound, str | Path | Sound)
        if sample_rate is None and not is_file:
            sample_rate = self.sample_rate
        return Sound.of(sound, sample_rate=sample_rate, channel=self._channel(channel))

    def _channel(self, channel: Channel | None) -> Channel:
        return self.card.channel if channel is None else checked_channel(channel)

    def _inference(self, overlap_s: float, shift_s: float | None, *, embeddings: bool) -> BirdsInference:
        return BirdsInference(
            self.engine,
            overlap_s=overlap_s,
            shift_s=shift_s,
            with_embeddings=embeddings,
            n_workers=self.n_workers,
        )

    def __repr__(self) -> str:
        n, card = len(self.labels), self.card
        classes = "1 class" if n == 1 else f"{n} classes"
        engine = type(self.engine).__name__.removesuffix("Engine")
        return f"Model({card.exp_name}: {classes}, {card.segment_len:g} s at {card.sample_rate} Hz, {engine})"


def load_model(
    path: Path | str | Sequence[Path | str],
    engine: EngineName | None = None,
    *,
    config: Path | str | TrainConfig | None = None,
    folds: Sequence[int] | None = None,
    weights: Sequence[float] | None = None,
    exponent: float = 1.0,
    n_threads: int | None = None,
    clips_per_request: int | None = None,
    calibrated: bool = True,
    reviewed: Path | str | None = None,
) -> Model:
    """Return a model.

    Parameters
    ----------
    path
        A run directory, the training config of a run (``.py``), the folder of an export, ``model.onnx``, or
        OpenVINO's ``model.xml``; an ``.onnx`` or ``.tflite`` file of somebody else's with a card beside it;
        a name, such as ``"birdnet"``; or several of them, which predict together and whose classes are
        joined by label. A folder of exports, such as a bundle, stands for all of them.
    engine
        ``torch``, ``onnx``, ``openvino`` or ``int8``; if not given, the engine of the file, and for a run
        that of its fastest export.
    config
        The training config of a run directory, which the checkpoints of a run with a network of one's own
        need; an export does not.
    folds
        Folds of a run whose checkpoints are taken, in PyTorch; None takes all that are finished.
    weights
        Weights of several models, above 0; equal if not given.
    exponent
        Of the weighted mean over several models: 1 is the arithmetic mean, 0 the geometric one, another the
        power mean, as ``dawnchorus ensemble --combination`` finds it.
    n_threads, clips_per_request
        Threads of the engine and clips that it computes at once; if not given, those that ``dawnchorus tune``
        has stored for this machine, else all cores.
    calibrated
        Whether scores become probabilities of presence by the calibration that lies beside the model since it
        was trained. Without one, or with False, they are raw: the networks' own, which only rank windows.
    reviewed
        ``reviewed_calibration.json`` of a review of the model's predictions, which corrects the scores by the
        reviewers' answers.

    Raises
    ------
    RunError
        There is no such model.
    ModelError
        It is not a model of dawnchorus, its calibration is damaged, the models take clips of different kinds,
        or the exponent is below 0.
    ConfigError
        The number of weights is not that of the models, or the run has a network of one's own and is opened
        without its config.

    Examples
    --------
    >>> import dawnchorus as dc
    >>> model = dc.load_model("model", n_threads=1)
    >>> scores = model.predict("night.wav")
    >>> list(scores.to_frame().index.names), list(scores.to_frame().columns)
    (['file', 'start_time', 'end_time'], ['wren', 'robin', 'owl'])
    """
    paths = bundled_models(Path(path)) if isinstance(path, str | Path) else [Path(each) for each in path]
    weights = [1.0] * len(paths) if weights is None else list(weights)
    if not paths or len(weights) != len(paths):
        raise ConfigError(f"there are {len(weights)} weights for {len(paths)} models; give one each")
    if isinstance(config, str):
        config = Path(config)
    models = [WeightedModel(each, weight, config) for each, weight in zip(paths, weights, strict=True)]
    ensemble = Ensemble(models, engine, n_threads, clips_per_request, folds, exponent)
    opened = ensemble.open(calibrated=calibrated)
    if reviewed is not None:
        opened = with_answers(opened, Path(reviewed))
    own_path = models[0].open_run().path if models[0].path.suffix == ".py" else paths[0]
    return Model(opened, path=own_path if len(paths) == 1 else None)


def _sounds(given: Any, sample_rate: int | None, channel: Channel, *, salvage: bool) -> Iterator[Sound]:
    """Yield the sounds given; arrays and streams of a list are numbered."""
    if isinstance(given, list | tuple):
        if not given:
            raise DataError("no sounds: the list is empty")
        for number, each in enumerate(given):
            if isinstance(each, str | Path):
                # A missing file is listed among the failures, and the others go on.
                is_gone = not Path(each).exists() and not has_magic(str(each))
                yield from [Sound.of(each)] if is_gone else _files(each, channel, salvage=salvage)
            elif isinstance(each, Sound):
                yield each
            elif isinstance(each, int | float | np.number):
                raise AudioError("a list of numbers is no sound; make an array of it, numpy.array(numbers)")
            else:
                name = f"array {number}"
                yield Sound.of(each, sample_rate=sample_rate, name=name, channel=channel, salvage=salvage)
    elif isinstance(given, str | Path) and sample_rate is None:
        yield from _files(given, channel, salvage=salvage)
    else:
        yield Sound.of(given, sample_rate=sample_rate, channel=channel, salvage=salvage)


def _files(given: str | Path, channel: Channel, *, salvage: bool) -> Iterator[Sound]:
    """Yield a file, which need not exist, or the recordings of a folder or a pattern."""
    path = Path(given)
    if path.is_file():
        yield Sound.of(path, name=str(given), channel=channel, salvage=salvage)
        return
    for recording in find_recordings([str(given)]).recordings:
        yield Sound.of(recording.path, channel=channel, salvage=salvage)


def _stretch(blocks: Iterable[np.ndarray], start: int, n_samples: int) -> npt.NDArray[np.float32]:
    """Return ``n_samples`` of a sound from ``start`` on, fewer at its end."""
    parts, first = [np.zeros(0, np.float32)], 0
    for block in blocks:
        parts.append(block[max(start - first, 0) : max(start + n_samples - first, 0)])
        first += len(block)
        if first >= start + n_samples:
            break
    return np.concatenate(parts)


def _progress(sounds: Sequence[Sound]) -> AbstractContextManager[Callable[[float], object]]:
    """Return a progress bar where there is much to predict."""
    total_s = sum(map(_duration_s, sounds))
    if total_s < _SHOW_PROGRESS_FROM_S:
        return nullcontext(lambda seconds: None)
    return audio_progress("Predicting", total_s=total_s)


def _duration_s(sound: Sound) -> float:
    if sound.path is None or sound.duration_s is not None:
        return sound.duration_s or 0.0
    try:
        info = read_info(sound.path)
    except (AudioError, OSError):
        return 0.0  # a store, or a file that will be listed among the failures
    return info.n_frames / info.sample_rate


def _start_of(sound: Sound) -> datetime | None:
    if sound.path is None:
        return None
    found = recorder_time(sound.path)
    return RecorderTimes().start_of(sound.path, None if found is None else found.start)


def _none_readable(failures: Sequence[Failure], *, n_sounds: int) -> Exception:
    if n_sounds == 1:
        return AudioError(failures[0].reason)
    return DataError(f"none of the {n_sounds} sounds could be read; the first: {failures[0].reason}")
