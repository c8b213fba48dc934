"""``dawnchorus precompute`` and ``dawnchorus folds``: preparation of training."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Literal

import typer

from dawnchorus.cli.cluster_options import ClusterOption, WorkersOption, cluster_of
from dawnchorus.cli.join_command import ShardOption, print_shard, shard_of
from dawnchorus.cli.salvage_option import SalvageOption, print_notes

if TYPE_CHECKING:
    from dawnchorus.audio.precompute import PrecomputeReport

AudioArgument = Annotated[
    Path, typer.Argument(help="Folder of recordings with any sub-folders, or a JSON list of paths.")
]
FeaturesArgument = Annotated[
    Path | None, typer.Argument(help="Folder for the HDF5 files. With --verify, one folder is enough.")
]
SampleRateOption = Annotated[
    int,
    typer.Option("--sample-rate", "--sr", min=1_000, max=768_000, help="Sample rate of the store, Hz."),
]
NormalizeOption = Annotated[bool, typer.Option("--do-normalize", help="Divide each recording by its peak.")]
LosslessOption = Annotated[
    bool, typer.Option("--lossless", help="Keep float32 as it is, at twice the size of 16 bits.")
]
OnlyBiggestOption = Annotated[
    bool,
    typer.Option("--only-biggest", help="Longest recordings first, for --leave-gb."),
]
LeaveGbOption = Annotated[
    float | None,
    typer.Option(
        "--leave-gb",
        min=0,
        help="Stop before less than this much disk is free, GB; the rest goes to left_out.csv.",
    ),
]
AudioRootOption = Annotated[
    Path | None,
    typer.Option(
        "--audio-root",
        help="Folder that names in the store are relative to; AUDIO, or for a JSON list its folder or "
        "the working directory, whichever has the recordings.",
    ),
]
UseTorchaudioOption = Annotated[
    bool,
    typer.Option("--use-torchaudio", help="Decode with torchaudio, dawnchorus[torchaudio]."),
]
UsePublishedOption = Annotated[
    bool | None,
    typer.Option(
        "--use-published/--convert-published",
        help="Recordings that FEATURES holds in the published layout: keep these, or convert them too.",
        show_default=False,
    ),
]
ChannelOption = Annotated[
    str, typer.Option(metavar="CHANNEL", help="Of several: a number from 1, mean, or loudest.")
]
VerifyOption = Annotated[
    bool,
    typer.Option("--verify", help="Convert nothing; read every HDF5 file, list the damaged in damaged.csv."),
]


def precompute(
    audio: AudioArgument,
    features: FeaturesArgument = None,
    n_cores: Annotated[int, typer.Option("--n-cores", min=1, help="Processes.")] = 1,
    sample_rate: SampleRateOption = 32_000,
    normalize: NormalizeOption = False,
    lossless: LosslessOption = False,
    only_biggest: OnlyBiggestOption = False,
    leave_gb: LeaveGbOption = None,
    audio_root: AudioRootOption = None,
    use_torchaudio: UseTorchaudioOption = False,
    use_published: UsePublishedOption = None,
    channel: ChannelOption = "mean",
    salvage: SalvageOption = False,
    shard: ShardOption = None,
    cluster: ClusterOption = None,
    workers: WorkersOption = None,
    verify: VerifyOption = False,
) -> None:
    """Convert recordings to HDF5, from which training reads crops hundreds of times faster.

    Reads wav, aiff, flac, ogg, opus and mp3; m4a, aac and wma with ffmpeg. A store is skipped while
    the size, time and content of its recording (192 KiB of it at most) and the options stay the same;
    otherwise, or where --verify found it damaged, it is made again. A killed conversion is simply run again.

    Recordings that cannot be read are listed in FEATURES/failures.csv. Exit code 0: all went well;
    2: some recordings failed or stores are damaged; 1: nothing could be done, or the disk is full.
    """
    if verify:
        _verify(audio if features is None else features, n_cores)
        return
    if features is None:
        raise typer.BadParameter("name the folder for the HDF5 files", param_hint="FEATURES")
    from dawnchorus.audio.channels import checked_channel
    from dawnchorus.audio.precompute import PrecomputeSettings, precompute_recordings
    from dawnchorus.audio.shard_stores import precompute_shard
    from dawnchorus.audio.store_layout import StoreSettings

    decoder: Literal["soundfile", "torchaudio"] = "torchaudio" if use_torchaudio else "soundfile"
    chosen = checked_channel(channel, each=False)
    store = StoreSettings(sample_rate, normalize, lossless, decoder, chosen, salvage)
    spread_over = cluster_of(cluster, 1, workers, shard=shard)
    settings = PrecomputeSettings(store, n_cores, only_biggest, leave_gb, use_published, spread_over)
    part = shard_of(shard)
    if part is not None:
        report = precompute_shard(audio, features, settings, part, audio_root=audio_root)
        print_shard(part, _counts(report), report.failures, features)
        return
    print_precomputed(precompute_recordings(audio, features, settings, audio_root=audio_root), features)


def _counts(report: PrecomputeReport) -> str:
    return (
        f"{report.n_done} converted ({report.hours_done:.2f} h), {report.n_skipped} already there, "
        f"{len(report.left_out)} left out, {len(report.failures)} failed"
    )


def print_precomputed(report: PrecomputeReport, features: Path) -> None:
    """Print the counts of a conversion; exit with code 2 where recordings failed."""
    from dawnchorus.audio.precompute import LEFT_OUT_NAME
    from dawnchorus.files import FAILURES_NAME, NOTES_NAME

    typer.echo(_counts(report))
    if report.n_replaced:
        typer.echo(
            f"{report.n_replaced} of them replaced stores that were damaged or made with other options or "
            "from other versions",
            err=True,
        )
    print_notes(report.notes, features / NOTES_NAME)
    if report.left_out:
        typer.echo(f"what was left out is in {features / LEFT_OUT_NAME}", err=True)
    if report.failures:
        typer.echo(f"the reasons are in {features / FAILURES_NAME}", err=True)
        raise typer.Exit(2)


def _verify(features: Path, n_cores: int) -> None:
    from dawnchorus.audio.precompute import DAMAGED_NAME, verify_stores
    from dawnchorus.files import write_failures

    report = verify_stores(features, n_cores=n_cores)
    for damaged in report.damaged:
        typer.echo(damaged.reason)
    typer.echo(f"{report.n_whole} whole, {len(report.damaged)} damaged")
    try:
        write_failures(features, report.damaged, name=DAMAGED_NAME)
    except OSError as error:
        typer.echo(f"{features / DAMAGED_NAME}: cannot be written; {error.strerror}", err=True)
    if report.damaged:
        typer.echo(f"`dawnchorus precompute AUDIO {features}` makes them again", err=True)
        raise typer.Exit(2)


def skip_speech(
    audio: Annotated[Path, typer.Argument(help="Folder of recordings with any sub-folders.")],
    output: Annotated[
        Path, typer.Argument(metavar="TABLE", help="Table to write; not overwritten without --force.")
    ],
    threshold: Annotated[
        float, typer.Option(min=0.01, max=0.99, help="Probability from which a moment is speech.")
    ] = 0.5,
    margin_s: Annotated[
        float, typer.Option("--margin", min=0, help="Seconds beside speech that are left out with it.")
    ] = 0.5,
    shortest_s: Annotated[
        float, typer.Option("--shortest", min=0.01, help="Shortest stretch that is kept, seconds.")
    ] = 1.0,
    n_cores: Annotated[int, typer.Option("--n-cores", min=1, help="Processes.")] = 1,
    force: Annotated[bool, typer.Option("--force", help="Overwrite the table.")] = False,
) -> None:
    """Find speech in recordings, and write a table of the stretches without it, to train on.

    The table is named as stretches in train_dataset_config. Recordings without speech are not in it. Needs
    dawnchorus[speech]. Exit code 2: some recordings cannot be read, and are listed beside the table.
    """
    from dawnchorus.files import refuse_existing
    from dawnchorus.recordings.speech import SpeechSettings, write_speechless_stretches

    refuse_existing(output, force=force)
    settings = SpeechSettings(threshold, margin_s, shortest_s)
    report = write_speechless_stretches(audio, output, settings, n_cores=n_cores)
    typer.echo(
        f"{report.n_with_speech} of {report.n_recordings} recordings have speech, of which "
        f"{report.n_without_rest} have nothing else; {report.speech_s:.1f} s are left out: {output}"
    )
    if report.failures:
        typer.echo(
            f"{len(report.failures)} cannot be read; the reasons are in "
            f"{output.with_name(output.stem + '_failures.csv')}",
            err=True,
        )
        raise typer.Exit(2)


RecordingsOption = Annotated[
    Path | None,
    typer.Option(
        "--table",
        "--recordings",
        help="Table of the recordings; otherwise AUDIO/recordings.csv, or folders.",
    ),
]
GroupColumnOption = Annotated[
    list[str] | None,
    typer.Option(
        "--group-column",
        help="Rows that share this stay together; several with commas, or repeated. Otherwise author, "
        "and site where the table has it.",
    ),
]
FoldColumnOption = Annotated[
    str,
    typer.Option(
        "--fold-column",
        help="Official folds, used where the table has them; an empty name deals anew.",
    ),
]
EveryClassInTrainingOption = Annotated[
    bool,
    typer.Option(
        "--every-class-in-training",
        help="Where a fold would not learn a class, keep its smallest group always in training.",
    ),
]
RareUpToOption = Annotated[
    int,
    typer.Option(
        "--rare-up-to",
        min=0,
        help="Classes with at most so many recordings are in every training fold, and never validated.",
    ),
]
FewerIfNeededOption = Annotated[
    bool, typer.Option("--fewer-if-needed", help="Fewer folds where groups are few.")
]


def folds(
    audio: Annotated[Path, typer.Argument(help="Folder of recordings.")],
    recordings: RecordingsOption = None,
    n_folds: Annotated[int, typer.Option("--n-folds", min=2, help="Number of folds.")] = 5,
    group_column: GroupColumnOption = None,
    fold_column: FoldColumnOption = "fold",
    every_class_in_training: EveryClassInTrainingOption = False,
    rare_up_to: RareUpToOption = 0,
    fewer_if_needed: FewerIfNeededOption = False,
    seed: Annotated[int, typer.Option(min=0, help="Seed of the split.")] = 42,
    out: Annotated[Path, typer.Option(help="Table to write.")] = Path("folds.csv"),
    force: Annotated[bool, typer.Option("--force", help="Overwrite the table.")] = False,
) -> None:
    """Deal recordings to folds so that no recordist is on both sides, and print the counts.

    The table has a row a recording: its fold, -1 for what is always in training, and whether it is
    validated there. The same recordings, options and seed give the same folds.
    """
    from dawnchorus.audio.decode import SAMPLE_RATE
    from dawnchorus.config import DataSettings, FoldSettings, validate
    from dawnchorus.files import refuse_existing
    from dawnchorus.folds.assignment import assign_folds, fold_counts, save_folds
    from dawnchorus.recordings.recordings_table import leave_out_unreadable, load_recordings

    refuse_existing(out, force=force)
    root = DataSettings(audio_dir=audio, recordings=recordings)
    # As training does it, so that these are its folds.
    table, failures = leave_out_unreadable(load_recordings(root).table, [root], sample_rate=SAMPLE_RATE)
    values = {
        "n_folds": n_folds,
        "group_column": ",".join(group_column) if group_column else None,
        "fold_column": fold_column or None,
        "fewer_if_needed": fewer_if_needed,
        "every_class_in_training": every_class_in_training,
        "rare_up_to": rare_up_to,
    }
    assignment = assign_folds(table, validate(FoldSettings, values, where="dawnchorus folds"), seed=seed)
    save_folds(out, table, assignment)
    typer.echo(fold_counts(table, assignment).to_string())
    by = " and ".join(assignment.group_columns)
    typer.echo(f"{len(table)} recordings in {assignment.n_groups} groups by {by}, {assignment.n_folds} folds")
    for note in assignment.notes:
        typer.echo(note, err=True)
    typer.echo(f"written to {out}")
    for failure in failures:
        typer.echo(f"left out: {failure.reason}", err=True)
    if failures:
        raise typer.Exit(2)
