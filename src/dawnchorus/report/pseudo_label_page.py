"""A page on a table of pseudo-labels: rows of each class, and windows with the model's labels."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import NamedTuple

import numpy as np
from matplotlib.figure import Figure
from matplotlib.ticker import MaxNLocator, StrMethodFormatter

from dawnchorus.audio.source import STORE_SUFFIXES, open_source, open_stored
from dawnchorus.audio.windows import pad_left
from dawnchorus.features.logmel import FrontendSettings, NumpyLogMel
from dawnchorus.features.mel_axis import show_spectrogram
from dawnchorus.files import write_text
from dawnchorus.models.card import ModelCard
from dawnchorus.predict.recording_files import RecordingFile
from dawnchorus.report.excerpt_pictures import PICTURE_INCHES, jpeg_of, write_frequencies_into
from dawnchorus.report.page_template import rendered
from dawnchorus.report.pseudo_label_survey import (
    MAIN_THRESHOLD,
    N_BINS,
    THRESHOLDS,
    LabelledWindow,
    Survey,
    survey_table,
)
from dawnchorus.report.run_curves import DARK, LIGHT, png_of

MAX_CLASSES = 12
_TEMPLATE_NAME = "pseudo_label_page.html.jinja"
_HISTOGRAM_INCHES = (10.0, 2.6)
_BLUE, _PALE_BLUE = "#0072b2", "#8cbfdc"


class Heard(NamedTuple):
    """A window as the page shows it: its picture, the model's label, and its position.

    Examples
    --------
    >>> Heard(b"...", "owl", "0.93", "night.wav", "0:05").label
    'owl'
    """

    picture: bytes
    label: str
    probability: str
    filename: str
    time: str


class ClassRow(NamedTuple):
    """A class and its rows above each threshold.

    Examples
    --------
    >>> ClassRow("owl", counts=[12, 7, 2]).counts
    [12, 7, 2]
    """

    label: str
    counts: list[int]


def write_pseudo_label_page(
    page: Path,
    table: Path,
    soundscapes: Mapping[str, RecordingFile],
    card: ModelCard,
    *,
    facts: Mapping[str, str] | None = None,
) -> Survey:
    """Write a self-contained HTML file on a table of pseudo-labels, and return what the table holds.

    Parameters
    ----------
    page
        File to write.
    table
        The table, Parquet or CSV.
    soundscapes
        The recordings by the names that rows have for them.
    card
        The model, for its clip and its front-end.
    facts
        Further facts on how the table was made.

    Raises
    ------
    AudioError, StoreError
        A window to show cannot be read.

    Examples
    --------
    >>> from pathlib import Path
    >>> import numpy as np
    >>> from dawnchorus import open_engine
    >>> from dawnchorus.predict.recording_files import RecordingFile
    >>> from dawnchorus.pseudo_labels.pseudo_label_table import pseudo_label_table
    >>> card, table = open_engine("model", n_threads=1).card, Path("round_1.parquet")
    >>> with pseudo_label_table(table, card.labels, has_folds=False) as rows:
    ...     rows.add("night", np.array([5.0]), np.float32([[0.9, 0.1, 0.2]]))
    >>> night = {"night": RecordingFile(Path("night.wav"), "night.wav")}
    >>> write_pseudo_label_page(Path("round_1.html"), table, night, card).n_rows
    1
    >>> Path("round_1.html").is_file()
    True
    """
    survey = survey_table(table)
    painter = _Painter(soundscapes, card)
    histogram = _histogram(survey) if survey.n_rows else None
    write_text(
        page,
        rendered(
            _TEMPLATE_NAME,
            title=f"Pseudo-labels: {table.name}",
            summary=_summary(survey),
            histogram=histogram and (png_of(histogram, LIGHT), png_of(histogram, DARK)),
            thresholds=[f"{threshold:g}" for threshold in THRESHOLDS],
            classes=class_rows(survey),
            surest=painter.heard(survey.surest[:MAX_CLASSES]),
            doubtful=painter.heard(survey.doubtful),
            facts=dict(facts or {}),
        ),
    )
    return survey


def class_rows(survey: Survey) -> list[ClassRow]:
    """Return the classes with their rows above each threshold: those with most first, with none last.

    Examples
    --------
    >>> from pathlib import Path
    >>> import numpy as np
    >>> from dawnchorus.pseudo_labels.pseudo_label_table import pseudo_label_table
    >>> from dawnchorus.report.pseudo_label_survey import survey_table
    >>> with pseudo_label_table(Path("round_1.csv"), ["owl", "wren"], has_folds=False) as table:
    ...     table.add("night", np.array([5.0, 10.0]), np.float32([[0.1, 0.95], [0.05, 0.6]]))
    >>> [row.label for row in class_rows(survey_table(Path("round_1.csv")))]
    ['wren', 'owl']
    """
    rows = [
        ClassRow(label, counts) for label, counts in zip(survey.labels, survey.n_above.tolist(), strict=True)
    ]
    main = THRESHOLDS.index(MAIN_THRESHOLD)
    return sorted(rows, key=lambda row: (-row.counts[main], [-count for count in row.counts], row.label))


def clock(seconds: float) -> str:
    """Return seconds as ``m:ss`` or ``h:mm:ss``, with a tenth where there is one: 3725.5 is ``1:02:05.5``.

    Examples
    --------
    >>> clock(65), clock(3725.5)
    ('1:05', '1:02:05.5')
    """
    tenths = round(seconds * 10)
    minutes, rest = divmod(tenths, 600)
    second = f"{rest // 10:02}" + (f".{rest % 10}" if rest % 10 else "")
    return f"{minutes // 60}:{minutes % 60:02}:{second}" if minutes >= 60 else f"{minutes}:{second}"


class _Painter:
    """A reader of windows that draws their spectrograms."""

    def __init__(self, soundscapes: Mapping[str, RecordingFile], card: ModelCard) -> None:
        self.soundscapes, self.card = soundscapes, card
        self.frontend = FrontendSettings(**card.frontend)
        self.logmel = NumpyLogMel(self.frontend)

    def heard(self, windows: Sequence[LabelledWindow]) -> list[Heard]:
        return [self._heard(window) for window in windows]

    def _heard(self, window: LabelledWindow) -> Heard:
        recording, rate = self.soundscapes[window.soundscape], self.card.sample_rate
        is_stored = recording.path.suffix.lower() in STORE_SUFFIXES
        source = open_stored(recording.path) if is_stored else open_source(recording.path, sample_rate=rate)
        start = round(window.end_s * rate) - self.card.n_segment
        wave = source.read(start, min(self.card.n_segment, source.n_samples - start))
        times = clock(start / rate), clock((start + len(wave)) / rate)
        return Heard(
            self._picture(pad_left(wave, self.card.n_segment)),
            window.label,
            f"{window.probability:.3f}",
            recording.name,
            "–".join(times),
        )

    def _picture(self, wave: np.ndarray) -> bytes:
        """Return a JPEG that is all spectrogram, with the frequencies written into it, for any page."""
        picture = self.logmel(wave[None])[0, 0]
        figure = Figure(figsize=PICTURE_INCHES)
        axes = figure.add_axes((0, 0, 1, 1))
        show_spectrogram(
            axes,
            picture,
            frontend=self.frontend,
            duration_s=self.card.segment_len,
            darkest=float(np.quantile(picture, 0.3)),
        )
        write_frequencies_into(axes, highest=0.95 * self.frontend.n_mels)
        return jpeg_of(figure)


def _summary(survey: Survey) -> list[str]:
    if not survey.n_rows:
        return ["The table has no rows."]
    n_kept = int(survey.n_above[:, THRESHOLDS.index(MAIN_THRESHOLD)].sum())
    return [
        f"{survey.n_rows:,} rows, {n_kept:,} of them ({n_kept / survey.n_rows:.1%}) with a probability above "
        f"{MAIN_THRESHOLD:g}, which is what training keeps where its config says nothing else.",
        f"{survey.n_labels_kept:,} of {len(survey.labels):,} classes have such a row.",
    ]


def _histogram(survey: Survey) -> Figure:
    figure = Figure(figsize=_HISTOGRAM_INCHES, layout="constrained")
    axes = figure.subplots()
    edges = np.linspace(0, 1, N_BINS + 1)
    colours = [_BLUE if edge >= MAIN_THRESHOLD else _PALE_BLUE for edge in edges[:-1]]
    axes.bar(edges[:-1], survey.histogram, 0.92 / N_BINS, align="edge", color=colours)
    axes.set_title("Rows by the probability of their primary label", loc="left", fontsize="medium")
    axes.set_xlabel(f"probability; darker: from {MAIN_THRESHOLD:g} on")
    axes.set_xlim(0, 1)
    axes.set_xticks(np.linspace(0, 1, 11))
    axes.yaxis.set_major_locator(MaxNLocator(5, integer=True))
    axes.yaxis.set_major_formatter(StrMethodFormatter("{x:,.0f}"))
    axes.grid(axis="y", linewidth=0.8)
    axes.set_axisbelow(True)
    axes.spines[["top", "right", "left"]].set_visible(False)
    axes.tick_params(axis="y", length=0)
    return figure
