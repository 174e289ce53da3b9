"""Progress on stderr, on a terminal only."""

import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager

from rsvlm_cli.results import Report


def with_progress(work: Callable[[Callable[[int, int], None] | None], Report]) -> Report:
    """Run work that tells how many of how many windows are done; the bar is gone before anything else is written."""
    if not sys.stderr.isatty():
        return work(None)
    from rich.console import Console
    from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeRemainingColumn

    columns = (TextColumn("windows"), BarColumn(), MofNCompleteColumn(), TimeRemainingColumn())
    # Left to itself, rich takes stdout over and sends the answer to stderr.
    bar = Progress(*columns, console=Console(stderr=True), transient=True, redirect_stdout=False, redirect_stderr=False)
    with bar:
        task = bar.add_task("windows", total=None, visible=False)
        return work(lambda done, total: bar.update(task, completed=done, total=total, visible=True))


@contextmanager
def stages_bar() -> Iterator[Callable[[str, int, int], None] | None]:
    """Yield what to tell the name of a stage and how many of how many steps are done; nothing off a terminal."""
    if not sys.stderr.isatty():
        yield None
        return
    from rich.console import Console
    from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeRemainingColumn

    columns = (TextColumn("{task.description}"), BarColumn(), MofNCompleteColumn(), TimeRemainingColumn())
    bar = Progress(*columns, console=Console(stderr=True), transient=True, redirect_stdout=False, redirect_stderr=False)
    with bar:
        task = bar.add_task("", total=None)
        yield lambda name, done, total: bar.update(task, description=name, completed=done, total=total)
