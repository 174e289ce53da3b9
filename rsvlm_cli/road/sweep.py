"""The windows of a scene one after another, by one process or several, each outcome kept in a journal.

What a window said is plain JSON: it crosses to another process, lies in a journal and is merged all in one form, and in
the lattice's order, whoever found it; so neither the number of processes nor an interruption shows.
"""

import multiprocessing
import os
import signal
from collections import deque
from collections.abc import Callable, Iterable, Iterator
from concurrent.futures import Future, ProcessPoolExecutor
from contextlib import ExitStack, contextmanager
from dataclasses import asdict, dataclass, replace
from typing import Any

from rsvlm_cli.geo.tiling import Lattice, Place
from rsvlm_cli.results import BoxPx, Exchange
from rsvlm_cli.road.journal import Journal
from rsvlm_cli.scene import Progress, Scene, View, open_origin
from rsvlm_cli.settings import Origin

Work = Callable[[View], Any]
"""What to ask of a window; gives JSON. Where several processes work, it is pickled."""

LOOK_AHEAD = 2
"""Windows handed out to each process before their outcomes are wanted."""


@dataclass(frozen=True, slots=True)
class Look:
    """What came of one window.

    Attributes:
        place: where in the lattice.
        window_px: what was looked at.
        valid_fracs: share of it that holds data, of each date.
        found: what the work gave, or None where there was next to no data.
    """

    place: Place
    window_px: BoxPx
    valid_fracs: tuple[float, ...]
    found: Any | None


@dataclass(frozen=True, slots=True)
class Sweep:
    """One run over windows.

    Attributes:
        scene: what is looked at.
        work: what to ask of each window.
        journal: of this run.
        progress: is told how many of how many windows are done.
    """

    scene: Scene
    work: Work
    journal: Journal
    progress: Progress | None = None

    def looks(self, lattice: Lattice, places: Iterable[Place]) -> Iterator[Look]:
        """Yield what came of each window, in order; those out of the area of interest are passed over unread."""
        aoi = self.scene.aoi
        chosen = [place for place in places if aoi is None or aoi.meets(lattice.window_px(place))]
        # A single window is sooner looked at again than kept.
        journal = self.journal if len(chosen) > 1 else Journal(None, {})
        fresh = deque(chosen)
        with self._hands(lattice, fresh) as outcome_of_next:
            for k, place in enumerate(chosen):
                if self.progress:
                    self.progress(k, len(chosen))
                outcome = journal.next()
                if outcome is None:
                    outcome = outcome_of_next()
                    journal.add(outcome)
                else:
                    fresh.popleft()
                yield self._take(outcome, place, lattice)
            if self.progress:
                self.progress(len(chosen), len(chosen))

    def _take(self, outcome: dict[str, Any], place: Place, lattice: Lattice) -> Look:
        window_px, valid = lattice.window_px(place), tuple(outcome["valid"])
        width, height = (round(lattice.grid * side, 1) for side in lattice.cell_px)
        self.scene.tally.add((width, height), valid, shown=outcome["found"] is not None)
        self.scene.truncated |= outcome["truncated"]
        self.scene.note(*map(_exchange, outcome["said"]), n_asked=outcome["n_asked"])
        return Look(place, window_px, valid, outcome["found"])

    @contextmanager
    def _hands(self, lattice: Lattice, places: deque[Place]) -> Iterator[Callable[[], dict[str, Any]]]:
        """Give what looks at the next of the places, which is then no longer among them."""
        if self.scene.settings.jobs == 1:
            yield lambda: look_at(self.scene, self.work, lattice.window_px(places.popleft()))
            return
        n = self.scene.settings.jobs
        settings = replace(
            self.scene.settings, jobs=1, threads=self.scene.settings.threads or max(1, (os.cpu_count() or 1) // n)
        )
        origin = replace(self.scene.origin, settings=settings)
        pool = ProcessPoolExecutor(
            n, multiprocessing.get_context("spawn"), initializer=_open_here, initargs=(origin, self.work)
        )
        pending: deque[Future[dict[str, Any]]] = deque()

        def outcome_of_next() -> dict[str, Any]:
            while places and len(pending) < LOOK_AHEAD * n:
                pending.append(pool.submit(_look_here, lattice.window_px(places.popleft())))
            return pending.popleft().result()

        try:
            yield outcome_of_next
        finally:
            pool.shutdown(cancel_futures=True)


def look_at(scene: Scene, work: Work, window_px: BoxPx) -> dict[str, Any]:
    """Look at one window and return the outcome as JSON."""
    truncated, scene.truncated = scene.truncated, False
    n_asked, n_said = scene.n_asked, len(scene.transcript)
    valid, view = scene.look_at(window_px)
    outcome = {
        "valid": list(valid),
        "found": None if view is None else work(view),
        "truncated": scene.truncated,
        "n_asked": scene.n_asked - n_asked,
        "said": [asdict(exchange) for exchange in scene.transcript[n_said:]],
    }
    # What was said is noted by the one who takes the outcome, who may be another process.
    scene.truncated, scene.n_asked = truncated, n_asked
    del scene.transcript[n_said:]
    return outcome


def _exchange(said: dict[str, Any]) -> Exchange:
    """Read an exchange again from JSON, which knows no tuples."""
    choices = tuple((text, score) for text, score in said["choices"])
    return Exchange(**said | {"window_px": tuple(said["window_px"]), "choices": choices})


_here: list[tuple[Scene, Work, ExitStack]] = []
"""The scene and the work of this process, where it was started to help another one, and what keeps the scene open."""


def _open_here(origin: Origin, work: Work) -> None:
    # An interrupt is the first process's to answer: it shuts this one down.
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    stack = ExitStack()
    _here.append((stack.enter_context(open_origin(origin)), work, stack))


def _look_here(window_px: BoxPx) -> dict[str, Any]:
    scene, work, _ = _here[0]
    outcome = look_at(scene, work, window_px)
    # No more is wanted of all processes together than one report keeps.
    scene.note(*map(_exchange, outcome["said"]), n_asked=outcome["n_asked"])
    return outcome
