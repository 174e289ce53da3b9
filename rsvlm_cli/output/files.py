"""What may be written where; the writing itself is `rsvlm_cli.geo.write.replaced_file`: whole or not at all."""

import logging
from pathlib import Path

from rsvlm_cli.errors import InputError, OutputExists
from rsvlm_cli.geo.write import replaced_file

logger = logging.getLogger(__name__)


def check_target(path: Path, *, overwrite: bool) -> None:
    """Refuse a target before any work is done for it.

    Raises:
        OutputExists: if it exists and may not be replaced.
        InputError: if it cannot be a file.
    """
    if path.is_dir():
        raise InputError(f"{path}: is a folder (name a file in it)")
    if not path.parent.is_dir():
        raise InputError(f"{path}: its folder does not exist (create it first)")
    if path.exists() and not overwrite:
        raise OutputExists(f"{path}: exists already (replace it with --overwrite, or name another file)")


def write_text(path: Path, text: str, *, overwrite: bool) -> None:
    """Write a whole text file, UTF-8."""
    with replaced_file(path, overwrite=overwrite) as part:
        part.write_text(text, encoding="utf-8")


def write_style(path: Path, qml: str, *, overwrite: bool) -> None:
    """Write the QGIS style of a file beside it; a style that is there is the user's, and stays unless ``overwrite``."""
    style = path.with_suffix(".qml")
    if not style.exists() or overwrite:
        write_text(style, qml, overwrite=True)
    elif style.read_text(encoding="utf-8", errors="replace") != qml:
        logger.warning("%s: is another style and was kept (replace it with --overwrite)", style)
