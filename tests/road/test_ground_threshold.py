"""`ground` looks at whole pictures, so it has a threshold of its own, in every process that looks."""

from dataclasses import replace

from rsvlm_cli import pipeline
from rsvlm_cli.commands.demo import draw_place
from rsvlm_cli.runtime.bundle import find_bundle, read_bundle
from rsvlm_cli.settings import Settings
from tests.factories import write_geotiff


def test_ground_takes_its_own_threshold_in_one_process_and_in_two(tmp_path):
    path = str(write_geotiff(tmp_path / "place.tif", draw_place(12).transpose(2, 0, 1)))
    settings = Settings(tile="256")
    quality = read_bundle(find_bundle("nano")).manifest.quality
    strict = settings.least_score(quality)
    mild = settings.least_score(quality, "ground")
    assert mild < strict
    one, two = (pipeline.detect("ground", path, ["building"], replace(settings, jobs=jobs)).results for jobs in (1, 2))
    assert one == two
    assert any(mild <= box.score < strict for box in one)
    assert all(box.score >= strict for box in pipeline.detect("detect", path, ["building"], settings).results)
