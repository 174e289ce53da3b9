import numpy as np
import pytest

from rsvlm_cli.errors import UsageError
from rsvlm_cli.geo.stretch import MID_TONE, StretchRule, fit_stretch


def fit(text: str, *samples: list[float], dtype: str = "uint16", n_bits: int | None = None):
    return fit_stretch(StretchRule.parse(text), [np.array(values, float) for values in samples], dtype, n_bits)


def test_eight_bit_is_left_as_it_is() -> None:
    values = np.arange(256, dtype=np.uint8).reshape(1, 16, 16)
    stretch = fit("auto", [], dtype="uint8")
    assert stretch.text == "none (uint8)"
    np.testing.assert_array_equal(stretch.apply(values), values)


def test_fewer_than_eight_bits_fill_the_range() -> None:
    stretch = fit("auto", [], dtype="uint8", n_bits=4)
    assert stretch.apply(np.array([[[0, 5, 15]]], np.uint8)).tolist() == [[[0, 85, 255]]]


def test_two_and_ninety_eight_percent_of_each_band_become_black_and_white() -> None:
    samples = list(range(1001))
    stretch = fit("auto", samples, [v * 10 for v in samples])
    assert stretch.low == (20, 200)
    assert stretch.high == (980, 9800)
    assert stretch.text == "2-98 % of valid pixels: 20..980, 200..9800"
    assert stretch.apply(np.array([[[20, 500, 980, 3000]], [[200, 5000, 9800, 0]]], np.uint16)).tolist() == [
        [[0, 128, 255, 255]],
        [[0, 128, 255, 0]],
    ]


@pytest.mark.parametrize(
    ("text", "low", "high"), [("minmax", 0, 1000), ("p10,90", 100, 900), ("0,3000", 0, 3000), ("-25,0", -25, 0)]
)
def test_the_user_can_say_the_range(text: str, low: float, high: float) -> None:
    stretch = fit(text, list(range(1001)))
    assert (stretch.low, stretch.high) == ((low,), (high,))


@pytest.mark.parametrize("text", ["p98,2", "p2", "5,5", "a,b", "", "p-1,50", "p2,101", "nan,1", "0,inf", "1,2,3"])
def test_a_malformed_rule_is_a_usage_error(text: str) -> None:
    with pytest.raises(UsageError, match="wanted auto, none, minmax"):
        StretchRule.parse(text)


def test_a_constant_image_becomes_the_mid_tone() -> None:
    assert (fit("auto", [7.0] * 10).apply(np.full((1, 2, 2), 7, np.uint16)) == MID_TONE).all()


def test_rare_values_in_an_almost_constant_image_stay_visible() -> None:
    stretch = fit("auto", [0.0] * 999 + [50.0])
    assert stretch.apply(np.array([[[0, 50]]], np.uint16)).tolist() == [[[0, 255]]]


def test_no_valid_pixel_is_said() -> None:
    stretch = fit("auto", [], [], [])
    assert stretch.text == "no valid pixels"
    assert (stretch.apply(np.zeros((3, 1, 1), np.uint16)) == MID_TONE).all()


def test_nan_and_infinity_are_not_turned_into_extremes_of_their_own() -> None:
    stretch = fit("minmax", [0.0, 1.0], dtype="float32")
    values = np.array([[[np.nan, np.inf, -np.inf, 0.5]]], np.float32)
    assert stretch.apply(values).tolist() == [[[MID_TONE, 255, 0, 128]]]


def test_the_whole_range_of_doubles_does_not_overflow() -> None:
    top = np.finfo(np.float64).max
    stretch = fit("minmax", [-top, top], dtype="float64")
    assert stretch.apply(np.array([[[-top, 0.0, top]]])).tolist() == [[[0, 128, 255]]]
