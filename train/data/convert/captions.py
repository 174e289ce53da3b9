"""Caption texts: their tidy form, and the sets that have texts without images."""

import json
import re
from collections.abc import Iterable
from pathlib import Path

FOLDER = "annotations-without-images"


def tidy_caption(text: str) -> str:
    """Return a caption in lower case, without the space before punctuation and without the full stop at the end."""
    text = re.sub(r"\s+", " ", text.lower())
    return re.sub(r"\s+([.,;:?!])", r"\1", text).strip(" .")


def distinct_captions(texts: Iterable[str]) -> tuple[str, ...]:
    """Return tidy captions in their order, each once, the empty ones left out."""
    return tuple(dict.fromkeys(tidy for text in texts if (tidy := tidy_caption(text))))


def read_captions(root: Path) -> list[str]:
    """Return the UCM captions below a data root, tidy, one for each that was written; empty where the set is absent."""
    return _read(root / FOLDER / "ucm-captions")


def read_change_captions(root: Path) -> list[str]:
    """Return the LEVIR-CC change captions below a data root, tidy, one for each that was written; empty if absent."""
    return _read(root / FOLDER / "levir-cc")


def _read(folder: Path) -> list[str]:
    files = sorted(folder.glob("captions_*.json"))
    return [tidy_caption(text) for path in files for texts in json.loads(path.read_bytes()).values() for text in texts]
