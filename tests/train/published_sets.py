"""Tiny data sets in the layouts of their publishers, and their conversion."""

import json
from pathlib import Path

import numpy as np
from PIL import Image

from train.data.convert import REGISTRY, SOURCES
from train.data.prepare import prepare_set
from train.data.records import Record, read_records


def convert(name: str, root: Path, tmp_path: Path) -> dict[str, Record]:
    """Convert the set below a data root, or in its own folder, and return its records by id."""
    folder = prepare_set(REGISTRY[name], root, tmp_path / "out")
    records = list(read_records(folder))
    by_id = {record.id: record for record in records}
    assert len(by_id) == len(records)
    for record in records:
        assert record.source == name
        assert all((folder / image).is_file() for image in record.images)
    return by_id


def read_prepared(tmp_path: Path, name: str, path: str | None) -> np.ndarray:
    """Return an image or mask of a converted set as stored."""
    assert path is not None
    with Image.open(tmp_path / "out" / name / path) as image:
        return np.asarray(image)


def set_folder(root: Path, name: str) -> Path:
    """Return the folder in which the set lies below a data root."""
    return root / SOURCES[name].folder


def write_image(path: Path, size_px: tuple[int, int] = (8, 6), colour: tuple[int, int, int] = (90, 120, 60)) -> None:
    """Write an image of one colour."""
    path.parent.mkdir(parents=True, exist_ok=True)
    Image.new("RGB", size_px, colour).save(path)


def write_pixels(path: Path, pixels: np.ndarray) -> None:
    """Write an array as PIL sees it: bool as 1 bit, ``(H, W)`` uint8 as grey, ``(H, W, 3)`` as RGB."""
    path.parent.mkdir(parents=True, exist_ok=True)
    Image.fromarray(pixels).save(path)


def write_text(path: Path, *lines: str) -> None:
    """Write a text file."""
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text("\n".join(lines) + "\n", encoding="utf-8")


def write_json(path: Path, data: object) -> None:
    """Write a JSON file."""
    write_text(path, json.dumps(data))


def half(size_px: tuple[int, int] = (8, 6)) -> np.ndarray:
    """Return a mask of which the left half is set, ``(H, W)`` bool."""
    width, height = size_px
    mask = np.zeros((height, width), bool)
    mask[:, : width // 2] = True
    return mask
