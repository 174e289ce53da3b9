"""One composite, from its seed: a counting image, or a place at two dates."""

import hashlib
from collections.abc import Mapping
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Literal

import numpy as np
from PIL import Image

from rsvlm_cli.errors import InputError
from train.data.composites.paste import Pasted, blend, find_room, outline, turned
from train.data.composites.pool import Ground, Pool
from train.data.phrases import NO_CHANGE, change_phrase, counts_of, listing, pick, place_words
from train.data.radiometry import Radiometry, expose, random_radiometry, save_jpeg
from train.data.records import LabelledBox, Record

SOURCE = "composites"
SIZE_PX = 256
OPEN_SIZE_PX = 128
VAL_SHARE = 0.05
PAIR_SHARE = 0.55
NO_CHANGE_SHARE = 0.25
OPEN_SHARE = 0.3
BUILDING_SHARE = 0.6
MAX_GROUNDS = 400
TRIES_PER_LABEL = 20

Split = Literal["train", "val"]


@dataclass(frozen=True, slots=True)
class Composite:
    """A composite before it is written.

    Attributes:
        images: one, or before and after, each ``(S, S, 3)`` uint8 with its JPEG quality.
        mask: ``(S, S)`` uint8 as the record's mask, or None.
        record: its record.
        pasted: what was pasted, in the image or at both dates together.
    """

    images: tuple[tuple[np.ndarray, int], ...]
    mask: np.ndarray | None
    record: Record
    pasted: tuple[Pasted, ...]


def split_of(seed: int, index: int) -> Split:
    """Return the side that a composite is made for."""
    digest = hashlib.sha256(f"{SOURCE}/{seed}/{index}".encode()).digest()
    return "val" if int.from_bytes(digest[:4]) < VAL_SHARE * 2**32 else "train"


def make_composite(pools: Mapping[str, Pool], seed: int, index: int) -> Composite:
    """Make composite ``index`` of the set with this seed; equal numbers and prepared sets give equal bytes."""
    pool = pools[split_of(seed, index)]
    rng = np.random.default_rng([seed, index])
    ground, made = _compose(pool, rng)
    name = f"{seed}-{index:06d}"
    if not ground.complete or rng.random() < PAIR_SHARE:
        return _make_pair(rng, ground, made, name, pool.split)
    return _make_single(rng, ground, made, name, pool.split)


def write_composite(folder: Path, composite: Composite) -> Record:
    """Write a composite's files below a prepared set's folder and return its record."""
    for path, (image, quality) in zip(composite.record.images, composite.images, strict=True):
        save_jpeg(folder / path, image, quality)
    if composite.record.mask is not None and composite.mask is not None:
        Image.fromarray(composite.mask).save(folder / composite.record.mask)
    return composite.record


def _choose_label(pool: Pool, rng: np.random.Generator) -> str:
    """Choose what to paste: buildings, or one of the other classes, each as often."""
    others = sorted(set(pool.sites) - {"building"})
    building = "building" in pool.sites and (not others or rng.random() < BUILDING_SHARE)
    return "building" if building else pick(rng, others)


def _compose(pool: Pool, rng: np.random.Generator) -> tuple[Ground, list[Pasted]]:
    """Find a ground with room for at least one object of a class, known ground or open country.

    Raises:
        InputError: if the pool's grounds have no room for its objects.
    """
    for attempt in range(MAX_GROUNDS):
        if attempt % TRIES_PER_LABEL == 0:
            label = _choose_label(pool, rng)
        grounds, side = pool.grounds[label], SIZE_PX
        if pool.open_grounds and (not grounds or (label == "building" and rng.random() < OPEN_SHARE)):
            grounds, side = pool.open_grounds, OPEN_SIZE_PX
        ground = pool.ground(rng, grounds[int(rng.integers(len(grounds)))], side) if grounds else None
        made = _paste_some(pool, rng, ground, label, 1 + int(rng.geometric(0.3))) if ground is not None else []
        if ground is not None and made:
            return ground, made
    raise InputError(f"no {pool.split} ground has room for an object, wanted more prepared sets")


def _paste_some(pool: Pool, rng: np.random.Generator, ground: Ground, label: str, wanted: int) -> list[Pasted]:
    """Find room for up to ``wanted`` objects of a class."""
    image = ground.image.astype(np.float32)
    taken = [item.box_px for item in ground.objects]
    made: list[Pasted] = []
    for _ in range(2 * wanted):
        if len(made) == wanted:
            break
        cutout = pool.cut_out(rng, label, ground.gsd_m)
        if cutout is None:
            continue
        side = max(cutout.box_px[2] - cutout.box_px[0], cutout.box_px[3] - cutout.box_px[1])
        if cutout.gsd_m is not None and ground.gsd_m is not None:
            scale = cutout.gsd_m / ground.gsd_m * rng.uniform(0.85, 1.15)
        elif ground.complete:
            scale = rng.uniform(0.65, 1.15)
        else:
            scale = rng.uniform(10, 30) / side
        scale = min(scale, 0.5 * image.shape[0] / side)
        ready = turned(cutout, int(rng.integers(4)), bool(rng.integers(2)), scale) if scale < 1.7 else None
        pasted = find_room(rng, image, ready, taken) if ready is not None else None
        if pasted is not None:
            made.append(pasted)
            taken.append(pasted.box_px)
    return made


def _with(ground: Ground, pasted: list[Pasted]) -> np.ndarray:
    image = ground.image.astype(np.float32)
    for item in pasted:
        blend(image, item)
    return image


def _record(ground: Ground, name: str, split: Split, objects: tuple[LabelledBox, ...]) -> Record:
    return Record(
        id=name,
        source=SOURCE,
        place=ground.place,
        split=split,
        images=(f"images/{name}.jpg",),
        gsd_m=None if ground.gsd_m is None else round(ground.gsd_m, 4),
        objects=tuple(sorted(objects, key=lambda item: (item.label, item.box_px[1], item.box_px[0]))),
        complete=ground.complete,
    )


def _light(rng: np.random.Generator, *, max_shift_px: float = 0.0, strength: float = 0.6) -> Radiometry:
    """Draw an acquisition of a picture that has been through one already."""
    return replace(
        random_radiometry(rng, strength=strength, max_shift_px=max_shift_px), dryness=float(rng.normal(0, strength / 2))
    )


def _make_single(rng: np.random.Generator, ground: Ground, made: list[Pasted], name: str, split: Split) -> Composite:
    light = _light(rng, strength=0.4)
    image = expose(_with(ground, made), light, rng)
    record = _record(ground, name, split, (*ground.objects, *(item.labelled for item in made)))
    known = {label: n for label, n in counts_of(record.objects).items() if label in ground.complete}
    captions = tuple(dict.fromkeys(listing(rng, known) for _ in range(2)))
    return Composite(((image, light.quality),), None, replace(record, captions=captions), tuple(made))


def _make_pair(rng: np.random.Generator, ground: Ground, made: list[Pasted], name: str, split: Split) -> Composite:
    """Paste all at one date and a part of it at the other, or the same at both."""
    label = made[0].cutout.label
    n_changed = 0 if rng.random() < NO_CHANGE_SHARE else 1 + int(rng.integers(len(made)))
    changed, kept = made[:n_changed], made[n_changed:]
    appeared = bool(rng.random() < 0.65)
    contents = [kept, made] if appeared else [made, kept]
    lights = (_light(rng, max_shift_px=1.0 if rng.random() < 0.6 else 0.0), _light(rng))
    images = tuple(
        (expose(_with(ground, content), light, rng), light.quality)
        for content, light in zip(contents, lights, strict=True)
    )
    height, width = ground.image.shape[:2]
    mask = np.zeros((height, width), np.uint8)
    for item in changed:
        mask[outline(mask.shape, item)] = 1
    if changed:
        where = place_words([item.box_px for item in changed], (width, height))
        told = [change_phrase(rng, label, n_changed, appeared=appeared, where=where) for _ in range(2)]
    else:
        told = [pick(rng, NO_CHANGE) for _ in range(2)]
    record = _record(ground, name, split, (*ground.objects, *(item.labelled for item in contents[-1])))
    record = replace(
        record,
        images=(f"images/{name}_before.jpg", f"images/{name}_after.jpg"),
        captions=tuple(dict.fromkeys(told)),
        mask=f"masks/{name}.png",
        mask_labels=(label,),
    )
    return Composite(images, mask, record, tuple(made))
