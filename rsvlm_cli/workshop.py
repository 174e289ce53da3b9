"""The way from the installed tool to the workshop: ``model``, ``export`` and ``train``.

The wheel publishes ``rsvlm_cli`` alone, so that their general names can never meet another package's in site-packages;
it carries them in ``rsvlm_cli/_workshop``. In a checkout they stand beside ``rsvlm_cli``. See docs/adr/0001.
"""

import sys
from importlib.util import find_spec
from pathlib import Path

from rsvlm_cli.errors import UsageError


def enter_workshop() -> Path:
    """Put the workshop first on this process's import path, once; call it before importing from it.

    Returns:
        The folder that holds ``model``, ``export`` and ``train``.

    Raises:
        UsageError: if torch is not installed.
    """
    if find_spec("torch") is None:
        raise UsageError("torch is not installed, and this command needs it: pip install 'rsvlm[train]'")
    package = Path(__file__).resolve().parent
    carried = package / "_workshop"
    folder = carried if carried.is_dir() else package.parent
    if str(folder) not in sys.path[:1]:
        sys.path.insert(0, str(folder))
    return folder
