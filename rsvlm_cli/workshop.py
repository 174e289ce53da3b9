"""The way from the installed tool to the workshop: ``model``, ``export`` and ``train``.

The wheel publishes ``rsvlm_cli`` alone, so that their general names can never meet another package's in site-packages;
it carries them in ``rsvlm_cli/_workshop``. In a checkout they stand beside ``rsvlm_cli``. See docs/adr/0001.
"""

import logging
import sys
from collections.abc import Sequence
from importlib.util import find_spec
from pathlib import Path

from rsvlm_cli.errors import UsageError

WORKSHOP = ("model", "export", "train")


def enter_workshop(needs: Sequence[str] = ("torch",), extra: str = "train") -> Path:
    """Put the workshop first on this process's import path, once; call it before importing from it.

    Args:
        needs: top-level modules without which the command cannot work.
        extra: of the package, that brings them.

    Returns:
        The folder that holds ``model``, ``export`` and ``train``.

    Raises:
        UsageError: if one of them is not installed.
    """
    for name in needs:
        if find_spec(name) is None:
            raise UsageError(f"{name} is not installed, and this command needs it: pip install 'rsvlm[{extra}]'")
    package = Path(__file__).resolve().parent
    carried = package / "_workshop"
    folder = carried if carried.is_dir() else package.parent
    if str(folder) not in sys.path[:1]:
        sys.path.insert(0, str(folder))
    ours = logging.getLogger("rsvlm_cli")
    for name in WORKSHOP:  # What the workshop tells goes where the tool tells it.
        theirs = logging.getLogger(name)
        theirs.handlers, theirs.propagate = ours.handlers, ours.propagate
        theirs.setLevel(ours.level)
    return folder
