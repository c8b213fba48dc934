"""How long does it take to find the ten windows that sound most like another, among millions?

Windows are simulated: 2,000 sounds of very different frequency lie in a space of 24 dimensions, from which a
network of one layer with noise makes embeddings, as the numbers of features of real ones are larger than what
varies in them. ``search`` compares all up to 2 million windows, and beyond takes an inverted file of faiss,
whose best candidates it compares as they are. Recall is the share of the true ten that are found. usearch and
LanceDB are measured where they are installed, and with their best candidates compared as they are, too.
"""

from __future__ import annotations

import argparse
import shutil
import tempfile
import time
from collections.abc import Callable
from pathlib import Path

import numpy as np
import numpy.typing as npt
from common import parse_arguments, report

from dawnchorus.report.measurements import Measurement
from dawnchorus.search.nearest_vectors import nearest_approximately, nearest_exactly
from dawnchorus.search.window_vectors import unit_vectors

K, CANDIDATES, N_QUERIES, N_SOUNDS, N_VARYING = 10, 100, 50, 2000, 24
AT_ONCE = 100_000

Vectors = npt.NDArray[np.float32]
Search = Callable[[Vectors], npt.NDArray[np.int64]]


def add_options(parser: argparse.ArgumentParser) -> None:
    """Add the sizes, and whether rivals are measured."""
    parser.add_argument("--sizes", nargs="*", default=None, help="such as 1000000x256 10000000x128")
    parser.add_argument("--rivals-up-to", type=int, default=1_000_000, help="windows")


def simulated(n_windows: int, n_features: int, file: Path) -> tuple[Vectors, Vectors]:
    """Return embeddings, mapped from a file, and queries that are not among them."""
    rng = np.random.default_rng(0)
    mixing = rng.standard_normal((N_VARYING, n_features)).astype(np.float32)
    sounds = 1.5 * rng.standard_normal((N_SOUNDS, N_VARYING)).astype(np.float32)
    share = rng.zipf(1.3, N_SOUNDS).clip(1, N_SOUNDS).astype(float)

    def some(n: int) -> Vectors:
        place = sounds[rng.choice(N_SOUNDS, n, p=share / share.sum())]
        place = place + rng.standard_normal((n, N_VARYING)).astype(np.float32)
        noise = 0.15 * rng.standard_normal((n, n_features)).astype(np.float32)
        return unit_vectors(np.tanh(place @ mixing / 5) + noise)

    vectors = np.lib.format.open_memmap(file, "w+", np.float32, (n_windows, n_features))
    for begin in range(0, n_windows, AT_ONCE):
        vectors[begin : begin + AT_ONCE] = some(min(AT_ONCE, n_windows - begin))
    return np.load(file, mmap_mode="r"), some(N_QUERIES)


def reranked(vectors: Vectors, query: Vectors, rows: npt.NDArray[np.int64]) -> npt.NDArray[np.int64]:
    """Return the ten best of candidates, compared as they are."""
    rows = np.unique(rows).astype(np.int64)
    return rows[nearest_exactly(vectors[rows], query, K).rows]


def usearch_index(vectors: Vectors, folder: Path) -> Search:
    """Return a search by usearch: a graph (HNSW) over 8 bits a feature."""
    from usearch.index import Index

    index = Index(
        ndim=vectors.shape[1],
        metric="cos",
        dtype="i8",
        connectivity=16,
        expansion_add=64,
        expansion_search=64,
    )
    for begin in range(0, len(vectors), AT_ONCE):
        part = np.ascontiguousarray(vectors[begin : begin + AT_ONCE])
        index.add(np.arange(begin, begin + len(part)), part, threads=2)
    index.save(str(folder / "usearch"))
    viewed = Index.restore(str(folder / "usearch"), view=True)
    assert viewed is not None
    return lambda query: reranked(vectors, query, np.asarray(viewed.search(query[0], CANDIDATES).keys))


def lancedb_index(vectors: Vectors, folder: Path) -> Search:
    """Return a search by LanceDB: an inverted file over products of quantizers (IVF-PQ)."""
    import lancedb
    import pyarrow as pa

    n_features = vectors.shape[1]
    schema = pa.schema([("row", pa.int64()), ("vector", pa.list_(pa.float32(), n_features))])
    table = lancedb.connect(str(folder / "lance")).create_table("windows", schema=schema)
    for begin in range(0, len(vectors), AT_ONCE):
        part = pa.array(np.ascontiguousarray(vectors[begin : begin + AT_ONCE]).ravel())
        rows = np.arange(begin, begin + len(part) // n_features)
        table.add(
            pa.table([pa.array(rows), pa.FixedSizeListArray.from_arrays(part, n_features)], schema=schema)
        )
    table.create_index(
        metric="cosine", num_partitions=round(len(vectors) ** 0.5), num_sub_vectors=n_features // 4
    )

    def search(query: Vectors) -> npt.NDArray[np.int64]:
        found = table.search(query[0]).distance_type("cosine").nprobes(32).refine_factor(CANDIDATES // K)
        return np.array(found.select(["row"]).limit(K).to_arrow()["row"])

    return search


def faiss_index(vectors: Vectors, folder: Path) -> Search:
    """Return the search of ``dawnchorus search --approximate``."""
    file = folder / "nearest.faiss"
    nearest_approximately(vectors, vectors[:1], K, file)
    return lambda query: nearest_approximately(vectors, query, K, file).rows


def measured(
    name: str, size: str, search: Search, queries: Vectors, truth: list[set[int]], rows: list[Measurement]
) -> float:
    """Add the median time of a query and its recall, and return the time, s."""
    times, recalls = [], []
    search(queries[:1])
    for number, true in enumerate(truth):
        started = time.perf_counter()
        found = search(queries[number : number + 1])
        times.append(time.perf_counter() - started)
        recalls.append(len(true & set(found.tolist())) / K)
    seconds = float(np.median(times))
    rows.append(Measurement(f"{size}: {name}, a query", seconds * 1000, "ms"))
    rows.append(Measurement(f"{size}: {name}, recall of the nearest {K}", float(np.mean(recalls))))
    return seconds


def measure(n_windows: int, n_features: int, *, with_rivals: bool, n_exact: int) -> list[Measurement]:
    """Return what was measured on so many simulated windows."""
    rows: list[Measurement] = []
    size = f"{n_windows:,} windows of {n_features} features"
    with tempfile.TemporaryDirectory(dir=".") as name:
        folder = Path(name)
        vectors, queries = simulated(n_windows, n_features, folder / "vectors.npy")
        times, cpu_times, truth = [], [], []
        nearest_exactly(vectors, queries[:1], K)  # reads the file
        for number in range(n_exact):
            started, begun = time.perf_counter(), time.process_time()
            truth.append(set(nearest_exactly(vectors, queries[number : number + 1], K).rows.tolist()))
            times.append(time.perf_counter() - started)
            cpu_times.append(time.process_time() - begun)
        seconds = float(np.median(times))
        target = 1.0 if n_windows <= 1_000_000 else None
        ratio = None if target is None else 1 / seconds
        rows.append(Measurement(f"{size}: all compared, a query", seconds * 1000, "ms", "1 s", ratio, target))
        cpu_ms = float(np.median(cpu_times)) * 1000
        rows.append(Measurement(f"{size}: all compared, a query, on the processor", cpu_ms, "ms"))
        makers: dict[str, Callable[[Vectors, Path], Search]] = {"index of faiss": faiss_index}
        if with_rivals:
            makers |= {"usearch": usearch_index, "LanceDB": lancedb_index}
        for engine, make in makers.items():
            place = folder / engine
            place.mkdir()
            started = time.perf_counter()
            try:
                search = make(vectors, place)
            except ImportError:
                continue
            rows.append(Measurement(f"{size}: {engine}, made", time.perf_counter() - started, "s"))
            n_bytes = sum(path.stat().st_size for path in place.rglob("*") if path.is_file())
            rows.append(Measurement(f"{size}: {engine}, on disk", n_bytes / 1e6, "MB"))
            measured(engine, size, search, queries, truth, rows)
            shutil.rmtree(place)
    return rows


def main() -> None:
    """Measure each size and print the table."""
    arguments = parse_arguments(str(__doc__).splitlines()[0], add_options=add_options)
    default = ["100000x256"] if arguments.quick else ["1000000x256", "10000000x128"]
    rows = []
    for size in arguments.sizes or default:
        n_windows, n_features = map(int, size.split("x"))
        rows += measure(
            n_windows,
            n_features,
            with_rivals=n_windows <= arguments.rivals_up_to,
            n_exact=10 if arguments.quick or n_windows > 1_000_000 else N_QUERIES,
        )
    report("Search among simulated windows", rows, arguments)


if __name__ == "__main__":
    main()
