"""The made scene: what it lists is what it shows."""

import numpy as np
import rasterio

from benchmarks.big_scene import SceneRecipe, counts_for, write_scene
from train.data.scenes.palette import MASK_LABELS

RECIPE = SceneRecipe(width_px=600, height_px=800, counts={"airplane": 4, "building": 6, "car": 2}, seed=3)


def read(path):
    with rasterio.open(path) as dataset:
        return dataset.read().astype(int)


def test_a_scene_without_an_object_differs_from_one_with_it_inside_its_box_and_shadow_alone(tmp_path):
    truth = write_scene(tmp_path / "full.tif", RECIPE)
    bare = SceneRecipe(width_px=600, height_px=800, counts={}, seed=3)
    write_scene(tmp_path / "bare.tif", bare)
    difference = np.abs(read(tmp_path / "full.tif") - read(tmp_path / "bare.tif")).max(axis=0)
    assert sorted(item.label for item in truth.objects) == ["airplane"] * 4 + ["building"] * 6 + ["car"] * 2
    elsewhere = np.ones(difference.shape, bool)
    for item in truth.objects:
        x1, y1, x2, y2 = (int(v) for v in item.box_px)
        assert (difference[y1:y2, x1:x2] > 25).mean() > 0.15
        elsewhere[max(0, y1 - 24) : y2 + 24, max(0, x1 - 24) : x2 + 24] = False
    assert elsewhere.mean() > 0.5
    assert np.percentile(difference[elsewhere], 99) < 12


def test_the_cover_shows_the_buildings_where_the_list_has_them(tmp_path):
    truth = write_scene(tmp_path / "scene.tif", RECIPE)
    roofs = read(tmp_path / "scene_cover.tif")[0] == MASK_LABELS.index("building") + 1
    for item in truth.objects:
        x1, y1, x2, y2 = (int(v) for v in item.box_px)
        if item.label == "building":
            assert roofs[y1:y2, x1:x2].mean() > 0.3
            roofs[y1:y2, x1:x2] = False
    assert not roofs.any()


def test_the_same_recipe_gives_the_same_pixels_and_density_does_not_depend_on_size(tmp_path):
    for name in ("a.tif", "b.tif"):
        write_scene(tmp_path / name, RECIPE)
    np.testing.assert_array_equal(read(tmp_path / "a.tif"), read(tmp_path / "b.tif"))
    assert counts_for(20_000)["ship"] == 1455
    assert counts_for(5000)["ship"] == round(1455 / 16)
