"""``dawnchorus review`` and ``retrain``: detections corrected by people, and the next round of training."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from dawnchorus.cli.config_options import SetOption
from dawnchorus.cli.run_commands import ConfigOption, RunArgument, open_run

PredictionsArgument = Annotated[
    Path,
    typer.Argument(help="Folder that dawnchorus predict wrote, or a table of detections as for segments."),
]
AudioOption = Annotated[
    Path | None,
    typer.Option("--audio", help="Folder of the recordings; otherwise the one that predict was given."),
]
ReviewFolderOption = Annotated[
    Path | None, typer.Option("--folder", help="Folder of the answers; otherwise PREDICTIONS/review.")
]
LeastOption = Annotated[
    float | None,
    typer.Option(
        "--min-probability",
        min=0,
        max=1,
        help="Review all windows from this score on, of windows.parquet, instead of the detections.",
    ),
]
ChannelOption = Annotated[
    str,
    typer.Option(
        metavar="CHANNEL", help="Of several, where a row names none: a number from 1, mean, or loudest."
    ),
]


def review(
    predictions: PredictionsArgument,
    audio: AudioOption = None,
    model: Annotated[
        Path | None,
        typer.Option(help="Run or model: its attended frames are drawn, and a run can be trained again."),
    ] = None,
    queue: Annotated[
        Path | None,
        typer.Option(help="Table of clips in their order: filename, start_s, end_s, label; CSV or Parquet."),
    ] = None,
    new_species: Annotated[
        bool, typer.Option("--new-species", help="Take species of --queue that the model does not know.")
    ] = False,
    folder: ReviewFolderOption = None,
    min_probability: LeastOption = None,
    longest: Annotated[
        float, typer.Option(min=0.1, help="Seconds of a clip at most, around its surest window.")
    ] = 15.0,
    channel: ChannelOption = "mean",
    write: Annotated[
        bool, typer.Option("--write", help="Write tables and thresholds of the answers, and end.")
    ] = False,
    precision: Annotated[
        float, typer.Option(min=0, max=1, help="Of the thresholds that --write writes, above 0.")
    ] = 0.9,
    formats: Annotated[
        str, typer.Option("--format", help="Of the verified detections that --write writes.")
    ] = "csv,raven",
    host: Annotated[str, typer.Option(help="Address to listen on; others see it where it is 0.0.0.0.")] = (
        "127.0.0.1"
    ),
    port: Annotated[int, typer.Option(min=0, max=65535, help="Port; 0 for a free one.")] = 8765,
    token: Annotated[bool, typer.Option(help="Let only in who has the address with its token.")] = True,
    browser: Annotated[bool, typer.Option("--open", help="Open the page in a browser.")] = False,
) -> None:
    """Look at detections, hear and correct them, on a page in the browser.

    The page is served by this machine and needs no internet. Every answer is on disk before the next clip is
    shown; Ctrl-C ends the command, and the same command goes on. Several people, or pages, get different
    clips.
    """
    from dawnchorus.audio.channels import checked_channel
    from dawnchorus.engines.opening import names_model
    from dawnchorus.errors import ConfigError
    from dawnchorus.review.attended_frames import AttendedFrames
    from dawnchorus.review.review_results import write_results
    from dawnchorus.review.reviewing import open_review
    from dawnchorus.review.web_server import check_extra, listen
    from dawnchorus.wording import counted, first_few

    if not write:
        check_extra()
    if model is not None and not names_model(model):
        raise ConfigError(
            f"{model} is no model; give a run directory, an exported model or one of dawnchorus models, or "
            "leave --model out"
        )
    frames = None if model is None or write else AttendedFrames(model)
    opened = open_review(
        predictions,
        audio,
        folder=folder,
        min_probability=min_probability,
        table=queue,
        longest_s=longest,
        channel=checked_channel(channel, each=False),
        taxonomy=None if frames is None else frames.taxonomy(),
        new_species=new_species,
    )
    if write:
        results = write_results(opened, precision=precision, formats=formats)
        typer.echo(results.sentence())
        for path in results.files:
            typer.echo(str(path))
        return
    if missing := opened.missing_recordings():
        typer.echo(
            f"{len(missing)} of {counted(opened.pool['filename'].nunique(), 'recording')} are not below "
            f"{opened.audio_dir}, such as {first_few(missing, 1)}; --audio names their folder",
            err=True,
        )
    from dawnchorus.review.next_round import retraining_process
    from dawnchorus.review.web_app import AppSettings, hosts_of, review_app
    from dawnchorus.review.web_server import serve

    address = listen(host, port)
    given: dict[str, None] = {} if token else {"token": None}
    settings = AppSettings(
        hosts=hosts_of(host),
        frames=frames,
        next_round=None
        if model is None
        else retraining_process(model, predictions, opened.audio_dir, opened.folder),
        **given,
    )

    def started() -> None:
        url = address.url(settings.token)
        typer.echo(f"{opened!r}\nopen {url}\nend with Ctrl-C")
        if browser:
            typer.launch(url)

    serve(review_app(opened, settings), address, started=started)


def retrain(
    run: RunArgument,
    predictions: PredictionsArgument,
    audio: AudioOption = None,
    folder: ReviewFolderOption = None,
    min_probability: LeastOption = None,
    channel: ChannelOption = "mean",
    exp_name: Annotated[
        str | None, typer.Option(help="Name of the new run; otherwise that of RUN with -round2, -round3 …")
    ] = None,
    config: ConfigOption = None,
    changes: SetOption = None,
) -> None:
    """Train a run again with what was reviewed, negatives included: the next round.

    Exit code 2: some recordings of the review could not be read.
    """
    from dawnchorus.audio.channels import checked_channel
    from dawnchorus.config.changes import given_changes
    from dawnchorus.pipelines.retraining import retrain as train_again
    from dawnchorus.review.reviewing import open_review
    from dawnchorus.wording import counted

    opened, settings = open_run(run, config, None, debug=False)
    with open_review(
        predictions,
        audio,
        folder=folder,
        min_probability=min_probability,
        channel=checked_channel(channel, each=False),
    ) as reviewed:
        made = train_again(
            opened, reviewed, exp_name=exp_name, config=settings, changes=given_changes(changes or ())
        )
    typer.echo(
        f"{counted(made.data.n_clips, 'reviewed clip')}, {made.data.n_negative} of them negative: "
        f"{made.data.folder}"
    )
    typer.echo(f"trained folds {', '.join(map(str, made.run.finished_folds()))} are in {made.run.path}")
    if made.failures:
        typer.echo(
            f"{counted(len(made.failures), 'recording')} failed; see {made.data.folder / 'failures.csv'}",
            err=True,
        )
        raise typer.Exit(2)
