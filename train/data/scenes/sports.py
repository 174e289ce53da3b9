"""Courts, diamonds and tracks: each function draws one with its markings, at its true size.

Lengths are those of the sports' own rules, in metres; local coordinates have x along the ground.
"""

import numpy as np

from train.data.scenes.palette import COURTS, RGB, toned
from train.data.scenes.plan import Part, Plan, Point, Thing, disc, rectangle, turned


def _line_frame(length: float, width: float, line: float) -> list[np.ndarray]:
    x, y = length / 2, width / 2
    return [
        rectangle(length + line, line, 0, -y),
        rectangle(length + line, line, 0, y),
        rectangle(line, width, -x, 0),
        rectangle(line, width, x, 0),
    ]


def tennis_court(plan: Plan, centre: Point, angle: float) -> Thing:
    """A tennis court with its run-off, 34 m x 17 m."""
    outer, inner = (
        plan.tone((COURTS[int(plan.rng.integers(len(COURTS)))],)),
        plan.tone((COURTS[int(plan.rng.integers(len(COURTS)))],)),
    )
    m, line, white = plan.px(1), max(plan.px(0.16), 0.5), (226, 226, 222)
    local = [(rectangle(34 * m, 17 * m), outer), (rectangle(23.8 * m, 11 * m), inner)]
    for frame in (
        *_line_frame(23.8 * m, 11 * m, line),
        *_line_frame(23.8 * m, 8.2 * m, line),
        *_line_frame(12.8 * m, 8.2 * m, line),
    ):
        local.append((frame, white))
    local += [(rectangle(12.8 * m, line), white), (rectangle(line, 12.8 * m), (60, 66, 64))]
    parts = tuple(Part(turned(points, centre, angle), rgb) for points, rgb in local)
    return Thing(label="tennis court", footprint=(parts[0].polygon,), parts=parts, mask="", tag="tennis court")


def basketball_court(plan: Plan, centre: Point, angle: float) -> Thing:
    """A basketball court with its margin, 31 m x 18 m."""
    floor, key = (
        plan.tone(((190, 140, 96), (96, 132, 108), (160, 84, 66), (120, 124, 130), (84, 110, 150))),
        plan.tone(COURTS),
    )
    m, line, white = plan.px(1), max(plan.px(0.18), 0.5), (228, 228, 222)
    local = [(rectangle(31 * m, 18 * m), floor)]
    for side in (-1, 1):
        t = np.linspace(-np.pi / 2, np.pi / 2, 12)
        arc = np.stack([np.cos(t), np.sin(t)], axis=1) * 6.75 * m
        inner = arc * (1 - line / (6.75 * m))
        ring = np.concatenate([arc, inner[::-1]]) * (-side, 1) + (side * 12.6 * m, 0)
        local += [(ring, white), (rectangle(5.8 * m, 4.9 * m, side * 11.1 * m), key)]
        local += [(p + np.array([side * 11.1 * m, 0]), white) for p in _line_frame(5.8 * m, 4.9 * m, line)]
    local += [(disc(1.9 * m, 16), white), (disc(1.9 * m - line, 16), key), (rectangle(line, 15 * m), white)]
    local += [(frame, white) for frame in _line_frame(28 * m, 15 * m, line)]
    parts = tuple(Part(turned(points, centre, angle), rgb) for points, rgb in local)
    return Thing(label="basketball court", footprint=(parts[0].polygon,), parts=parts, mask="", tag="basketball court")


def baseball_diamond(plan: Plan, centre: Point, angle: float, side_m: float) -> Thing:
    """The infield: a fan of dirt with a square of grass in it, home plate at the local origin's far corner."""
    m = plan.px(side_m) / 27.4
    dirt, grass = (
        plan.tone(((176, 134, 98), (164, 118, 86), (196, 160, 122))),
        plan.tone(((104, 130, 74), (92, 118, 64))),
    )
    t = np.linspace(-np.pi / 4, np.pi / 4, 14)
    fan = np.concatenate([[(-6.0, -3.0), (-6.0, 3.0)], np.stack([np.cos(t), np.sin(t)], axis=1)[::-1] * 44])
    fan[0], fan[1] = (-5, 4), (-5, -4)
    fan = np.concatenate([fan[2:], [(-5, -4), (-5, 4)]]) - (20, 0)
    square = np.array([(4, 0), (19.4, 15.4), (34.8, 0), (19.4, -15.4)]) - (20, 0)
    local = [
        (fan * m, dirt),
        (square * m, grass),
        (disc(2.8, 12, -0.6) * m, dirt),
        (disc(3.4, 12, -20) * m, toned(dirt, 1.05)),
    ]
    for x, y in ((-0.6, 19.4), (-0.6, -19.4), (18.8, 0.0), (-19.0, 0.0)):
        local.append((rectangle(max(m, 1), max(m, 1), x * m, y * m), (236, 236, 232)))
    parts = tuple(Part(turned(points, centre, angle), rgb) for points, rgb in local)
    return Thing(label="baseball diamond", footprint=(parts[0].polygon,), parts=parts, mask="", tag="baseball diamond")


def ground_track_field(plan: Plan, centre: Point, angle: float, length_m: float) -> Thing:
    """An athletics track round a lawn; 400 m tracks are 176 m x 92 m."""
    length, width = plan.px(length_m), plan.px(length_m * 92 / 176)
    track = plan.tone(((168, 92, 74), (150, 80, 66), (178, 112, 92), (96, 110, 140)))
    grass, white = plan.tone(((98, 128, 68), (114, 140, 78))), (214, 206, 200)
    local: list[tuple[np.ndarray, RGB]] = []
    lane = plan.px(1.22)
    for k in range(9):
        shrink = k * lane
        local.append((_stadium(length - 2 * shrink, width - 2 * shrink), track))
        if lane > 0.8:
            local.append((_stadium(length - 2 * shrink - lane, width - 2 * shrink - lane), toned(track, 1.12)))
    local.append((_stadium(length - 18 * lane, width - 18 * lane), grass))
    pitch = (length * 0.58, width * 0.62)
    for k in range(8):
        stripe = rectangle(pitch[0] / 8, pitch[1], (k - 3.5) * pitch[0] / 8)
        local.append((stripe, toned(grass, 1.06 if k % 2 else 0.96)))
    local += [(frame, white) for frame in _line_frame(*pitch, max(plan.px(0.15), 0.4))]
    local.append((rectangle(max(plan.px(0.15), 0.4), pitch[1]), white))
    parts = tuple(Part(turned(points, centre, angle), rgb) for points, rgb in local)
    return Thing(
        label="ground track field", footprint=(parts[0].polygon,), parts=parts, mask="", tag="ground track field"
    )


def _stadium(length: float, width: float) -> np.ndarray:
    t = np.linspace(-np.pi / 2, np.pi / 2, 16)
    cap = np.stack([np.cos(t), np.sin(t)], axis=1) * width / 2
    right = cap + np.array([(length - width) / 2, 0])
    return np.concatenate([right, -right])
