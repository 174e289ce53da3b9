import pytest

from rsvlm_cli.tasks import caption, classify, describe, describe_change
from rsvlm_cli.tasks.dialect import NANO, Granularity


def test_labels_are_ranked_by_likelihood_and_sum_to_one():
    assert classify.request(NANO, ["port", "forest", "field"]).candidates == ("port", "forest", "field")
    scores = classify.read(["port", "forest", "field"], [-1001.0, -1000.0, -1000.0 - 2.302585092994046])
    assert scores.labels == ("forest", "port", "field")
    assert sum(scores.probabilities) == pytest.approx(1)
    assert scores.probabilities[2] / scores.probabilities[0] == pytest.approx(0.1)


def test_a_region_is_described_by_the_region_expert_in_the_families_own_scale():
    request = describe.request(NANO, (0.1, 0.25, 0.5, 1.0))
    assert request.expert == Granularity.REGION
    assert "[REF] what is [10, 25, 50, 100]?" in request.prompt


def test_captions_see_one_image_and_change_captions_two():
    assert caption.request(NANO).prompt.count(NANO.image_token) == 1
    assert describe_change.request(NANO).prompt.count(NANO.image_token) == 2
