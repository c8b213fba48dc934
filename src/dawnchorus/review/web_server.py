"""The server of a review's page: its address, its start and its end."""

from __future__ import annotations

import os
import socket
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

from dawnchorus.errors import DataError, MissingExtraError
from dawnchorus.wording import install_extra

PORT = 8765
LOCAL = "127.0.0.1"


@dataclass(frozen=True)
class Address:
    """A socket that listens, and the address of the page.

    Examples
    --------
    >>> address = listen(port=0)
    >>> address.url("secret").startswith("http://127.0.0.1:")
    True
    >>> address.socket.close()
    """

    socket: socket.socket
    host: str

    @property
    def port(self) -> int:
        """Its port."""
        return int(self.socket.getsockname()[1])

    def url(self, token: str | None) -> str:
        """Return the address to open, with the token."""
        return f"http://{_in_address(self.host)}:{self.port}/" + ("" if token is None else f"?token={token}")


def listen(host: str = LOCAL, port: int = PORT) -> Address:
    """Return a socket that listens; port 0 takes a free one.

    Raises
    ------
    DataError
        The port is taken, or the host is none of this machine's.

    Examples
    --------
    >>> from dawnchorus.errors import DataError
    >>> first = listen(port=0)
    >>> try:
    ...     listen(port=first.port)
    ... except DataError as error:
    ...     print(error)
    127.0.0.1:... cannot be listened on; Address already in use: choose another --port, or 0 for a free one
    >>> first.socket.close()
    """
    family = socket.AF_INET6 if ":" in host else socket.AF_INET
    try:
        return Address(socket.create_server((host, port), family=family), host)
    except OSError as error:
        reason = os.strerror(error.errno) if error.errno and error.errno > 0 else str(error)
        raise DataError(
            f"{_in_address(host)}:{port} cannot be listened on; {reason}: choose another --port, or 0 for "
            "a free one"
        ) from None


def _in_address(host: str) -> str:
    return f"[{host}]" if ":" in host else host


def serve(app: Any, address: Address, *, started: Callable[[], None] = lambda: None) -> None:
    """Answer requests until the process is told to stop.

    Parameters
    ----------
    app
        That of :func:`dawnchorus.review.web_app.review_app`.
    address
        Where to listen.
    started
        Called once it answers.

    Raises
    ------
    MissingExtraError
        The extra ``review`` is not installed.

    Examples
    --------
    >>> import subprocess
    >>> import sys
    >>> program = '''
    ... import signal
    ... from fastapi import FastAPI
    ... from dawnchorus.review.web_server import listen, serve
    ... try:
    ...     serve(FastAPI(), listen(port=0), started=lambda: signal.raise_signal(signal.SIGINT))
    ... except KeyboardInterrupt:  # as after Ctrl-C
    ...     print("ended")
    ... '''
    >>> subprocess.run([sys.executable, "-c", program], capture_output=True, text=True).stdout
    'ended\\n'
    """
    uvicorn = _uvicorn()

    class Server(uvicorn.Server):  # type: ignore[name-defined]
        async def startup(self, sockets: list[socket.socket] | None = None) -> None:
            await super().startup(sockets=sockets)
            started()

    config = uvicorn.Config(app, log_level="warning", access_log=False, lifespan="off", server_header=False)
    Server(config).run(sockets=[address.socket])


def check_extra() -> None:
    """Raise a MissingExtraError where the extra ``review`` is not installed.

    Examples
    --------
    >>> check_extra()
    """
    _uvicorn()


def _uvicorn() -> Any:
    try:
        import fastapi  # noqa: F401
        import uvicorn
    except ModuleNotFoundError as error:
        raise MissingExtraError(
            f"the page of a review needs {error.name}, which is not installed: {install_extra('review')}"
        ) from None
    return uvicorn
