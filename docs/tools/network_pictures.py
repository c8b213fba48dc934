"""Pictures of what a network says: a small one is trained on the synthetic aviary for them."""

from __future__ import annotations

from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import pandas as pd
import torch
from matplotlib.axes import Axes
from matplotlib.figure import Figure

from dawnchorus import BirdsInference, WaveCNNAttenClassifier, lightning_training, open_engine
from dawnchorus.audio.decode import SAMPLE_RATE, read_crop
from dawnchorus.audio.precompute import PrecomputeSettings, precompute_recordings
from dawnchorus.audio.windows import normalize_peak, planned_starts, window_starts
from dawnchorus.aviary import Aviary
from dawnchorus.config import TrainConfig, merge, validate
from dawnchorus.features.mel_axis import show_spectrogram
from dawnchorus.formats.annotations import read_boxes_csv
from dawnchorus.models.head import ModelOutput
from dawnchorus.pipelines.demo import TRAINING
from dawnchorus.predict.postprocess import PostprocessSettings, postprocess
from dawnchorus.runs import Run

CLIP_S = 5.0
SHIFT_S = 2.5
DPI = 100
_SHOWN_S = 40.0  # of a soundscape, in the picture of windows
_TRUTH: dict[str, Any] = {"color": "deepskyblue", "linewidth": 4, "solid_capstyle": "butt"}
_SMALL = {
    "exp_name": "pictures",
    # The hop of the recipe, so that a clip has the recipe's ten frames.
    "nn_model_config": {"frontend": {"n_mels": 64, "hop_length": 512}},
    "train_function_args": {"clips_per_epoch": 768, "n_epochs": 5},
}


def train_small_network(aviary: Aviary, work: Path) -> Run:
    """Return a run with one trained fold, after training it if it is not there."""
    features = work / "features"
    precompute_recordings(aviary.recordings_dir, features, PrecomputeSettings(n_cores=2))
    places = {"audio_dir": aviary.recordings_dir, "features_dir": features}
    values = merge(merge(TRAINING, _SMALL), {"logdir": work / "logdirs", "data": places})
    return lightning_training(validate(TrainConfig, values, where="pictures"), folds=[0])


class _Heard(NamedTuple):
    """A clip of a soundscape, a species that sings in it, and what the network says of both."""

    wave: np.ndarray
    label: str
    truth: list[tuple[float, float]]
    output: ModelOutput
    place: int

    @property
    def frames(self) -> np.ndarray:
        """Probability of the species in each frame, shape (n_frames,)."""
        assert self.output.frame_logits is not None
        return self.output.frame_logits[0, :, self.place].sigmoid().numpy()


def draw_attention(picture: Path, run: Run, aviary: Aviary) -> None:
    """Draw what the network says of each frame of a clip, how it weighs them, and what comes of it."""
    heard = max(_sung_clips(run, aviary), key=lambda clip: float(np.ptp(clip.frames)))
    model = run.load_model(0)
    assert isinstance(model, WaveCNNAttenClassifier)
    with torch.inference_mode():
        logmel = model.frontend(torch.from_numpy(heard.wave)[None])[0, 0].numpy()
    figure = Figure(figsize=(9, 5.5), layout="constrained")
    above, below = figure.subplots(2, 1, sharex=True)
    show_spectrogram(above, logmel, frontend=model.frontend.settings, duration_s=CLIP_S)
    for start_s, end_s in heard.truth:
        above.plot([start_s, end_s], [4, 4], **_TRUTH)
    above.set_ylabel("frequency (kHz)")
    above.set_title(f"{heard.label}; blue: where it sings", loc="left")
    _draw_frames(below, heard)
    figure.savefig(picture, dpi=DPI)


def _draw_frames(axes: Axes, heard: _Heard) -> None:
    assert heard.output.attention is not None
    frames, weights = heard.frames, heard.output.attention[0, :, heard.place].numpy()
    edges = np.linspace(0, CLIP_S, len(frames) + 1)
    clip = float(heard.output.clip_probabilities[0, heard.place])
    axes.stairs(frames, edges, linewidth=2, label="probability of the frame")
    axes.stairs(weights, edges, fill=True, alpha=0.4, label="weight of the frame (they sum to 1)")
    axes.axhline(clip, color="black", label=f"weighted mean, the clip's probability: {clip:.2f}")
    axes.axhline(frames.mean(), color="black", linestyle=":", label=f"plain mean: {frames.mean():.2f}")
    axes.set_ylim(0, 1)
    axes.set_xlim(0, CLIP_S)
    axes.set_xlabel("time (s)")
    axes.legend(fontsize="small", loc="upper left", bbox_to_anchor=(1, 1))


def _sung_clips(run: Run, aviary: Aviary) -> list[_Heard]:
    """Return the clips of all soundscapes with a species that the network hears in them, rightly."""
    model, labels = run.load_model(0), run.card().labels
    boxes = read_boxes_csv(aviary.annotations_csv)
    n_clip = round(CLIP_S * SAMPLE_RATE)
    found = []
    for filename, of_file in boxes.groupby("filename"):
        path = aviary.soundscapes_dir / str(filename)
        wave = read_crop(path, 0, 3600 * SAMPLE_RATE, sample_rate=SAMPLE_RATE)
        for start in window_starts(len(wave) - n_clip, n_clip):
            clip = normalize_peak(wave[start : start + n_clip])
            with torch.inference_mode():
                output = model(torch.from_numpy(clip)[None])
            for label, truth in _truth_within(of_file, start / SAMPLE_RATE).items():
                place = labels.index(label)
                if output.clip_probabilities[0, place] > 0.5:
                    found.append(_Heard(clip, label, truth, output, place))
    return found


def _truth_within(boxes: pd.DataFrame, start_s: float) -> dict[str, list[tuple[float, float]]]:
    """Return when each species sings in a clip, seconds from its start."""
    truth: dict[str, list[tuple[float, float]]] = {}
    for box in boxes.itertuples():
        begin, end = max(float(box.start_s) - start_s, 0), min(float(box.end_s) - start_s, CLIP_S)
        if begin < end:
            truth.setdefault(str(box.label), []).append((begin, end))
    return truth


def draw_windows(picture: Path, run: Run, aviary: Aviary) -> None:
    """Draw how windows lie over a soundscape, and what each way of averaging makes of one species."""
    boxes = read_boxes_csv(aviary.annotations_csv)
    filename = str(boxes["filename"].iloc[0])
    of_file = boxes[boxes["filename"] == filename]
    label = str(of_file["label"].value_counts().index[0])
    figure = Figure(figsize=(10, 5.5), layout="constrained")
    above, below = figure.subplots(2, 1, sharex=True)
    _draw_window_rows(above)
    place = run.card().labels.index(label)
    for name, (starts_s, stops_s, probabilities) in _ways(run, aviary.soundscapes_dir / filename).items():
        middles_s = (starts_s + stops_s) / 2
        below.plot(middles_s, probabilities[:, place], marker="o", markersize=3, label=name)
    for box in of_file[of_file["label"] == label].itertuples():
        below.plot([box.start_s, box.end_s], [-0.05, -0.05], **_TRUTH)
    below.set_xlim(0, _SHOWN_S)
    below.set_ylim(-0.1, 1.02)
    below.set_ylabel(f"probability of {label}")
    below.set_xlabel("time (s); blue: where it sings")
    below.legend(fontsize="small", loc="upper left", bbox_to_anchor=(1, 1))
    figure.savefig(picture, dpi=DPI)


def _draw_window_rows(axes: Axes) -> None:
    n_samples, n_clip, n_shift = (round(s * SAMPLE_RATE) for s in (_SHOWN_S, CLIP_S, SHIFT_S))
    rows = {
        "side by side": window_starts(n_samples, n_clip),
        f"--shift {SHIFT_S:g}": planned_starts(n_samples, n_clip, n_clip, n_shift),
        f"--overlap {SHIFT_S:g}": window_starts(n_samples, n_clip, n_shift),
    }
    for row, starts in enumerate(rows.values()):
        for number, start in enumerate(starts):
            # Windows that overlap are drawn a little above each other.
            y = -row + 0.18 * (start % n_clip != 0)
            axes.barh(y, CLIP_S - 0.08, 0.16, left=start / SAMPLE_RATE, color=f"C{number % 2}")
    axes.set_yticks([-row + 0.09 for row in range(len(rows))], list(rows))


def _ways(run: Run, path: Path) -> dict[str, tuple[np.ndarray, np.ndarray, np.ndarray]]:
    """Return starts and stops in seconds, and probabilities, of each way to lay and average windows."""
    engine = open_engine(run.path)
    n_clip, n_shift = round(CLIP_S * SAMPLE_RATE), round(SHIFT_S * SAMPLE_RATE)
    ways = {
        "side by side": (BirdsInference(engine), PostprocessSettings(), n_clip),
        "--shift 2.5": (
            BirdsInference(engine, shift_s=SHIFT_S),
            PostprocessSettings(shift_s=SHIFT_S),
            n_clip,
        ),
        "--smooth": (
            BirdsInference(engine),
            PostprocessSettings(smoothing=(0.1, 0.2, 0.4, 0.2, 0.1)),
            n_clip,
        ),
        "--overlap 2.5\n--overlap-average": (
            BirdsInference(engine, overlap_s=CLIP_S - SHIFT_S),
            PostprocessSettings(overlap_average=True),
            n_shift,
        ),
    }
    found = {}
    for name, (inference, settings, step) in ways.items():
        said = postprocess(inference.predict_recording(path), settings, window=n_clip, step=step)
        found[name] = (said.starts / said.sample_rate, said.stops / said.sample_rate, said.probabilities)
    return found
