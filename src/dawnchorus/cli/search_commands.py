"""``dawnchorus search`` and ``dawnchorus clusters``: windows that sound alike, as queues for review."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

if TYPE_CHECKING:
    import pandas as pd

    from dawnchorus.predict.model import Model

_SHOWN = 20

EmbeddingsArgument = Annotated[
    Path,
    typer.Argument(
        metavar="EMBEDDINGS",
        help="Folder that dawnchorus predict --embeddings wrote, or its embeddings.parquet.",
    ),
]
OutOption = Annotated[
    Path | None,
    typer.Option(help="Table to write, CSV or Parquet by its suffix; dawnchorus review --queue takes it."),
]
ForceOption = Annotated[bool, typer.Option("--force", help="Replace the table.")]


def search(
    embeddings: EmbeddingsArgument,
    query: Annotated[
        str,
        typer.Argument(
            metavar="QUERY", help="A sound file, or RECORDING@SECONDS with a recording as the tables name it."
        ),
    ],
    start: Annotated[
        float | None,
        typer.Option(min=0, metavar="SECONDS", help="Of the sound file, only the window at this time."),
    ] = None,
    model: Annotated[
        Path | None, typer.Option(help="The model that made the embeddings; needed where QUERY is a file.")
    ] = None,
    n_windows: Annotated[int, typer.Option("--n-windows", "-n", min=1, help="How many to find.")] = 50,
    species: Annotated[
        str, typer.Option(help="Species that the windows are to be reviewed for; it goes into the table.")
    ] = "unknown",
    new_species: Annotated[
        bool, typer.Option("--new-species", help="Take a --species that the model does not know.")
    ] = False,
    out: OutOption = None,
    exact: Annotated[
        bool | None,
        typer.Option(
            "--exact/--approximate",
            help="Compare all windows, or take an index, which is kept beside the embeddings. By default, "
            "above 2 million windows an index where faiss is installed.",
        ),
    ] = None,
    force: ForceOption = False,
) -> None:
    """Find the windows that sound most like a clip, or like a time in a recording.

    They are listed by the cosine similarity of their embeddings, the most similar first.
    """
    from dawnchorus.errors import ConfigError
    from dawnchorus.predict.model import load_model
    from dawnchorus.search.similar_windows import (
        UNKNOWN,
        QueryTime,
        SearchSettings,
        check_same_model,
        embeddings_of_clip,
        find_similar,
        query_time,
    )
    from dawnchorus.search.window_vectors import WindowVectors

    _check_out(out, force=force)
    windows = WindowVectors.of(embeddings)
    opened = None if model is None else load_model(model)
    if species != UNKNOWN and not new_species:
        species = _label_of(species, embeddings, opened)
    settings = SearchSettings(n_windows, species, exact)
    is_file = Path(query).is_file()
    at = None if is_file else query_time(query)
    if at is None and not is_file and start is not None:
        at = QueryTime(query, start)
    if at is not None:
        found = find_similar(windows, at, settings)
    elif opened is None:
        missing = "" if is_file else f"{query} is no file, and no RECORDING@SECONDS; "
        raise ConfigError(
            f"{missing}to search by a sound file, name the model that made the embeddings, with --model; to "
            "search by a recording among them, write RECORDING@SECONDS, as in pond/night.wav@7.5"
        )
    else:
        check_same_model(windows, opened, where=embeddings)
        found = find_similar(windows, embeddings_of_clip(opened, query, at_s=start), settings)
    _print_windows(found, out)


def clusters(
    embeddings: EmbeddingsArgument,
    below: Annotated[
        float, typer.Option(min=0, max=1, help="Take windows in which no class reaches this probability.")
    ] = 0.3,
    n_clusters: Annotated[
        int | None, typer.Option(min=1, help="So many, by k-means; otherwise the dense ones, by HDBSCAN.")
    ] = None,
    smallest: Annotated[int, typer.Option(min=2, help="With HDBSCAN, windows of a cluster at least.")] = 10,
    per_cluster: Annotated[int, typer.Option(min=1, help="Windows to list of each, the most central.")] = 5,
    at_most: Annotated[
        int, typer.Option(min=2, help="Windows to cluster at most; more are sampled.")
    ] = 20_000,
    seed: Annotated[int, typer.Option(min=0, help="Of the sample and of k-means.")] = 42,
    out: OutOption = None,
    force: ForceOption = False,
) -> None:
    """Cluster what no class explains, and list the most central windows of each cluster, to listen to."""
    from dawnchorus.search.unexplained_sounds import ClusterSettings, find_clusters

    _check_out(out, force=force)
    settings = ClusterSettings(below, n_clusters, smallest, per_cluster, at_most, seed)
    _print_windows(find_clusters(embeddings, settings), out)


def _label_of(species: str, embeddings: Path, model: Model | None) -> str:
    """Return the label of a species; as it is where neither the folder nor a model tells the classes."""
    from dawnchorus.batch.exchange import species_in
    from dawnchorus.errors import DataError
    from dawnchorus.formats.taxonomy import SpeciesIndex

    index = species_in(embeddings) if model is None else SpeciesIndex(model.labels, model.card.species)
    if not index.labels:
        typer.echo(f"beside {embeddings} are no classes, so that {species!r} is not checked", err=True)
        return species
    try:
        return index.label_of(species)
    except DataError as error:
        raise DataError(f"--species: {error} (--new-species takes it as it is)") from None


def _check_out(out: Path | None, *, force: bool) -> None:
    from dawnchorus.errors import ConfigError
    from dawnchorus.files import refuse_existing

    if out is not None and out.suffix.lower() not in (".csv", ".parquet"):
        raise ConfigError(f"--out {out}: name a table that ends in .csv or .parquet")
    refuse_existing(out, force=force)


def _print_windows(found: pd.DataFrame, out: Path | None) -> None:
    """Write a table, or print its first rows where none is asked for."""
    from dawnchorus.formats.whole_tables import write_csv, write_parquet
    from dawnchorus.wording import counted

    if out is not None:
        (write_csv if out.suffix.lower() == ".csv" else write_parquet)(out, found)
        typer.echo(f"{counted(len(found), 'window')}: {out}")
        return
    for row in found.drop(columns="label").head(_SHOWN).round({"similarity": 4}).itertuples(index=False):
        cells = [f"{cell:.10g}" if isinstance(cell, float) else str(cell) for cell in row]
        typer.echo("\t".join(cells))
    if len(found) > _SHOWN:
        typer.echo(f"... and {len(found) - _SHOWN} more; --out FILE writes all", err=True)
    if found.empty:
        typer.echo("no window found", err=True)
