"""``dawnchorus predict``: detections in one recording or in terabytes of them."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from enum import StrEnum
from math import floor
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from dawnchorus.cli.cluster_options import ClusterOption, WorkersOption, cluster_of
from dawnchorus.cli.join_command import ShardOption, print_shard, shard_of
from dawnchorus.cli.part_options import check_formats, own_parts_of
from dawnchorus.cli.region_options import (
    RegionMinimumOption,
    RegionMode,
    RegionModeOption,
    RegionOption,
    RegionRemovedOption,
    RegionSitesOption,
    RegionSynonymsOption,
    region_of,
)
from dawnchorus.cli.salvage_option import SalvageOption, print_notes

if TYPE_CHECKING:
    from dawnchorus.batch.bulk import BulkPredictions
    from dawnchorus.engines.engine import Engine
    from dawnchorus.engines.ensembles import Ensemble

_SPECIES_SHOWN = 15
_SPECIES_WANTED = 3  # that the proposed threshold detects

MODEL_HELP = (
    "Run directory or its training config, an exported folder, model.onnx, OpenVINO's model.xml, or a name "
    "of dawnchorus models."
)


class EngineChoice(StrEnum):
    """Engines that run an ensemble."""

    torch = "torch"
    onnx = "onnx"
    openvino = "openvino"
    int8 = "int8"


ModelArgument = Annotated[Path, typer.Argument(metavar="MODEL", help=MODEL_HELP)]
RecordingsArgument = Annotated[
    list[str],
    typer.Argument(
        metavar="RECORDINGS...",
        help="Recordings, folders, patterns in quotes, or - for names from standard input.",
    ),
]
AddOption = Annotated[
    list[str] | None,
    typer.Option("--add", metavar="MODEL=WEIGHT", help="One more model of the ensemble, joined by label."),
]
WeightOption = Annotated[float, typer.Option(help="Weight of the first model in an ensemble.")]
ExponentOption = Annotated[
    float,
    typer.Option(help="Mean over the models: 1 of probabilities, 0 geometric, else the power mean."),
]
EngineOption = Annotated[
    EngineChoice | None,
    typer.Option(help="Otherwise the fastest of the run's exports, or what the model is for."),
]
ThreadsOption = Annotated[int | None, typer.Option(min=1, help="Cores to use; otherwise all.")]
BatchOption = Annotated[int | None, typer.Option(min=1, help="Clips computed at once; otherwise as tuned.")]
ForceOption = Annotated[
    bool, typer.Option("--force", help="Replace tables that were made with another model or other settings.")
]
ThresholdOption = Annotated[
    str | None,
    typer.Option(
        help="Probability of a detection, a CSV of label and threshold, or: calibrated, for those of "
        "dawnchorus calibrate. Otherwise that of the best F1, and 0.5 for raw scores."
    ),
]
RawScoresOption = Annotated[
    bool,
    typer.Option("--raw-scores", help="Keep the networks' own scores, instead of probabilities of presence."),
]
CalibrationOption = Annotated[
    Path | None,
    typer.Option(
        "--calibration",
        help="reviewed_calibration.json of a review: scores are corrected by the reviewers' answers.",
    ),
]
SpeciesOption = Annotated[
    Path | None, typer.Option(help="List of the only species to detect, one a line: labels or names.")
]
TopOption = Annotated[int | None, typer.Option(min=1, help="So many species a window at most, the surest.")]
OverlapOption = Annotated[float, typer.Option(min=0, help="Seconds that a window shares with the next.")]
ShiftOption = Annotated[
    float | None, typer.Option("--shift", help="Average each window with those so many seconds beside it.")
]
SmoothOption = Annotated[
    bool, typer.Option("--smooth", help="Smooth over neighbouring windows, weights .1 .2 .4 .2 .1.")
]
ChannelOption = Annotated[
    str | None,
    typer.Option(
        "--channel",
        metavar="CHANNEL",
        help="Of several: a number from 1, mean, loudest, or each; otherwise as the model was trained.",
    ),
]
ScaleOption = Annotated[
    float | None,
    typer.Option(
        "--scale-by-maximum", min=0, help="Multiply by the recording's maximum of the class to this power."
    ),
]


OverlapAverageOption = Annotated[
    bool, typer.Option("--overlap-average", help="Average overlapping windows where they overlap.")
]
MergeOption = Annotated[
    bool, typer.Option("--merge", help="Join adjacent windows of a species into one detection.")
]
GapOption = Annotated[
    float, typer.Option(min=0, help="With --merge, join over pauses of at most so many seconds too.")
]
LongestOption = Annotated[
    float | None, typer.Option(min=0, help="With --merge, seconds of a detection at most.")
]
FormatsOption = Annotated[
    list[str],
    typer.Option(
        "--format",
        "--formats",
        callback=check_formats,
        help="Tables of detections to write; several with commas between them, or the option repeated.",
    ),
]
EmbeddingsOption = Annotated[
    bool, typer.Option("--embeddings", help="Write embeddings.parquet: the first model's features.")
]
RecorderNameOption = Annotated[
    str | None,
    typer.Option(
        "--recorder-name",
        metavar="PATTERN",
        help="How your recorder writes the time into file names, such as REC_%Y%m%d-%H%M%S, or "
        "package.module:function. It goes before metadata.",
    ),
]
TimeZoneOption = Annotated[
    str | None,
    typer.Option(
        "--time-zone",
        metavar="OFFSET",
        help="Of the recorders' clocks, where not known: +02:00, or Europe/Berlin.",
    ),
]
JournalOption = Annotated[
    bool | None,
    typer.Option(
        help="Keep what the network said, so that the next call predicts only what is new. By default, "
        "all jobs do but that of a single recording of at most 10 minutes."
    ),
]
EscapeFormulasOption = Annotated[
    bool,
    typer.Option("--escape-formulas", help="Put ' before names that spreadsheets take for formulas."),
]
AgainOption = Annotated[
    bool, typer.Option("--again", help="Predict these recordings anew, although OUT/journal has them.")
]
PruneOption = Annotated[
    bool,
    typer.Option("--prune", help="Drop what was predicted of other recordings than these from OUT."),
]


def predict(
    model: ModelArgument,
    recordings: RecordingsArgument,
    out: Annotated[Path, typer.Option(help="Folder for the tables.")] = Path("predictions"),
    threshold: ThresholdOption = None,
    raw_scores: RawScoresOption = False,
    calibration: CalibrationOption = None,
    species: SpeciesOption = None,
    top_k: TopOption = None,
    overlap: OverlapOption = 0.0,
    shift: ShiftOption = None,
    overlap_average: OverlapAverageOption = False,
    smooth: SmoothOption = False,
    scale_by_maximum: ScaleOption = None,
    merge: MergeOption = False,
    gap: GapOption = 0.0,
    longest: LongestOption = None,
    formats: FormatsOption = ["csv", "effort", "raven"],  # noqa: B006  typer copies it
    windows: Annotated[bool, typer.Option(help="Write windows.parquet: every window and class.")] = True,
    embeddings: EmbeddingsOption = False,
    recorder_name: RecorderNameOption = None,
    time_zone: TimeZoneOption = None,
    journal: JournalOption = None,
    escape_formulas: EscapeFormulasOption = False,
    region: RegionOption = None,
    region_mode: RegionModeOption = RegionMode.hard,
    region_minimum: RegionMinimumOption = 0.0,
    region_synonyms: RegionSynonymsOption = None,
    region_sites: RegionSitesOption = None,
    region_removed: RegionRemovedOption = None,
    channel: ChannelOption = None,
    salvage: SalvageOption = False,
    add: AddOption = None,
    weight: WeightOption = 1.0,
    exponent: ExponentOption = 1.0,
    engine: EngineOption = None,
    threads: ThreadsOption = None,
    batch_size: BatchOption = None,
    force: ForceOption = False,
    again: AgainOption = False,
    prune: PruneOption = False,
    shard: ShardOption = None,
    cluster: ClusterOption = None,
    workers: WorkersOption = None,
) -> None:
    """Write who sings when: CSV, Raven and other tables, and the probabilities of every window.

    A killed job goes on when the same command is run again, from what it keeps in OUT/journal. A later call
    adds what is new. Tables that a person has changed stay as they are.

    Exit code 0: all went well; 1: nothing could be done, with one sentence why; 2: some recordings cannot be
    read and are listed in OUT/failures.csv; 64: the command was used wrongly.
    """
    from dawnchorus.audio.channels import checked_channel
    from dawnchorus.audio.recorder_names import RecorderTimes
    from dawnchorus.batch.bulk import predict_bulk
    from dawnchorus.batch.bulk_settings import BulkSettings
    from dawnchorus.batch.cluster_predictions import ClusterPrediction
    from dawnchorus.batch.journaled import JournaledInference, Prediction
    from dawnchorus.batch.shard_predictions import predict_shard
    from dawnchorus.engines.calibrations import with_answers
    from dawnchorus.engines.engine_settings import frontend_threads
    from dawnchorus.engines.ensembles import bundled_models
    from dawnchorus.errors import ConfigError
    from dawnchorus.files.storage import given_path
    from dawnchorus.predict.detections import DetectionSettings, read_species
    from dawnchorus.predict.postprocess import NEIGHBOUR_KERNEL, PostprocessSettings
    from dawnchorus.predict.recording_files import find_recordings, names_from_stdin
    from dawnchorus.predict.thresholds import CALIBRATED, default_thresholds, thresholds_from
    from dawnchorus.wording import counted

    spread_over = cluster_of(cluster, threads, workers, shard=shard)
    if spread_over is not None:
        threads = spread_over.n_cores
    if shard and prune:
        raise ConfigError("--prune drops what other shards predict; leave it out, or --shard")
    check_model_first(model, recordings)
    out = given_path(out)
    with own_parts_of(recorder_name):
        times = RecorderTimes(recorder_name, time_zone)
    found = find_recordings(recordings, names=names_from_stdin())
    if threshold == CALIBRATED and add:
        raise ConfigError(
            "thresholds are calibrated for one model, and not for its mean with others; give --threshold a "
            "number or a file"
        )
    ensemble = ensemble_of(
        bundled_models(model),
        add or [],
        (weight, exponent),
        engine=engine,
        threads=threads,
        batch_size=batch_size,
    )
    opened = ensemble.open(calibrated=not raw_scores)
    if calibration is not None:
        if threshold is not None and Path(threshold).is_file():
            raise ConfigError(
                f"the thresholds in {threshold} are of scores before --calibration; leave one of both out, "
                "or give --threshold a number"
            )
        opened = with_answers(opened, calibration)
    labels = opened.card.labels
    if threshold is None:
        thresholds = default_thresholds(opened.thresholds, len(labels))
    else:
        folder = _folder_of(model) if threshold == CALIBRATED else model
        thresholds = thresholds_from(threshold, labels, folder, opened.calibration)
    settings = BulkSettings(
        DetectionSettings(
            thresholds,
            species=None if species is None else read_species(species, labels, opened.card.species),
            top_k=top_k,
            merge=merge,
            gap_s=gap,
            longest_s=longest,
        ),
        overlap_s=overlap,
        postprocess=PostprocessSettings(
            shift, overlap_average, NEIGHBOUR_KERNEL if smooth else None, scale_by_maximum
        ),
        formats=tuple(formats),
        with_windows=windows,
        with_embeddings=embeddings,
        n_workers=frontend_threads(threads),
        times=times,
        journal=journal,
        escape_formulas=escape_formulas,
        channel=None if channel is None else checked_channel(channel),
        salvage=salvage,
        region=region_of(
            region,
            opened.card,
            region_mode,
            region_minimum,
            region_synonyms,
            region_sites,
            region_removed,
        ),
        removed=region_removed,
    )
    part = shard_of(shard)
    if part is not None:
        done = predict_shard(opened, found, out, settings, part, force=force, again=again)
        counts = f"{counted(done.n_recordings, 'recording')}, {done.n_new} predicted now"
        print_shard(part, counts, done.failures, out)
        return
    prediction: Prediction = JournaledInference.predict
    if spread_over is not None:
        prediction = ClusterPrediction(ensemble, spread_over, out, calibrated=not raw_scores)
    result = predict_bulk(
        opened, found, out, settings, force=force, again=again, prune=prune, prediction=prediction
    )
    if result.n_removed is not None:
        typer.echo(f"{counted(result.n_removed, 'detection')} removed by the region: {region_removed}")
    print_predictions(result, out, scores=_scores_told(opened, threshold, raw_scores=raw_scores))


def check_model_first(model: Path, recordings: Sequence[str]) -> None:
    """Raise a ConfigError where something else is given for the model, and a model among the recordings."""
    from dawnchorus.engines.opening import names_model
    from dawnchorus.errors import ConfigError

    swapped = [name for name in recordings if names_model(Path(name))]
    if swapped and not names_model(model):
        raise ConfigError(
            f"{model} is no model, and {swapped[0]} is one; the model comes first, as in {swapped[0]} {model}"
        )


def _folder_of(model: Path) -> Path:
    """Return the run directory of a training config, and any other model as it is."""
    from dawnchorus.runs import open_run

    return open_run(model).path if model.suffix == ".py" else model


def ensemble_of(
    models: Sequence[Path],
    added: Sequence[str],
    weight_and_exponent: tuple[float, float],
    *,
    engine: EngineChoice | None,
    threads: int | None,
    batch_size: int | None,
) -> Ensemble:
    """Return models of equal weight, and others with their own (``MODEL=WEIGHT``), as one ensemble."""
    from dawnchorus.engines.ensembles import Ensemble, WeightedModel
    from dawnchorus.errors import ModelError

    weight, exponent = weight_and_exponent
    weighted = [WeightedModel(model, weight) for model in models]
    for text in added:
        path, separator, number = text.rpartition("=")
        try:
            weighted.append(
                WeightedModel(Path(path if separator else text), float(number) if separator else 1)
            )
        except ValueError:
            raise ModelError(f"--add {text}: {number!r} is no weight; write MODEL=WEIGHT") from None
    return Ensemble(
        weighted, None if engine is None else engine.value, threads, batch_size, exponent=exponent
    )


def _scores_told(engine: Engine, threshold: str | None, *, raw_scores: bool) -> str:
    """Return what the scores are, and by what the thresholds were chosen."""
    if engine.thresholds is None:
        is_ours = not (raw_scores or engine.card.licence)  # others' models come from no run
        why = "; dawnchorus calibrate RUN calibrates the run that the model comes from" if is_ours else ""
        return f"raw scores of the networks, no probabilities of presence{why}"
    aim = "" if threshold is not None else f", {engine.thresholds.aim} on recordings held out"
    return f"scores are calibrated probabilities of presence{aim}"


def print_predictions(result: BulkPredictions, out: Path, *, scores: str = "") -> None:
    """Print the detections of each species and the paths; exit with code 2 where recordings failed.

    ``scores`` says what the scores are.
    """
    from dawnchorus.files import FAILURES_NAME, NOTES_NAME
    from dawnchorus.wording import counted, first_few

    hours = result.duration_s / 3600
    typer.echo(
        f"{counted(result.n_detections, 'detection')} in {counted(result.n_recordings, 'recording')}, "
        f"{hours:.2f} h of audio; thresholds {result.thresholds}"
    )
    if scores:
        typer.echo(scores, err=True)
    if result.surest:
        _print_surest(result.surest)
    shown = list(result.counts.items())[:_SPECIES_SHOWN]
    for label, n_detections in shown:
        typer.echo(f"{n_detections:>9}  {label}")
    if len(result.counts) > len(shown):
        n_others = sum(result.counts.values()) - sum(n for _, n in shown)
        typer.echo(f"{n_others:>9}  of {len(result.counts) - len(shown)} more species")
    for name, path in result.paths.items():
        typer.echo(f"{name}: {path}")
    if result.n_new < result.n_recordings:
        typer.echo(f"{result.n_recordings - result.n_new} of them were predicted before", err=True)
    if result.gone:
        typer.echo(
            f"{counted(len(result.gone), 'recording')} of them {_is(result.gone)} no longer in {result.root} "
            f"({first_few(result.gone)}); what was predicted stays in the tables, and --prune drops it",
            err=True,
        )
    if result.dropped:
        typer.echo(
            f"{first_few(result.dropped)} {_is(result.dropped)} no longer in the tables, predicted before "
            "without a journal; to have all in them, predict all with --journal",
            err=True,
        )
    if result.changed:
        typer.echo(
            f"{counted(len(result.changed), 'table')} {_is(result.changed)} not as predict wrote it, and "
            f"left as {'it is' if len(result.changed) == 1 else 'they are'}: "
            f"{first_few([str(path) for path in result.changed])}; to get it anew, move it away",
            err=True,
        )
    print_notes(result.notes, out / NOTES_NAME)
    if result.failures:
        failed = out / FAILURES_NAME
        typer.echo(
            f"{counted(len(result.failures), 'recording')} failed; the reasons are in {failed}", err=True
        )
        raise typer.Exit(2)


def _print_surest(surest: Mapping[str, float]) -> None:
    """Print the highest score of each species, and how to detect some of them."""
    typer.echo("no score reaches its threshold; the surest of each species:", err=True)
    for label, score in list(surest.items())[:_SPECIES_SHOWN]:
        typer.echo(f"{score:>9.3f}  {label}", err=True)
    if len(surest) > _SPECIES_SHOWN:
        typer.echo(f"{'':>9}  and {len(surest) - _SPECIES_SHOWN} more species, less sure", err=True)
    ranked = list(surest.values())
    wanted = floor(ranked[min(_SPECIES_WANTED, len(ranked)) - 1] * 100) / 100
    typer.echo(
        f"to detect some of them, run the same command with --threshold {wanted:g} --force; what the journal "
        "in --out has is not predicted again",
        err=True,
    )


def _is(things: Sequence[object]) -> str:
    return "is" if len(things) == 1 else "are"
