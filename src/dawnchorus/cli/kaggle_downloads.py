"""``dawnchorus download``: the data of competitions, and recordings of species."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Annotated

import typer

from dawnchorus.cli.command_group import CONTEXT_SETTINGS
from dawnchorus.cli.recording_downloads import inaturalist, recordings, xeno_canto
from dawnchorus.competition.kaggle.kaggle_catalogue import COMPETITIONS, Competition

download_app = typer.Typer(
    help="Download recordings, competition data and weights to where the configs look for them.",
    no_args_is_help=True,
    rich_markup_mode=None,
)

_HELP = """Download {name} from Kaggle.

Each part is downloaded as one archive, checked and unpacked; a killed download is simply run again and goes
on where it stopped, and what is there is not fetched again. Kaggle wants to know who asks: KAGGLE_API_TOKEN,
KAGGLE_USERNAME and KAGGLE_KEY, or ~/.kaggle/kaggle.json, from {settings}. The rules must be
accepted once at {rules}.

Parts{defaults}:

\b
{parts}

Exit code 0: all parts are there; 2: some failed and the others are there; 1: none is, or nothing could be
done. {room}"""

_WHOLE_PIPELINE = "For the whole pipeline with all parts, count on 600 GB of disk."


def _help(competition: Competition) -> str:
    from dawnchorus.competition.kaggle.kaggle_catalogue import SETTINGS_URL

    rules = f"{competition.parts[0].sources[0].url}/rules"
    lines = [
        f"  {part.name}: {part.holds}{'' if part.default else ' (only where named)'}"
        for part in competition.parts
    ]
    several = len(competition.parts) > 1
    return _HELP.format(
        name=competition.name,
        settings=SETTINGS_URL,
        rules=rules,
        defaults=", of which --only chooses" if several else "",
        parts="\n".join(lines),
        room=_WHOLE_PIPELINE if several else "",
    )


def _command(competition: Competition) -> Callable[..., None]:
    def download(
        out: Annotated[Path, typer.Option(help="Folder for everything.")] = Path("data"),
        only: Annotated[
            list[str] | None,
            typer.Option(metavar="PART", help="Part to download instead of the default ones; repeatable."),
        ] = None,
        keep_archives: Annotated[
            bool, typer.Option("--keep-archives", help="Keep the archives in OUT/.downloads.")
        ] = False,
        dry_run: Annotated[
            bool, typer.Option("--dry-run", help="Download nothing; say what would come, and how much.")
        ] = False,
    ) -> None:
        if dry_run:
            tell_plan(competition, out, only or [])
        else:
            _download(competition, out, only or [], keep_archives)

    return download


def tell_plan(
    competition: Competition, out: Path, only: list[str] | None = None, *, indent: str = ""
) -> None:
    """Print the parts of a download, a line each, with sizes where Kaggle can be reached."""
    from dawnchorus.competition.kaggle.competition_data import plan_competition
    from dawnchorus.downloads.disk_space import size_text

    for plan in plan_competition(competition, out, only=only or []):
        sources = " and ".join(str(source) for source in plan.part.sources)
        unknown = "size unknown until Kaggle is asked"
        size = unknown if plan.n_bytes is None else f"{size_text(plan.n_bytes)} unpacked"
        told = "already there" if plan.is_there else f"{sources} to {out / plan.part.folder}, {size}"
        typer.echo(f"{indent}{plan.part.name}: {told}")


def _download(competition: Competition, out: Path, only: list[str], keep_archives: bool) -> None:
    from dawnchorus.competition.kaggle.competition_data import download_parts

    outcomes = []
    for outcome in download_parts(competition, out, only=only, keep_archives=keep_archives):
        outcomes.append(outcome)
        told = "failed" if outcome.state == "failed" else outcome.sentence
        typer.echo(f"{outcome.name}: {told}")
    failed = [outcome for outcome in outcomes if outcome.state == "failed"]
    if failed:
        typer.echo(f"{len(failed)} of {len(outcomes)} parts failed:", err=True)
        for outcome in failed:
            typer.echo(f"  {outcome.name}: {outcome.sentence}", err=True)
        raise typer.Exit(2 if len(failed) < len(outcomes) else 1)


for _competition in COMPETITIONS.values():
    download_app.command(
        _competition.name,
        help=_help(_competition),
        short_help=f"Kaggle: {', '.join(part.name for part in _competition.parts)}.",
        context_settings=CONTEXT_SETTINGS,
    )(_command(_competition))

for _name, _function in (("xeno-canto", xeno_canto), (None, inaturalist), (None, recordings)):
    download_app.command(_name, context_settings=CONTEXT_SETTINGS)(_function)
