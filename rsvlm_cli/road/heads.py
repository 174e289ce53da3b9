"""What the tower's heads say of one window, in all the symmetries that it is looked at in.

Axes: G cells a side.
"""

from collections.abc import Sequence
from typing import Literal

import numpy as np

from rsvlm_cli.results import Exchange
from rsvlm_cli.runtime.symmetry import turn_back
from rsvlm_cli.scene import View
from rsvlm_cli.tasks.cells import blocks_of, format_blocks
from rsvlm_cli.tasks.heads import PROMPT, to_cells


def knows(view: View, kind: Literal["scenes", "objects"], *labels: str) -> bool:
    """Say whether the head of this kind knows all of these words; of two dates it says nothing."""
    return len(view.chips) == 1 and set(labels) <= set(_words(view, kind))


def see_centres(view: View, label: str) -> np.ndarray:
    """Return how probable a thing's centre is in each cell, ``(G, G)`` in [0, 1]."""
    k = _words(view, "objects").index(label)
    looks = {0: view.features, **view.turned}
    cells = [turn_back(to_cells(look.seen["centres"][0])[k], symmetry) for symmetry, look in looks.items()]
    p_centre: np.ndarray = np.mean(cells, axis=0)
    _note(view, label, format_blocks(blocks_of((p_centre >= 0.5).astype(np.int8))))
    return p_centre


def see_sides(view: View) -> np.ndarray:
    """Return the box whose centre a cell is, ``(4, G, G)`` as `tasks.heads.read_boxes`, upright alone."""
    return to_cells(view.features.seen["boxes"][0])


def see_scene(view: View, labels: Sequence[str]) -> np.ndarray:
    """Return the share of each label among them, ``(n,)``."""
    words, looks = _words(view, "scenes"), [view.features, *view.turned.values()]
    shares: np.ndarray = np.mean([look.seen["scene"][0, 0] for look in looks], axis=0)
    shares = shares[[words.index(label) for label in labels]]
    _note(view, "scene", labels[int(shares.argmax())])
    p_label: np.ndarray = shares / shares.sum()
    return p_label


def _words(view: View, kind: str) -> tuple[str, ...]:
    return view.scene.bundle.manifest.heads.get(kind, ())


def _note(view: View, label: str, said: str) -> None:
    view.scene.note(Exchange(window_px=view.window_px, prompt=PROMPT.format(label=label), reply=said))
