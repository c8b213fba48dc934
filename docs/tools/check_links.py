"""Whether every link of the built pages leads somewhere: files, anchors, the form of external addresses."""

from __future__ import annotations

import re
from html.parser import HTMLParser
from pathlib import Path
from typing import NamedTuple
from urllib.parse import unquote, urlsplit

_LINKS = {"a": "href", "link": "href", "img": "src", "script": "src", "source": "src"}
_HOST = re.compile(r"^[A-Za-z0-9-]+(\.[A-Za-z0-9-]+)+(:\d+)?$")


class Link(NamedTuple):
    """A link as it stands in a page, with its line."""

    line: int
    target: str


class _Page(HTMLParser):
    """The links of a page, and the anchors that others may lead to."""

    def __init__(self) -> None:
        super().__init__()
        self.links: list[Link] = []
        self.anchors: set[str] = set()

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        values = dict(attrs)
        for key in ("id", "name"):
            if values.get(key):
                self.anchors.add(str(values[key]))
        target = values.get(_LINKS.get(tag, ""))
        if target is not None:
            self.links.append(Link(self.getpos()[0], target))


def broken_links(folder: Path) -> list[str]:
    """Return a sentence about each link below ``folder`` that leads nowhere, none where all is well.

    Parameters
    ----------
    folder
        HTML pages with any sub-folders, as Sphinx writes them.
    """
    pages = {path.resolve(): _parsed(path) for path in sorted(folder.rglob("*.html"))}
    faults = []
    for path, page in pages.items():
        for link in page.links:
            fault = _fault(link.target, path, pages, folder.resolve())
            if fault is not None:
                faults.append(f"{path.relative_to(folder.resolve())}:{link.line}: {link.target}: {fault}")
    return faults


def _parsed(path: Path) -> _Page:
    page = _Page()
    page.feed(path.read_text(encoding="utf-8"))
    page.close()
    return page


def _fault(target: str, path: Path, pages: dict[Path, _Page], root: Path) -> str | None:
    """Return what is wrong with a link in the page at ``path``, None where nothing is."""
    parts = urlsplit(target)
    if parts.scheme in ("mailto", "data"):
        return None
    if parts.scheme or parts.netloc:
        well_formed = parts.scheme in ("http", "https") and _HOST.match(parts.netloc)
        return None if well_formed else "this is no address of the form https://host/path"
    file = (path.parent / unquote(parts.path)).resolve() if parts.path else path
    if not file.is_relative_to(root):
        return "it leads out of the pages"
    if not file.is_file():
        return "there is no such file"
    anchor = unquote(parts.fragment)
    if anchor and file in pages and anchor not in pages[file].anchors:
        return f"{file.name} has no anchor {anchor}"
    return None
