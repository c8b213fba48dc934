"""Credentials for Kaggle: a token, or a name and a key, from the places that Kaggle's program reads."""

from __future__ import annotations

import os
from pathlib import Path
from typing import NamedTuple

from pydantic import ConfigDict, SecretStr

from dawnchorus.competition.kaggle.kaggle_catalogue import SETTINGS_URL
from dawnchorus.config import Record, read_json
from dawnchorus.errors import DownloadError

_HOW = (
    f"make a token at {SETTINGS_URL} and set KAGGLE_API_TOKEN, or KAGGLE_USERNAME and KAGGLE_KEY, "
    "or keep the file that it gives as {path}"
)


class Credentials(NamedTuple):
    """Exactly one of a token, and a name with a key.

    Examples
    --------
    >>> Credentials(username="somebody", key="a secret")  # which is never shown
    Credentials(...)
    """

    token: str | None = None
    username: str | None = None
    key: str | None = None

    def __repr__(self) -> str:
        return "Credentials(...)"  # they must not show in tracebacks or logs


class _KaggleJson(Record):
    """The file that Kaggle gives; the key must not show in messages."""

    model_config = ConfigDict(extra="ignore", hide_input_in_errors=True)

    username: str
    key: SecretStr


def find_credentials() -> Credentials:
    """Return the credentials in the environment or in Kaggle's files in the home folder; nothing is sent.

    A token goes before a name and a key, the environment before a file.

    Raises
    ------
    DownloadError
        There are none, or ``kaggle.json`` does not hold them.

    Examples
    --------
    >>> import os
    >>> from unittest.mock import patch
    >>> with patch.dict(os.environ, {"KAGGLE_API_TOKEN": "a secret"}):
    ...     find_credentials()
    Credentials(...)
    """
    from kagglesdk.kaggle_env import get_access_token_from_env

    token, _ = get_access_token_from_env()
    if token:
        return Credentials(token=token)
    username, key = os.environ.get("KAGGLE_USERNAME"), os.environ.get("KAGGLE_KEY")
    if username and key:
        return Credentials(username=username, key=key)
    path = _kaggle_json()
    if not path.is_file():
        raise DownloadError(f"Kaggle asks who you are; {_HOW.format(path=path)}")
    found = read_json(path, _KaggleJson, error=DownloadError, remedy=_HOW.format(path=path))
    return Credentials(username=found.username, key=found.key.get_secret_value())


def _kaggle_json() -> Path:
    """Return the file that Kaggle's program would read: in its own folder, or where XDG puts it."""
    folder = os.environ.get("KAGGLE_CONFIG_DIR")
    if folder:
        return Path(folder) / "kaggle.json"
    home = Path.home() / ".kaggle" / "kaggle.json"
    config = Path(os.environ.get("XDG_CONFIG_HOME") or Path.home() / ".config")
    elsewhere = config / "kaggle" / "kaggle.json"
    return elsewhere if elsewhere.is_file() and not home.is_file() else home
