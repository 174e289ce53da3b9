"""The card says whose data a model carries."""

import sys
from dataclasses import replace
from pathlib import Path

sys.path.insert(0, str(Path(__file__).parent))
from tiny_sets import SIDE, make_tiny_set

from export.pack import Card
from train.card import OPEN_LICENCE, RESEARCH_LICENCE, make_card
from train.config import Recipe
from train.data.mixture import Corpus
from train.data.views import ViewLaw

RECIPE = Recipe.from_toml(Path(__file__).parents[2] / "train" / "recipes" / "nano.toml")


def test_research_only_data_shows_in_the_licence_and_open_data_does_not(tmp_path: Path) -> None:
    for name in ("nwpu-vhr10", "dubai-landcover"):
        make_tiny_set(tmp_path / name)
    mixed = make_card(RECIPE, Corpus.load(tmp_path, ["nwpu-vhr10", "dubai-landcover"], "train"), "1.0")
    clean = make_card(RECIPE, Corpus.load(tmp_path, ["dubai-landcover"], "train"), "1.0")
    assert (mixed["licence"], clean["licence"]) == (RESEARCH_LICENCE, OPEN_LICENCE)
    assert [(entry["name"], entry["terms"]) for entry in mixed["data"]] == [
        ("nwpu-vhr10", "research only"),
        ("dubai-landcover", "open"),
    ]


def test_export_takes_every_key_and_classes_carry_the_ground_sampling_they_had(tmp_path: Path) -> None:
    make_tiny_set(tmp_path / "dubai-landcover")
    corpus = Corpus.load(tmp_path, ["dubai-landcover"], "train")
    corpus.records["dubai-landcover"] = [replace(r, gsd_m=0.5) for r in corpus.records["dubai-landcover"]]
    card = make_card(RECIPE, corpus, "1.0")
    assert Card(**card).name == "nano"
    by_label = {entry["label"]: entry for entry in card["classes"]["objects"]}
    # Images of 240 px at 0.5 m, shown whole or down to 96 px of them.
    low, high = (0.5 * side_px / ViewLaw().size_px for side_px in (96, SIDE))
    assert by_label["building"]["gsd_m"] == [round(low, 2), round(high, 2)]
    assert "gsd_m" not in by_label["ship"]
