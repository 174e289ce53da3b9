"""Cutting polygons at a meridian, whatever their form: concave, with holes, met several times.

Axes: N points, last axis ``x, y``.
"""

from collections.abc import Sequence
from itertools import pairwise

import numpy as np

Points = np.ndarray


def cut_polygon(rings: Sequence[Points], meridian: float) -> tuple[list[list[Points]], list[list[Points]]]:
    """Cut a polygon along a meridian.

    Each ring falls into chains that end on the meridian. Along it, every second stretch between two ends lies inside
    the polygon (even-odd rule), and there two chains of one side are joined.

    Args:
        rings: closed, ``(N, 2)``, outer one first, holes after it; none crosses itself or another. (Where two holes, or
            a hole and the outer ring, touch on both sides of a cut, a part may hang together by one corner alone.)
        meridian: x of the cut.

    Returns:
        The polygons west of it and those east of it, each as closed rings, outer one first.
    """
    sides: list[list[list[Points]]] = []
    for sign in (-1, 1):
        chains: list[Points] = []
        whole: list[Points] = []
        for ring in rings:
            open_chains, is_whole = _chains(ring, meridian, sign)
            chains += open_chains
            whole += [ring] if is_whole else []
        outers = _join(chains)
        holes: list[Points] = []
        for ring in whole:
            (outers if ring is rings[0] else holes).append(ring)
        sides.append([[outer, *(hole for hole in holes if _contains(outer, hole))] for outer in outers])
    return sides[0], sides[1]


def _chains(ring: Points, meridian: float, sign: int) -> tuple[list[Points], bool]:
    """Return a ring's parts on one side, each from meridian to meridian; or none and whether all of it lies there."""
    # A point on the meridian counts as east, so a part of the west may end in it, and one of the east touch it.
    inside = (ring[:-1, 0] >= meridian) == (sign > 0)
    if inside.all() or not inside.any():
        return [], bool(inside.all())
    start = int(np.flatnonzero(~inside)[0])
    points, here = np.roll(ring[:-1], -start, axis=0), np.roll(inside, -start)
    points, here = np.vstack([points, points[:1]]), np.append(here, here[0])
    chains: list[Points] = []
    for (a, a_inside), (b, b_inside) in pairwise(zip(points, here, strict=True)):
        if a_inside != b_inside:
            share = (meridian - a[0]) / (b[0] - a[0])
            crossing = np.array([meridian, a[1] + share * (b[1] - a[1])])
            if b_inside:
                chains.append(np.vstack([crossing, b]))
            else:
                chains[-1] = np.vstack([chains[-1], crossing])
        elif b_inside:
            chains[-1] = np.vstack([chains[-1], b])
    return chains, False


def _join(chains: Sequence[Points]) -> list[Points]:
    """Return the closed rings of chains whose ends are joined along the meridian, two by two in order."""
    ends = sorted((float(chain[end][1]), k, end) for k, chain in enumerate(chains) for end in (0, -1))
    partner = {}
    for (_, *a), (_, *b) in zip(ends[0::2], ends[1::2], strict=True):
        partner[tuple(a)], partner[tuple(b)] = tuple(b), tuple(a)
    rings, left = [], set(range(len(chains)))
    while left:
        first = k = min(left)
        end, parts = -1, []
        while True:
            left.discard(k)
            parts.append(chains[k] if end == -1 else chains[k][::-1])
            k, end = partner[(k, end)]
            end = 0 if end == -1 else -1
            if k == first:
                break
        rings.append(_clean(np.vstack([*parts, parts[0][:1]])))
    return [ring for ring in rings if np.ptp(ring[:, 0]) > 0]


def _clean(ring: Points) -> Points:
    """Return a closed ring without repeated points."""
    kept: Points = ring[np.append(True, (np.diff(ring, axis=0) != 0).any(axis=1))]
    return kept


def _contains(ring: Points, hole: Points) -> bool:
    """Return whether a closed ring contains a hole (even-odd rule); both may share corners, so an edge is asked for."""
    x, y = (hole[0] + hole[1]) / 2
    (x1, y1), (x2, y2) = ring[:-1].T, ring[1:].T
    spans = (y1 > y) != (y2 > y)
    crossing = x1[spans] + (y - y1[spans]) / (y2[spans] - y1[spans]) * (x2[spans] - x1[spans])
    return bool((crossing > x).sum() % 2)
