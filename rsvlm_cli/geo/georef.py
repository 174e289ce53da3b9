"""Where a raster lies: pixel, map and lon/lat coordinates, RFC 7946 polygons, areas and lengths on the ground.

Axes: N points, last axis ``x, y``. Frames as in `rsvlm_cli.results`: ``px``, ``crs``, ``lonlat`` (WGS 84, degrees).
"""

from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import Protocol, Self

import numpy as np
from rasterio.crs import CRS
from rasterio.errors import CRSError
from rasterio.transform import Affine
from rasterio.warp import transform as warp_points

from rsvlm_cli.errors import InputError, NotGeoreferenced
from rsvlm_cli.geo.antimeridian import cut_polygon
from rsvlm_cli.geo.gdal import gdal_session
from rsvlm_cli.results import Affine6, BoxPx

LONLAT = CRS.from_epsg(4326)
A_M, F = 6_378_137.0, 1 / 298.257223563
"""WGS 84: semi-major axis in metres, flattening."""
E2 = F * (2 - F)

Points = np.ndarray
Ring = list[tuple[float, float]]
Polygon = list[Ring]
"""Closed rings, the outer one first."""


class Placed(Protocol):
    """What a `results.Source` and a `Raster` have in common."""

    @property
    def path(self) -> str:
        """The raster, for messages."""

    @property
    def crs(self) -> str | None:
        """As in `results.Source`."""

    @property
    def transform(self) -> Affine6 | None:
        """As in `results.Source`."""


@dataclass(frozen=True)
class Georeference:
    """A raster's coordinate system and transform, with every conversion that results need.

    Attributes:
        path: for messages.
        crs: an authority string or WKT.
        transform: of the whole raster, invertible.
    """

    path: str
    crs: str
    transform: Affine6

    @classmethod
    def of(cls, source: Placed) -> Self:
        """Take the georeference of a source or raster.

        Raises:
            NotGeoreferenced: if it has none.
        """
        if source.crs is None or source.transform is None:
            raise NotGeoreferenced(
                f"{source.path}: has no georeference, so map coordinates cannot be had "
                "(ask for pixel coordinates, or assign one: gdal_edit.py -a_srs -a_ullr)"
            )
        return cls(source.path, source.crs, source.transform)

    @cached_property
    def _crs(self) -> CRS:
        return CRS.from_user_input(self.crs)

    @cached_property
    def _inverse(self) -> Affine:
        return ~Affine(*self.transform)

    def px_to_crs(self, points_px: Points) -> Points:
        """Convert ``(N, 2)`` pixel coordinates to map coordinates."""
        return _apply(Affine(*self.transform), points_px)

    def crs_to_px(self, points_crs: Points) -> Points:
        """Convert ``(N, 2)`` map coordinates to pixel coordinates."""
        return _apply(self._inverse, points_crs)

    def crs_to_lonlat(self, points_crs: Points) -> Points:
        """Convert ``(N, 2)`` map coordinates to longitude and latitude.

        Raises:
            NotGeoreferenced: if a point has no place on Earth in this coordinate system.
        """
        return self._warp(self._crs, LONLAT, points_crs)

    def lonlat_to_px(self, points_lonlat: Points) -> Points:
        """Convert ``(N, 2)`` longitudes and latitudes to pixel coordinates.

        Raises:
            NotGeoreferenced: as `crs_to_lonlat`.
        """
        return self.crs_to_px(self._warp(LONLAT, self._crs, points_lonlat))

    def points_to_px(self, points: Points, crs: CRS) -> Points:
        """Convert ``(N, 2)`` points of another coordinate system to pixel coordinates.

        Raises:
            NotGeoreferenced: as `crs_to_lonlat`.
        """
        return self.crs_to_px(self._warp(crs, self._crs, points))

    def px_to_lonlat(self, points_px: Points) -> Points:
        """Convert ``(N, 2)`` pixel coordinates to longitude and latitude.

        Raises:
            NotGeoreferenced: as `crs_to_lonlat`.
        """
        return self.crs_to_lonlat(self.px_to_crs(points_px))

    def polygon_lonlat(self, rings_px: Sequence[Points]) -> list[Polygon]:
        """Convert a polygon to the coordinates of an RFC 7946 MultiPolygon.

        Edges are densified, so that they stay straight in the raster. Outer rings run anticlockwise, holes clockwise,
        and a polygon that crosses the antimeridian is cut there (RFC 7946, sections 3.1.6 and 3.1.9).

        Args:
            rings_px: outer ring first, each ``(N, 2)``, closed or not.

        Raises:
            NotGeoreferenced: as `crs_to_lonlat`.
        """
        rings = [self._ring_lonlat(ring) for ring in rings_px]
        # Each ring was unwrapped alone: bring the holes to the outer ring's turn of the globe.
        for ring in rings[1:]:
            ring[:, 0] += 360 * np.round((rings[0][:, 0].mean() - ring[:, 0].mean()) / 360)
        west, east = rings[0][:, 0].min(), rings[0][:, 0].max()
        polygons, rest = [], [rings]
        for turn in range(int(np.floor((west + 180) / 360)), int(np.ceil((east + 180) / 360))):
            cut = [cut_polygon(polygon, 360 * turn + 180) for polygon in rest]
            rest = [polygon for _, beyond in cut for polygon in beyond]
            polygons += [
                [orient_ring(ring - [360 * turn, 0], hole=k > 0) for k, ring in enumerate(polygon)]
                for within, _ in cut
                for polygon in within
            ]
        return polygons

    def box_lonlat(self, box_px: BoxPx) -> list[Polygon]:
        """Convert a pixel box by all four corners; as `polygon_lonlat`."""
        return self.polygon_lonlat([box_ring(box_px)])

    def ring_crs(self, ring_px: Points) -> Ring:
        """Return a ring ``(N, 2)``, closed or not, as a closed one in map coordinates."""
        return [(float(x), float(y)) for x, y in self.px_to_crs(close_ring(ring_px))]

    def area_m2(self, rings_px: Sequence[Points]) -> float:
        """Return a polygon's area on the WGS 84 ellipsoid in square metres, less its holes (all rings but the first).

        Source: authalic cylinder, exact in area; q of Snyder, Map Projections (1987), equation 3-12.
        """
        areas = []
        for ring in rings_px:
            lonlat = np.radians(self._ring_lonlat(ring))
            sine, e = np.sin(lonlat[:, 1]), np.sqrt(E2)
            q = (1 - E2) * (sine / (1 - E2 * sine**2) + np.arctanh(e * sine) / e)
            areas.append(abs(_shoelace(np.column_stack([A_M * lonlat[:, 0], A_M * q / 2]))))
        return areas[0] - sum(areas[1:])

    def length_m(self, line_px: Points, *, steps: int = 64) -> float:
        """Return the length on the WGS 84 ellipsoid, in metres, of a line ``(N, 2)`` that is straight in the raster.

        The line is cut into ``steps`` an edge; each is measured with the radii of curvature at its middle.
        """
        lonlat = unwrap_lon(self.px_to_lonlat(densify(np.asarray(line_px, float), steps=steps)))
        middle = (lonlat[1:, 1] + lonlat[:-1, 1]) / 2
        east_m, north_m = metres_per_degree(middle)
        step = np.diff(lonlat, axis=0)
        return float(np.hypot(step[:, 0] * east_m, step[:, 1] * north_m).sum())

    def extent_m(self, ring_px: Points) -> float:
        """Return the longest distance on the ground between two points of a ring ``(N, 2)``, in metres.

        It is looked for along 64 directions, so it may be short by 0.03 %.
        """
        ring_px = np.asarray(ring_px, float)
        lonlat = unwrap_lon(self.px_to_lonlat(ring_px))
        ground = lonlat * np.column_stack(metres_per_degree(lonlat[:, 1].mean(keepdims=True)))
        angle = np.pi * np.arange(64) / 64
        along = ground @ np.stack([np.cos(angle), np.sin(angle)])
        ends = np.stack([along.argmin(axis=0), along.argmax(axis=0)])
        k = int(np.hypot(*(ground[ends[1]] - ground[ends[0]]).T).argmax())
        return self.length_m(ring_px[ends[:, k]])

    def ground_size_m(self, at_px: tuple[float, float]) -> tuple[float, float]:
        """Return how many metres of ground one pixel step along x and along y covers at a place."""
        h = 0.01
        x, y = at_px
        points = self.px_to_lonlat(np.array([[x - h, y], [x + h, y], [x, y - h], [x, y + h]]))
        lonlat = unwrap_lon(points)
        east_m, north_m = metres_per_degree(lonlat[:, 1].mean(keepdims=True))
        along_x, along_y = lonlat[1] - lonlat[0], lonlat[3] - lonlat[2]
        return tuple(float(np.hypot(v[0] * east_m, v[1] * north_m)[0]) / (2 * h) for v in (along_x, along_y))  # type: ignore[return-value]

    def _ring_lonlat(self, ring_px: Points) -> Points:
        """Return a densified closed ring with continuous longitudes; one around a pole runs along the pole as well."""
        ring = unwrap_lon(self.px_to_lonlat(densify(close_ring(ring_px))))
        if abs(ring[-1, 0] - ring[0, 0]) < 180:
            return ring
        pole = np.copysign(90.0, ring[:, 1].mean())
        return np.vstack([ring, [[ring[-1, 0], pole], [ring[0, 0], pole]], ring[:1]])

    def _warp(self, source: CRS, target: CRS, points: Points) -> Points:
        points = np.asarray(points, float)
        try:
            with gdal_session(self.path):
                xs, ys = warp_points(source, target, points[:, 0], points[:, 1])[:2]
        except (CRSError, InputError) as error:
            raise NotGeoreferenced(f"{self.path}: its coordinate system does not reach this place on Earth") from error
        result = np.column_stack([xs, ys])
        if not np.isfinite(result).all():
            raise NotGeoreferenced(f"{self.path}: its coordinate system does not reach this place on Earth")
        return result


def metres_per_degree(lat: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Return the ground length of one degree east and one degree north on the WGS 84 ellipsoid at a latitude."""
    sine2 = np.sin(np.radians(lat)) ** 2
    prime_vertical = A_M / np.sqrt(1 - E2 * sine2)
    meridian = A_M * (1 - E2) / (1 - E2 * sine2) ** 1.5
    return np.radians(prime_vertical * np.cos(np.radians(lat))), np.radians(meridian)


def box_ring(box_px: BoxPx) -> Points:
    """Return the four corners of a box, ``(4, 2)``."""
    x1, y1, x2, y2 = box_px
    return np.array([(x1, y1), (x2, y1), (x2, y2), (x1, y2)], float)


def close_ring(ring: Points) -> Points:
    """Return the ring with its first point repeated at its end."""
    ring = np.asarray(ring, float)
    return ring if (ring[0] == ring[-1]).all() else np.vstack([ring, ring[:1]])


def densify(line: Points, steps: int = 16) -> Points:
    """Cut each edge of a line ``(N, 2)`` into equal steps."""
    share = np.arange(steps)[None, :, None] / steps
    between = line[:-1, None] + share * (line[1:] - line[:-1])[:, None]
    return np.vstack([between.reshape(-1, 2), line[-1:]])


def unwrap_lon(points_lonlat: Points) -> Points:
    """Make longitudes continuous along a line, beyond 180 where it crosses the antimeridian."""
    return np.column_stack([np.unwrap(points_lonlat[:, 0], period=360), points_lonlat[:, 1]])


def orient_ring(ring: Points, *, hole: bool) -> Ring:
    """Return a closed ring anticlockwise, or clockwise for a hole."""
    forward = (_shoelace(ring) > 0) != hole
    return [(float(x), float(y)) for x, y in (ring if forward else ring[::-1])]


def _apply(transform: Affine, points: Points) -> Points:
    a, b, c, d, e, f = tuple(transform)[:6]
    x, y = np.asarray(points, float).T
    return np.column_stack([a * x + b * y + c, d * x + e * y + f])


def _shoelace(ring: Points) -> float:
    """Return the signed area of a closed ring, positive anticlockwise."""
    x, y = (ring - ring[0]).T
    return float((x[:-1] * y[1:] - x[1:] * y[:-1]).sum() / 2)
