"""One record of the set, from its seed: images, mask, boxes, captions.

The record's place is the scene itself; about five scenes in a hundred are validation.
"""

import hashlib
from dataclasses import dataclass, field
from pathlib import Path
from typing import Literal

import numpy as np
from PIL import Image

from train.data.phrases import NO_CHANGE, area_phrase, change_phrase, composition, counts_of, pick, place_words
from train.data.radiometry import Radiometry, expose, random_radiometry, save_jpeg
from train.data.records import LabelledBox, Record
from train.data.scenes.edits import Edit, make_edit, move_vehicles
from train.data.scenes.palette import MASK_LABELS
from train.data.scenes.plan import SIZE_PX, Plan
from train.data.scenes.render import Drawn, Light, boxes_of, draw, random_light
from train.data.scenes.sites import make_plan

SOURCE = "scenes"
PAIR_SHARE = 0.3
VAL_SHARE = 0.05
OBJECT_LABELS = (
    "airplane",
    "baseball diamond",
    "basketball court",
    "bridge",
    "building",
    "car",
    "ground track field",
    "harbor",
    "ship",
    "solar panel",
    "storage tank",
    "swimming pool",
    "tennis court",
    "tree",
    "truck",
)


@dataclass(frozen=True, slots=True)
class Picture:
    """A drawn record before it is written.

    Attributes:
        images: one, or before and after, each ``(256, 256, 3)`` uint8 with its JPEG quality.
        mask: ``(256, 256)`` uint8, as the record's mask.
        drawn: what each image shows.
        record: with the paths that `write` fills.
    """

    images: tuple[tuple[np.ndarray, int], ...]
    mask: np.ndarray
    record: Record
    drawn: tuple[Drawn, ...] = field(repr=False)


def make_picture(seed: int, index: int) -> Picture:
    """Draw record ``index`` of the set with this seed; the same two numbers give the same bytes."""
    rng = np.random.default_rng([seed, index])
    plan = make_plan(rng)
    name = f"{seed}-{index:06d}"
    if rng.random() < PAIR_SHARE:
        return _make_pair(plan, name)
    drawn = draw(plan, random_light(rng))
    radiometry = random_radiometry(rng)
    objects = drawn.objects()
    captions = tuple(dict.fromkeys(_describe(plan, objects) for _ in range(int(rng.integers(1, 3)))))
    record = _record(plan, name, drawn, images=(f"images/{name}.jpg",), captions=captions, mask_labels=MASK_LABELS)
    image = expose(drawn.image, radiometry, rng), radiometry.quality
    return Picture((image,), drawn.cover, record, (drawn,))


def write_picture(folder: Path, picture: Picture) -> Record:
    """Write a picture's files below a prepared set's folder and return its record."""
    for path, (image, quality) in zip(picture.record.images, picture.images, strict=True):
        save_jpeg(folder / path, image, quality)
    if picture.record.mask is not None:
        Image.fromarray(picture.mask).save(folder / picture.record.mask)
    return picture.record


def split_of(place: str) -> Literal["train", "val"]:
    """Return the side of the split that a place lies on; it depends on the name alone."""
    return "val" if int.from_bytes(hashlib.sha256(place.encode()).digest()[:4]) < VAL_SHARE * 2**32 else "train"


def _record(
    plan: Plan,
    name: str,
    drawn: Drawn,
    *,
    images: tuple[str, ...],
    captions: tuple[str, ...],
    mask_labels: tuple[str, ...],
) -> Record:
    closed_forest = any(thing.label is None for thing in plan.things)
    return Record(
        id=name,
        source=SOURCE,
        place=name,
        split=split_of(name),
        images=images,
        gsd_m=plan.gsd_m,
        captions=captions,
        objects=drawn.objects(),
        complete=tuple(label for label in OBJECT_LABELS if label != "tree" or not closed_forest),
        mask=f"masks/{name}.png",
        mask_labels=mask_labels,
    )


def _describe(plan: Plan, objects: tuple[LabelledBox, ...]) -> str:
    """Write one caption: the setting and the counts of up to three classes, all that are there or the most telling."""
    counts = counts_of(objects)
    minor = {"tree", "car", "truck"} if len(counts) > 2 else set()
    named = [label for label in counts if label not in minor and counts[label] <= 20]
    keep = named[: int(plan.rng.integers(1, 4))]
    return composition(plan.rng, plan.setting, plan.crossing, {label: counts[label] for label in keep})


# --- pairs ------------------------------------------------------------------------------------------------------------


def _make_pair(plan: Plan, name: str) -> Picture:
    rng = plan.rng
    made = make_edit(plan) if rng.random() < 0.72 else None
    first, second = (plan, plan) if made is None else made[:2]
    swapped = bool(rng.random() < 0.3)
    before, after = (second, first) if swapped else (first, second)
    lights = _two_lights(rng)
    drawn = tuple(draw(move_vehicles(scene), light) for scene, light in zip((before, after), lights, strict=True))
    radiometry = _two_radiometries(rng)
    images = tuple((expose(d.image, r, rng), r.quality) for d, r in zip(drawn, radiometry, strict=True))
    label = made[2].label if made else pick(rng, ("building", "building", "road", "vegetation", "water"))
    changed = drawn[0].presence(label) != drawn[1].presence(label)
    mask = changed.astype(np.uint8) if made else np.zeros((SIZE_PX, SIZE_PX), np.uint8)
    labels: tuple[str, ...] = (label,)
    if label != "building" and rng.random() < 0.3:
        labels += ("building",)
    captions = _tell(rng, made[2] if made else None, drawn, swapped)
    paths = (f"images/{name}_before.jpg", f"images/{name}_after.jpg")
    record = _record(after, name, drawn[1], images=paths, captions=captions, mask_labels=labels)
    return Picture(images, mask, record, drawn)


def _two_lights(rng: np.random.Generator) -> tuple[Light, Light]:
    """Two suns and seasons over the same grain of ground."""
    first, second = random_light(rng), random_light(rng)
    same_texture = Light(
        azimuth=second.azimuth if rng.random() < 0.6 else first.azimuth + rng.normal(0, 0.2),
        shadow_per_height=second.shadow_per_height,
        shade=second.shade,
        dryness=second.dryness if rng.random() < 0.6 else first.dryness,
        texture_seed=first.texture_seed,
    )
    return first, same_texture


def _two_radiometries(rng: np.random.Generator) -> tuple[Radiometry, Radiometry]:
    """The first date may lie up to a pixel off; the second is the grid that boxes refer to."""
    return random_radiometry(rng, max_shift_px=1.0 if rng.random() < 0.5 else 0.0), random_radiometry(rng)


def _tell(rng: np.random.Generator, edit: Edit | None, drawn: tuple[Drawn, ...], swapped: bool) -> tuple[str, ...]:
    """Write two wordings of what happened."""
    if edit is None:
        return tuple(dict.fromkeys(pick(rng, NO_CHANGE) for _ in range(2)))
    appeared = edit.more != swapped
    size = (SIZE_PX, SIZE_PX)
    if edit.kind == "objects":
        boxes = _gone_boxes(edit.label, *(drawn if not appeared else drawn[::-1]))
        where = place_words(boxes, size)
        phrases = [change_phrase(rng, edit.label, len(boxes), appeared=appeared, where=where) for _ in range(2)]
    else:
        changed = drawn[0].presence(edit.label) != drawn[1].presence(edit.label)
        box = boxes_of(changed.astype(np.int32), 1)[0]
        wide = box is None or max(box[2] - box[0], box[3] - box[1]) > 0.55 * SIZE_PX
        where = "" if wide or box is None else place_words([box], size)
        phrases = [area_phrase(rng, edit.kind, appeared=appeared, where=where) for _ in range(2)]
    return tuple(dict.fromkeys(phrases))


def _gone_boxes(label: str, there: Drawn, missing: Drawn) -> list[tuple[float, float, float, float]]:
    """Return the boxes of a class's things that the first drawing shows and the second does not have."""
    kept = {id(thing) for thing in missing.things}
    boxes = boxes_of(there.ident, len(there.things))
    return [
        box
        for thing, box in zip(there.things, boxes, strict=True)
        if thing.label == label and id(thing) not in kept and box is not None
    ]
