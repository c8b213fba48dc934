"""Areas on the ground, from GeoJSON, and whether a recording lies in one."""

from __future__ import annotations

import json
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from dawnchorus.errors import DataError
from dawnchorus.wording import shown

_LEGAL = "polygons of degrees east and north, as RFC 7946 has them"


@dataclass(frozen=True, eq=False)
class Area:
    """A polygon or several, with holes.

    Attributes
    ----------
    polygons
        Of each, its outer ring and then those of its holes, shape (n_points, 2): degrees east and north.
    properties
        What the file says of it.

    Examples
    --------
    >>> import numpy as np
    >>> square = Area(((np.array([[0, 50], [10, 50], [10, 55], [0, 55], [0, 50]]),),), {})
    >>> square.contains(52.1, 5.2), square.contains(52.1, 11.0)
    (True, False)
    """

    polygons: tuple[tuple[npt.NDArray[np.float64], ...], ...]
    properties: dict[str, Any]

    def contains(self, latitude: float, longitude: float) -> bool:
        """Return whether a place lies in a polygon and in none of its holes."""
        from matplotlib.path import Path as Outline

        place = (longitude, latitude)
        return any(
            Outline(outer).contains_point(place)
            and not any(Outline(hole).contains_point(place) for hole in holes)
            for outer, *holes in self.polygons
        )


def read_areas(path: Path) -> list[Area]:
    """Return the polygons in a GeoJSON file, an area a feature.

    Raises
    ------
    DataError
        The file cannot be read, or holds no polygon.

    Examples
    --------
    >>> import json
    >>> from pathlib import Path
    >>> ring = [[0, 50], [10, 50], [10, 55], [0, 55], [0, 50]]
    >>> _ = Path("area.geojson").write_text(json.dumps({"type": "Polygon", "coordinates": [ring]}))
    >>> [area.contains(52.1, 5.2) for area in read_areas(Path("area.geojson"))]
    [True]
    """
    try:
        content = json.loads(path.read_text(encoding="utf-8-sig"))
    except OSError as error:
        raise DataError(f"the area {path} cannot be read; {error.strerror}") from None
    except (ValueError, RecursionError) as error:
        raise DataError(f"{path} is no GeoJSON: {shown(str(error))}; give {_LEGAL}") from None
    features = content.get("features", [content]) if isinstance(content, dict) else []
    areas = [_area_of(feature, path) for feature in features if isinstance(feature, dict)]
    found = [area for area in areas if area.polygons]
    if not found:
        raise DataError(f"{path} holds no polygon; give {_LEGAL}")
    return found


def _area_of(feature: dict[str, Any], path: Path) -> Area:
    geometry = feature.get("geometry", feature) or {}
    kind, coordinates = geometry.get("type"), geometry.get("coordinates", [])
    given = {"Polygon": [coordinates], "MultiPolygon": coordinates}.get(str(kind), [])
    try:
        polygons = tuple(
            tuple(np.array([point[:2] for point in ring], np.float64).reshape(-1, 2) for ring in polygon)
            for polygon in given
        )
    except (TypeError, ValueError, IndexError, KeyError):
        raise DataError(f"{path}: the coordinates of a {kind} are none; give {_LEGAL}") from None
    for ring in (ring for polygon in polygons for ring in polygon):
        if len(ring) < 4 or not (np.abs(ring) <= [180, 90]).all():
            raise DataError(
                f"{path}: a ring has {len(ring)} points, from {ring.min(initial=0):g} to "
                f"{ring.max(initial=0):g}; give {_LEGAL}, 4 points a ring or more"
            )
    properties = feature.get("properties")
    return Area(polygons, properties if isinstance(properties, dict) else {})
