"""Pages of HTML made from the templates in this folder."""

from __future__ import annotations

import base64
import importlib.resources

import jinja2

from dawnchorus.files import legible
from dawnchorus.report.run_curves import DARK, LIGHT


def rendered(template: str, **parts: object) -> str:
    """Return a page; bytes that are not valid text, as in some file names, are written as escapes.

    Parameters
    ----------
    template
        Name of a file in this folder.
    parts
        What it shows; bytes in it pass through the filter ``base64``.

    Examples
    --------
    >>> rendered("run_page.html.jinja")
    Traceback (most recent call last):
        ...
    jinja2.exceptions.UndefinedError: ... is undefined
    """
    environment = jinja2.Environment(
        loader=jinja2.FunctionLoader(_text_of), autoescape=True, undefined=jinja2.StrictUndefined
    )
    environment.filters["base64"] = lambda content: base64.b64encode(content).decode("ascii")
    return legible(environment.get_template(template).render(light=LIGHT, dark=DARK, **parts))


def _text_of(template: str) -> str:
    return (importlib.resources.files("dawnchorus.report") / template).read_text(encoding="utf-8")
