import numpy as np
import pytest
from PIL import Image

from rsvlm_cli.errors import InputError
from rsvlm_cli.runtime.bundle import ImageSpec
from rsvlm_cli.runtime.preprocess import dynamic_size, prepare

SPEC = ImageSpec(size=(48, 48), mean=(0.5, 0.4, 0.3), std=(0.5, 0.25, 0.2), tokens=1)


@pytest.mark.parametrize("shape", [(48, 48), (200, 31), (7, 500)])
def test_it_equals_pillow_and_the_formula_bit_for_bit(shape: tuple[int, int]) -> None:
    pixels = np.random.default_rng(0).integers(0, 256, (*shape, 3), np.uint8)
    resized = np.asarray(Image.fromarray(pixels).resize((48, 48), Image.Resampling.BICUBIC), np.float32)
    wanted = (resized / np.float32(255) - np.array(SPEC.mean, np.float32)) / np.array(SPEC.std, np.float32)
    given = prepare(pixels, SPEC)
    assert given.dtype == np.float32
    assert np.array_equal(given, wanted.transpose(2, 0, 1))


def test_channels_stay_red_green_blue() -> None:
    red = np.zeros((5, 5, 3), np.uint8)
    red[..., 0] = 255
    np.testing.assert_allclose(prepare(red, SPEC)[:, 0, 0], [1.0, -1.6, -1.5], rtol=1e-6)


@pytest.mark.parametrize(
    ("window", "bounds", "size"),
    [
        ((512, 512), (224, 1008), (504, 504)),
        ((4000, 4000), (224, 1008), (1008, 1008)),
        ((100, 100), (224, 1008), (224, 224)),
        ((4000, 1000), (224, 1008), (2016, 504)),
        ((1000, 30), (56, 1008), (1008, 28)),
    ],
)
def test_the_dynamic_law_is_qwen_s_smart_resize(window, bounds, size):
    # The reference's own results: 512 gives 504, and sides floored to 28 at the upper bound, ceiled at the lower one.
    assert dynamic_size(*window, bounds[0] ** 2, bounds[1] ** 2) == size


def test_a_strip_is_refused_by_the_dynamic_law():
    with pytest.raises(InputError, match="200 to 1"):
        dynamic_size(3000, 10, 224**2, 1008**2)
