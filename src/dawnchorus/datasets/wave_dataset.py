"""``WaveDataset``: random clips of labelled recordings, for training."""

from __future__ import annotations

import logging
import math
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import numpy.typing as npt
import pandas as pd
import torch
from pydantic import Field, model_validator
from torch.utils.data import Dataset

from dawnchorus.audio.windows import normalize_peak
from dawnchorus.augment.background import BackgroundNoise, BackgroundSettings, NoiseChoice, NoiseDraw
from dawnchorus.augment.mixup import (
    MixupSettings,
    TargetRule,
    combine_targets,
    draw_mixup_weights,
    join_parts,
    mix_at_equal_peaks,
    mix_clips,
    mix_waves,
    montage_bounds,
)
from dawnchorus.augment.waveform_transforms import TransformSettings, WaveTransforms
from dawnchorus.config import Settings
from dawnchorus.datasets.clip_settings import as_settings
from dawnchorus.datasets.labelled_audio import LabelledAudio, LabelledAudioSettings, loaded_table
from dawnchorus.datasets.out_of_fold_targets import OutOfFoldTargets, OutOfFoldTargetSettings
from dawnchorus.datasets.pseudo_clips import PseudoClips, of_known
from dawnchorus.datasets.sampling import (
    Balance,
    Draw,
    EpochOfIntegers,
    EpochSampler,
    class_weights,
    generator,
)
from dawnchorus.datasets.self_training_settings import PseudoLabelSettings
from dawnchorus.errors import DataError
from dawnchorus.recordings.labels import NOCALL, UNKNOWN, LabelMap, scale_target, smooth_target
from dawnchorus.recordings.stretches import read_stretches
from dawnchorus.recordings.time_labels import starts_over_box

logger = logging.getLogger(__name__)


class WaveDatasetSettings(LabelledAudioSettings):
    """Settings of a :class:`WaveDataset`, beside those of ``LabelledAudioSettings`` and ``ClipSettings``.

    There: ``segment_len``, ``sample_rate``, ``late_normalize``, ``look_back_s``, ``look_ahead_s``,
    ``use_h5py``, ``use_audio_cache``, ``audio_cache_gb``, ``use_secondary_labels``, ``min_overlap_s``.

    Attributes
    ----------
    precompute
        Read every recording once at the start and keep it in memory: for small sets.
    unknown_secondary_labels
        Make the target of secondary labels unknown (-1) instead of 1, because such a bird may be silent in a
        random clip. For the losses that pass over unknown targets (``masked_bce``, ``masked_bce_focal``,
        ``soft_auc``). Needs ``use_secondary_labels``; labels in time are exact and stay as they are.
    label_smoothing
        Fraction of the target that is spread over all classes, before clips are mixed. Soft targets, those of
        pseudo-labels, stay as they are.
    use_rating
        Scale the target by rating / 5 where a rating is known; in Xeno-canto, 0 means no rating.
    anywhere_prob
        Chance that a clip of a recording with labels in time begins anywhere in it, instead of at its box.
    stretches
        CSV table with ``filename``, ``start_s`` and ``end_s``: of the recordings that it lists, clips are
        drawn from these stretches alone, and are silent outside them. Others are drawn from as a whole, and
        so are those with labels in time. ``dawnchorus skip-speech`` writes such a table.
    mixup
        Mixing of clips; None switches it off.
    early_transforms
        Waveform transforms on the crop as it was read: of audiomentations, or your own
        (:mod:`dawnchorus.augment.waveform_transforms`).
    background
        Late noises, each with its own probability; at most one is added to a clip.
    background_choice
        ``in_turn`` tries the noises in a random order until one is drawn, so that two with 0.5 each reach
        75 % of the clips; ``one_of`` chooses one noise and draws it with its probability: 50 %.
    empty_probability
        Chance that a clip is a noise alone, without species, of a kind of ``background`` that has no
        ``unknown_labels``.
    late_transforms
        Waveform transforms after the noise, before the last normalisation.
    soundscape_pseudo_config
        Pseudo-labelled soundscapes to train on; None for none.
    out_of_fold_targets
        Out-of-fold predictions of the labelled recordings, which replace the targets of clips where they are
        accepted; None for none. Recordings with labels in time keep theirs.

    Examples
    --------
    >>> settings = WaveDatasetSettings(segment_len=5.0, mixup={"probability": 0.5}, label_smoothing=0.05)
    >>> settings.n_samples, settings.mixup.probability
    (160000, 0.5)
    """

    precompute: bool = False
    unknown_secondary_labels: bool = False
    label_smoothing: float = Field(default=0.0, ge=0, lt=1)
    use_rating: bool = True
    anywhere_prob: float = Field(default=0.2, ge=0, le=1)
    stretches: Path | None = None
    mixup: MixupSettings | None = None
    early_transforms: tuple[TransformSettings, ...] = ()
    background: tuple[BackgroundSettings, ...] = ()
    background_choice: NoiseChoice = "in_turn"
    empty_probability: float = Field(default=0.0, ge=0, le=1)
    late_transforms: tuple[TransformSettings, ...] = ()
    soundscape_pseudo_config: PseudoLabelSettings | None = None
    out_of_fold_targets: OutOfFoldTargetSettings | None = None

    @model_validator(mode="after")
    def _unknown_are_read(self) -> WaveDatasetSettings:
        if self.unknown_secondary_labels and not self.use_secondary_labels:
            raise ValueError(
                "unknown_secondary_labels is True, but use_secondary_labels is False, which takes secondary "
                "labels for absent; set one of the two the other way"
            )
        return self

    @model_validator(mode="after")
    def _empty_clips_have_noise(self) -> WaveDatasetSettings:
        if self.empty_probability and all(kind.unknown_labels for kind in self.background):
            raise ValueError(
                f"empty_probability is {self.empty_probability:g}, and background has no noise without "
                "unknown_labels, of which an empty clip could be; add one, or leave it out"
            )
        return self


class Clip(NamedTuple):
    """A training example: ``wave``, shape (n_samples,), and ``target``, (n_classes,), in [0, 1]; float32.

    With ``unknown_secondary_labels``, noise that has ``unknown_labels``, or recordings that have
    ``known_labels``, a target may be -1,
    :data:`dawnchorus.recordings.labels.UNKNOWN`.

    Examples
    --------
    >>> import torch
    >>> clip = Clip(torch.zeros(160_000), torch.tensor([1.0, 0.0]))
    >>> clip.wave.shape, clip.target
    (torch.Size([160000]), tensor([1., 0.]))
    """

    wave: torch.Tensor
    target: torch.Tensor


class CropDraw(NamedTuple):
    """A crop that was drawn.

    Attributes
    ----------
    pseudo, row
        The row of the recordings table, or where ``pseudo``, of the pseudo-labels.
    start
        First sample of the segment.
    early
        The draw of the early transforms.
    known
        Whether it is of a soundscape whose labels are known.

    Examples
    --------
    >>> CropDraw(pseudo=False, row=3, start=16_000, early=0).start
    16000
    """

    pseudo: bool
    row: int
    start: int
    early: int
    known: bool = False


class ClipDraw(NamedTuple):
    """All random choices of a clip, from which the same clip can be made again.

    Attributes
    ----------
    first, second
        The crops; ``second`` is None where nothing is mixed in.
    weight
        Weight of the first, in [0, 1].
    noise
        Late noise, or None.
    late
        The draw of the late transforms.
    others
        Further crops that are mixed in, each with its weight; ``second`` has what is left of 1.
    montage
        Whether the crops stand one after the other.
    empty
        The noise that is all of the clip, without species; None for a clip of crops.

    Examples
    --------
    >>> drawn = ClipDraw(CropDraw(False, 3, 16_000, 0), second=None, weight=1.0, noise=None, late=0)
    >>> drawn.first.row, drawn.second
    (3, None)
    """

    first: CropDraw
    second: CropDraw | None
    weight: float
    noise: NoiseDraw | None
    late: int
    others: tuple[tuple[CropDraw, float], ...] = ()
    montage: bool = False
    empty: NoiseDraw | None = None

    @property
    def crops(self) -> tuple[CropDraw, ...]:
        """All crops, the clip's own first."""
        second = () if self.second is None else (self.second,)
        return self.first, *second, *(crop for crop, _ in self.others)

    @property
    def weights(self) -> tuple[float, ...]:
        """The weight of each of :attr:`crops`."""
        if self.second is None:
            return (1.0,)
        others = tuple(weight for _, weight in self.others)
        return self.weight, 1 - self.weight - sum(others), *others


class WaveDataset(Dataset[Clip]):
    """Random crops of recordings with their targets.

    An item is a recording, or a box of one with labels in time. It is requested by a
    :class:`~dawnchorus.datasets.sampling.Draw` and depends only on the draw, the seed and the fold, not on
    the worker or on earlier draws.

    In a loop of your own, draw with :meth:`sampler`: it goes on to the next epoch by itself, and its crops
    are the same for any number of workers, also where these persist from epoch to epoch::

        loader = DataLoader(dataset, batch_size=16, sampler=dataset.sampler(), num_workers=2)

    A plain integer, as in the requests of a ``DataLoader`` with ``shuffle=True``, stands for that item in the
    epoch of :meth:`set_epoch`, at first 0: call it before each epoch, or every epoch has the same crops. A
    loader that requests an item twice in an epoch gets a warning.

    Parameters
    ----------
    recordings
        A DataFrame with ``filename`` and ``primary_label``, or the table of
        :func:`~dawnchorus.recordings.recordings_table.load_recordings`.
    labels
        Classes of the model, or their names; all labels of the recordings if not given.
    settings
        Settings object, or their keys as in a config.
    audio_dir
        Folder that the file names of a plain DataFrame are relative to; the working directory if not given.
    seed, fold
        Stream of random numbers.

    Raises
    ------
    DataError
        Rows are faulty, or a primary label is none of the classes.

    Attributes
    ----------
    recordings
        The checked table, one row a recording.
    labels
        The classes.
    item_labels
        The label of each item, by which classes are balanced.

    Examples
    --------
    >>> import numpy as np
    >>> import pandas as pd
    >>> import tempfile, soundfile
    >>> import torch
    >>> folder = tempfile.TemporaryDirectory()
    >>> soundfile.write(f"{folder.name}/song.wav", np.random.default_rng(0).normal(0, 0.1, 320_000), 32_000)
    >>> table = pd.DataFrame({"filename": ["song.wav"], "primary_label": ["wren"]})
    >>> dataset = WaveDataset(table, audio_dir=folder.name)
    >>> dataset
    WaveDataset(1 recordings, 1 labels, clips of 5 s at 32000 Hz)
    >>> loader = torch.utils.data.DataLoader(dataset, sampler=dataset.sampler())
    >>> (first,), (second,) = list(loader), list(loader)
    >>> first.wave.shape, first.target.tolist(), torch.equal(first.wave, second.wave)
    (torch.Size([1, 160000]), [[1.0]], False)
    >>> folder.cleanup()
    """

    settings_class: type[Settings] = WaveDatasetSettings

    def __init__(
        self,
        recordings: pd.DataFrame,
        labels: LabelMap | Sequence[str] | None = None,
        settings: WaveDatasetSettings | Mapping[str, Any] | None = None,
        *,
        audio_dir: str | Path | None = None,
        seed: int = 42,
        fold: int = 0,
    ) -> None:
        self.settings = as_settings(settings, WaveDatasetSettings, "WaveDataset")
        self.recordings, self.labels = recordings, labels = loaded_table(
            recordings, labels, audio_dir=audio_dir
        )
        self.seed = seed
        self.fold = fold
        rate, use_h5py = self.settings.sample_rate, self.settings.use_h5py
        self.audio = LabelledAudio(
            recordings,
            labels,
            self.settings,
            unknown_secondary_labels=self.settings.unknown_secondary_labels,
            known_labels_only=True,
        )
        self.rating = _rating_factors(recordings, self.settings)
        self.stretches = self._listed_stretches()
        self.items = [
            (recording, box)
            for recording, boxes in enumerate(self.audio.boxes)
            if len(self.stretches.get(recording, (0,)))
            for box in (range(len(boxes.label)) if boxes is not None and len(boxes.label) else (-1,))
        ]
        self.item_labels = [
            self._label_of(recording, box, recordings["primary_label"].iloc[recording])
            for recording, box in self.items
        ]
        self.early = WaveTransforms(
            self.settings.early_transforms, sample_rate=rate, where="early_transforms"
        )
        self.late = WaveTransforms(self.settings.late_transforms, sample_rate=rate, where="late_transforms")
        self.background = BackgroundNoise(
            self.settings.background,
            sample_rate=rate,
            n_samples=self.settings.n_samples,
            late_normalize=self.settings.late_normalize,
            use_h5py=use_h5py,
            choice=self.settings.background_choice,
        )
        self._unknown_in_noise = [_unknown_in(kind, labels) for kind in self.settings.background]
        pseudo = self.settings.soundscape_pseudo_config
        self.pseudo = (
            None
            if pseudo is None
            else PseudoClips(pseudo, labels, self.settings, use_h5py=use_h5py, fold=fold)
        )
        self.known, self.known_prob = None, 0.0
        if pseudo is not None and pseudo.known is not None:
            self.known_prob = pseudo.known.sampling_prob
            self.known = PseudoClips(
                of_known(pseudo, pseudo.known), labels, self.settings, use_h5py=use_h5py, fold=fold
            )
        for soundscapes in filter(None, (self.pseudo, self.known)):
            soundscapes.refuse_labelled(recordings["audio_path"])
        own = self.settings.out_of_fold_targets
        self.own_targets = None if own is None else OutOfFoldTargets(own, recordings, labels, fold=fold)
        self._epoch = EpochOfIntegers(len(self.items))
        if self.settings.precompute:
            self.audio.keep_all()

    def __repr__(self) -> str:
        n_recordings, n_labels = len(self.recordings), len(self.labels)
        length, rate = self.settings.segment_len, self.settings.sample_rate
        return (
            f"WaveDataset({n_recordings} recordings, {n_labels} labels, clips of {length:g} s at {rate} Hz)"
        )

    def __len__(self) -> int:
        return len(self.items)

    def __getitem__(self, draw: Draw | int) -> Clip:
        if not isinstance(draw, Draw):
            item = range(len(self))[draw]
            draw = Draw(epoch=self._epoch.now, position=item, item=item)
        return self.apply(self.draw(draw))

    def __getitems__(self, draws: Sequence[Draw | int]) -> list[Clip]:
        """Return the clips of a batch; PyTorch's ``DataLoader`` calls this."""
        self._epoch.notice([draw for draw in draws if not isinstance(draw, Draw)])
        return [self[draw] for draw in draws]

    def set_epoch(self, epoch: int) -> None:
        """Set the epoch of items that are requested by plain integers, also in running workers."""
        self._epoch.begin(epoch)

    def sampler(self, *, class_balance: Balance = "none", n_draws: int | None = None) -> EpochSampler:
        """Return a sampler that draws an epoch of items each time it is iterated.

        Parameters
        ----------
        class_balance
            As in ``train_function_args``: ``none`` takes all items in a new order, the others draw with
            replacement.
        n_draws
            Draws in an epoch; as many as there are items if not given.
        """
        weights = class_weights(self.item_labels, class_balance)
        return EpochSampler(weights, n_draws=n_draws or len(self), seed=self.seed, fold=self.fold)

    def draw(self, draw: Draw) -> ClipDraw:
        """Return the random choices of a clip."""
        rng = generator(self.seed, self.fold, draw.epoch, draw.position)
        first = self._draw_crop(draw.item, rng)
        partners, weights, montage = self._draw_partners(first, rng)
        second, *further = partners or (None,)
        others = tuple(zip(further, weights[2:], strict=True))
        noise, late = self.background.draw(rng), self.late.draw(rng)
        chance = self.settings.empty_probability
        empty = self.background.draw_empty(rng) if chance and rng.random() < chance else None
        return ClipDraw(first, second, weights[0], noise, late, others, montage, empty)

    def apply(self, drawn: ClipDraw) -> Clip:
        """Return the clip that was drawn; this is deterministic."""
        late_normalize = self.settings.late_normalize
        if drawn.empty is not None:
            wave = self.background.noise(drawn.empty)
            target = np.zeros(len(self.labels), dtype=np.float32)
        else:
            wave, target = self._noisy(drawn)
        if self.settings.late_transforms:
            wave = self.late.apply(normalize_peak(wave) if late_normalize else wave, drawn.late)
        wave = normalize_peak(wave) if late_normalize else wave
        return Clip(torch.from_numpy(wave), torch.from_numpy(target.astype(np.float32)))

    def _listed_stretches(self) -> dict[int, npt.NDArray[np.int64]]:
        """Return the stretches of the recordings that have some, in samples."""
        path = self.settings.stretches
        if path is None:
            return {}
        found = read_stretches(path, self.recordings["filename"].tolist())
        stretches = {}
        for recording, listed_s in found.items():
            if self.audio.boxes[recording] is None:
                used = np.rint(listed_s * self.settings.sample_rate).astype(np.int64)
                used = used.clip(max=self.audio.n_used(recording))
                stretches[recording] = used[used[:, 0] < used[:, 1]]
        n_empty = sum(not len(each) for each in stretches.values())
        if n_empty == len(self.recordings):
            raise DataError(f"{path} leaves nothing of the {n_empty} recordings; widen its stretches")
        logger.info(
            f"Stretches of {len(stretches)} of {len(self.recordings)} recordings are drawn from"
            + (f"; {n_empty} have none, and are left out" if n_empty else "")
        )
        return stretches

    def _label_of(self, recording: int, box: int, primary_label: str) -> str:
        boxes = self.audio.boxes[recording]
        if boxes is None:
            return primary_label
        return self.labels.labels[boxes.label[box]] if box >= 0 else NOCALL

    def _draw_crop(self, item: int, rng: np.random.Generator) -> CropDraw:
        pseudo = self.pseudo
        if pseudo is not None and pseudo.settings.how == "replace":
            label = self.item_labels[item]
            of_class = self.labels.index(label) if label in self.labels else -1
            drawn = pseudo.draw(of_class, rng) if rng.random() < pseudo.settings.sampling_prob else None
            if drawn is not None:
                return CropDraw(True, *drawn, self.early.draw(rng))
        recording, box = self.items[item]
        return CropDraw(False, recording, self._draw_start(recording, box, rng), self.early.draw(rng))

    def _draw_start(self, recording: int, box: int, rng: np.random.Generator) -> int:
        """Return the first sample of a random segment: one that the box counts for, or any."""
        if recording in self.stretches:
            stretches = self.stretches[recording]
            lengths = np.diff(stretches)[:, 0]
            start, stop = stretches[rng.choice(len(stretches), p=lengths / lengths.sum())]
            return int(rng.integers(start, max(stop - self.settings.n_segment, start) + 1))
        n_samples, boxes = self.audio.n_used(recording), self.audio.boxes[recording]
        earliest, latest = 0, max(n_samples - self.settings.n_segment, 0)
        if boxes is not None and box >= 0 and rng.random() >= self.settings.anywhere_prob:
            rate = self.settings.sample_rate
            first_s, last_s = starts_over_box(
                boxes.start_s[box],
                boxes.end_s[box],
                clip_s=self.settings.segment_len,
                recording_s=n_samples / rate,
                min_overlap_s=self.settings.min_overlap_s,
            )
            # Rounded inwards, so that the overlap does not shrink.
            earliest, latest = math.ceil(first_s * rate), min(math.floor(last_s * rate), latest)
        return int(rng.integers(min(earliest, latest), latest + 1))

    def _draw_partners(
        self, first: CropDraw, rng: np.random.Generator
    ) -> tuple[list[CropDraw], tuple[float, ...], bool]:
        """Return the crops that a clip is mixed with, the weights, its own first, and whether to montage."""
        mixup = self.settings.mixup
        soundscape = self._draw_soundscape(first, rng)
        if soundscape is not None:
            assert self.pseudo is not None
            weight = self.pseudo.settings.mixup_weight
            return [soundscape], (weight, 1 - weight), False
        if mixup is None or rng.random() >= mixup.probability:
            return [], (1.0,), False
        most = mixup.max_partners
        n_partners = int(rng.integers(1, most + 1)) if most > 1 else 1
        partners = [self._draw_crop(int(rng.integers(len(self))), rng) for _ in range(n_partners)]
        weights = draw_mixup_weights(mixup, n_partners, rng)
        return partners, weights, mixup.montage_probability > 0 and rng.random() < mixup.montage_probability

    def _draw_soundscape(self, first: CropDraw, rng: np.random.Generator) -> CropDraw | None:
        """Return the clip of a soundscape, with true labels or with pseudo-labels, to mix in; or None."""
        if self.known is not None and not first.pseudo and rng.random() < self.known_prob:
            drawn = self.known.draw(None, rng)
            return None if drawn is None else CropDraw(True, *drawn, self.early.draw(rng), known=True)
        pseudo = self.pseudo
        if pseudo is None or pseudo.settings.how != "mixup" or rng.random() >= pseudo.settings.sampling_prob:
            return None
        drawn = pseudo.draw(None, rng)
        return None if drawn is None else CropDraw(True, *drawn, self.early.draw(rng))

    def _noisy(self, drawn: ClipDraw) -> tuple[npt.NDArray[np.float32], npt.NDArray[np.float32]]:
        """Return the wave and the target of all crops of a clip together, with its noise."""
        wave, target, is_present = self._mixed(drawn)
        if drawn.noise is None:
            return wave, target
        unknown = self._unknown_in_noise[drawn.noise.kind]
        if unknown.any():
            target = np.where(unknown & ~is_present, np.float32(UNKNOWN), target)
        return self.background.apply(wave, drawn.noise), target

    def _mixed(self, drawn: ClipDraw) -> _Mix:
        """Return all crops of a clip together, not normalised, without noise."""
        weights, equal_peaks = drawn.weights, self.settings.late_normalize
        bounds = montage_bounds(weights, self.settings.n_samples) if drawn.montage else None
        parts: Sequence[tuple[int, int] | None] = bounds or [None] * len(weights)
        crops = [self._crop(crop, part) for crop, part in zip(drawn.crops, parts, strict=True)]
        waves, targets, smoothing = zip(*crops, strict=True)
        if len(crops) == 1:
            return _Mix(waves[0], smooth_target(targets[0], smoothing[0]), targets[0] > 0)
        if bounds is not None:
            wave = join_parts(waves, bounds, equal_peaks=equal_peaks)
        elif len(crops) == 2:
            mix = mix_at_equal_peaks if equal_peaks else mix_waves
            wave = mix(waves[0], waves[1], weights[0])
        else:
            wave = mix_clips(waves, weights, equal_peaks=equal_peaks)
        target = combine_targets(targets, weights, rule=self._rule_of(drawn), smoothing=smoothing)
        return _Mix(wave, target, np.max(targets, axis=0) > 0)

    def _rule_of(self, drawn: ClipDraw) -> TargetRule:
        """Return how the targets of a clip's crops become one."""
        if drawn.second is not None and drawn.second.pseudo and self.pseudo is not None:
            settings = self.pseudo.settings
            if settings.target_rule is not None and (settings.how == "mixup" or drawn.second.known):
                return settings.target_rule
        return "sum" if self.settings.mixup is None else self.settings.mixup.rule

    def _crop(self, drawn: CropDraw, part: tuple[int, int] | None = None) -> _Crop:
        """Return a crop, with the target of the samples of a part, or of the whole segment."""
        smoothing = 0.0
        first, stop = (0, self.settings.n_segment) if part is None else self._of_segment(part)
        if drawn.pseudo:
            soundscapes = self.known if drawn.known else self.pseudo
            assert soundscapes is not None
            wave = soundscapes.clip(drawn.row, drawn.start)
            target = soundscapes.target(drawn.row, drawn.start)
        else:
            wave = self.audio.clip(drawn.row, drawn.start, within=self.stretches.get(drawn.row))
            start = drawn.start + first
            target = self.audio.segment_targets(drawn.row, np.array([start]), n_samples=stop - first)[0]
            target = scale_target(target, self.rating[drawn.row])
            predicted = self._own_target(drawn.row, start, stop - first)
            if predicted is None:
                smoothing = self.settings.label_smoothing
            else:
                assert self.own_targets is not None
                target = self.own_targets.blended(predicted, target)
        return _Crop(self.early.apply(wave, drawn.early), target, smoothing)

    def _of_segment(self, part: tuple[int, int]) -> tuple[int, int]:
        """Return the samples of the segment in a part of a clip, which looks back and ahead too."""
        n_segment = self.settings.n_segment
        first, stop = (min(max(bound - self.settings.n_look_back, 0), n_segment) for bound in part)
        return first, stop

    def _own_target(self, row: int, start: int, n_samples: int) -> npt.NDArray[np.float32] | None:
        if self.own_targets is None or self.audio.boxes[row] is not None:
            return None
        rate = self.settings.sample_rate
        return self.own_targets.target(row, start / rate, (start + n_samples) / rate)


class _Mix(NamedTuple):
    """Crops together: the wave, not normalised, the target, and which classes are present in one of them."""

    wave: npt.NDArray[np.float32]
    target: npt.NDArray[np.float32]
    is_present: npt.NDArray[np.bool_]


class _Crop(NamedTuple):
    """A crop, not normalised; its target, and the smoothing that it still needs: none where it is soft."""

    wave: npt.NDArray[np.float32]
    target: npt.NDArray[np.float32]
    smoothing: float


def _unknown_in(noise: BackgroundSettings, labels: LabelMap) -> npt.NDArray[np.bool_]:
    """Return which classes a noise may hold, shape (n_classes,)."""
    if noise.unknown_labels == "all":
        return np.ones(len(labels), dtype=bool)
    unknown = np.zeros(len(labels), dtype=bool)
    unknown[[labels.index(label) for label in noise.unknown_labels]] = True
    return unknown


def _rating_factors(recordings: pd.DataFrame, settings: WaveDatasetSettings) -> npt.NDArray[np.float32]:
    """Return the factor of each recording's target, shape (n_recordings,), float32."""
    if "rating" not in recordings:
        return np.ones(len(recordings), dtype=np.float32)
    rating = recordings["rating"].to_numpy(np.float64)
    known = (rating > 0) & settings.use_rating  # false for NaN
    return np.where(known, rating / 5, 1).astype(np.float32)
