"""The options ``--cluster`` and ``--workers`` of the commands that Ray spreads over machines."""

from __future__ import annotations

from typing import TYPE_CHECKING, Annotated

import typer

if TYPE_CHECKING:
    from dawnchorus.cluster.workers import Cluster

ClusterOption = Annotated[
    str | None,
    typer.Option(
        "--cluster",
        metavar="ADDRESS",
        help="Spread the work over a Ray cluster: local for the cores of this machine, auto, host:6379, or "
        "ray://host:10001. A worker has --threads cores, otherwise one.",
    ),
]
WorkersOption = Annotated[
    int | None,
    typer.Option("--workers", min=1, help="With --cluster, workers; otherwise as many as find cores."),
]


def cluster_of(
    address: str | None, n_cores: int | None, n_workers: int | None, *, shard: str | None = None
) -> Cluster | None:
    """Return the cluster that ``--cluster`` names, None where it is not given.

    Raises
    ------
    ConfigError
        There are workers, but no cluster; or a shard and a cluster.
    """
    from dawnchorus.cluster.workers import Cluster
    from dawnchorus.errors import ConfigError

    if address is None and n_workers is not None:
        raise ConfigError("--workers is for a job on a cluster; name it with --cluster, or leave it out")
    if address is not None and shard is not None:
        raise ConfigError("--shard does a part without a cluster; leave it out, or --cluster")
    return None if address is None else Cluster(address, n_cores or 1, n_workers)
