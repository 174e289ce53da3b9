"""The card of a trained model: what export writes into the manifest beside weights and sizes."""

from collections import defaultdict
from collections.abc import Collection
from pathlib import Path
from typing import Any

import numpy as np
from PIL import Image

from train.config import Family, Recipe
from train.data.convert import SOURCES
from train.data.mixture import Corpus
from train.data.records import read_set_facts
from train.data.views import ViewLaw
from train.tokenizer import STOP

OPEN_LICENCE = "Apache-2.0"
RESEARCH_LICENCE = (
    "Apache-2.0 as far as the weights are ours to give; trained in part on research-only sets, "
    "whose terms bind their use"
)

STOP_TOKENS: dict[Family, list[str]] = {"nano": [STOP], "rsunivlm": [STOP, "<|endoftext|>"]}
MAX_CONTEXT: dict[Family, int] = {"nano": 2048, "rsunivlm": 8192}

MADE_HERE = {
    "scenes": "drawn by this project (train/data/scenes)",
    "composites": "objects of the prepared sets pasted on their images (train/data/composites); terms of those sets",
}


def make_card(recipe: Recipe, corpus: Corpus, version: str) -> dict[str, Any]:
    """Return the content of ``card.json``: licence, data with terms, classes with the ground sampling they had."""
    data = [_data_entry(name, len(records), corpus.folders[name]) for name, records in corpus.records.items()]
    research = any(entry["terms"] == "research only" for entry in data)
    return {
        "name": recipe.name,
        "family": recipe.family,
        "version": version,
        "licence": RESEARCH_LICENCE if research else OPEN_LICENCE,
        "stop_tokens": STOP_TOKENS[recipe.family],
        "languages": ["en"],
        "max_context": MAX_CONTEXT[recipe.family],
        "tta": recipe.tta,
        "data": data,
        "classes": None
        if not recipe.labels
        else {
            "scene": list(recipe.labels.scenes),
            "objects": _object_classes(corpus, recipe.labels.objects, ViewLaw().size_px),
            "masks": [label for label in recipe.labels.masks if label in STUFF],
            "change": ["land cover", "building"],
        },
    }


UNKNOWN = dict.fromkeys(("licence", "terms", "teaches"), "not stated")

CLOSEST_PX, CLOSEST_FRAC = 96, 0.3
"""The smallest part of an image with objects that is shown alone, in pixels and as a share of its shorter side."""

STUFF = ("building", "forest", "road", "unpaved land", "vegetation", "water")
"""Mask classes that `segment` offers by itself; the rest are objects, better found as boxes."""


def _data_entry(name: str, n_records: int, folder: Path) -> dict[str, Any]:
    if name in MADE_HERE:
        return {
            "name": name,
            "licence": MADE_HERE[name],
            "terms": "open" if name == "scenes" else "research only",
            "used_for": "all tasks",
            "records": n_records,
        }
    facts = read_set_facts(folder) or (SOURCES[name].describe() if name in SOURCES else UNKNOWN)
    return {
        "name": name,
        "licence": facts["licence"],
        "terms": facts["terms"],
        "used_for": facts["teaches"],
        "records": n_records,
    }


def _object_classes(corpus: Corpus, labels: Collection[str], size_px: int) -> list[dict[str, Any]]:
    """List each class with the 5th to 95th percentile of the ground that a model pixel showed, where sets state it.

    A view shows an image as a whole, or a part down to `train.data.views`' smallest: each image counts with both.
    """
    seen: dict[str, list[float]] = defaultdict(list)
    for name, records in corpus.records.items():
        for record in records:
            if record.gsd_m is None or not record.objects:
                continue
            with Image.open(corpus.folders[name] / record.images[0]) as image:
                short_px = min(image.size)
            sides_px = short_px, max(min(CLOSEST_PX, short_px), CLOSEST_FRAC * short_px)
            for label in {item.label for item in record.objects}:
                seen[label] += [record.gsd_m * side_px / size_px for side_px in sides_px]
    entries: list[dict[str, Any]] = []
    for label in labels:
        low_high = (
            [round(float(v), 2) for v in np.percentile(seen[label], [5, 95], method="nearest")] if seen[label] else None
        )
        entries.append({"label": label} | ({"gsd_m": low_high} if low_high else {}))
    return entries
