import numpy as np
import pytest

from export import quantise
from export.quantise import ErrorLog, ProfileName, experts_scheme, make_profile, quantise_blocks, quantise_channels
from rsvlm_cli.errors import UsageError
from rsvlm_cli.runtime.int4 import BlockScheme, dequantise_rows, quantise_rows

WEIGHT = np.random.default_rng(0).standard_normal((100, 70)).astype(np.float32)


@pytest.mark.parametrize("bits", [4, 8])
def test_rows_in_portions_are_the_rows_quantised_at_once(monkeypatch, bits):
    monkeypatch.setattr(quantise, "ROWS_AT_ONCE", 32)
    scheme, log = BlockScheme(bits=bits, block=32), ErrorLog()
    rows, reference = quantise_blocks("w", WEIGHT, scheme, log), quantise_rows(WEIGHT, scheme)
    np.testing.assert_array_equal(rows.packed, reference.packed)
    np.testing.assert_array_equal(rows.scales, reference.scales)
    error = np.linalg.norm(dequantise_rows(reference) - WEIGHT) / np.linalg.norm(WEIGHT)
    assert log.errors[0].relative == pytest.approx(error, rel=1e-5)
    assert (log.errors[0].name, log.errors[0].scheme) == ("w", f"int{bits} b32")


def test_channels_are_off_by_half_a_step_at_most():
    weight = WEIGHT.reshape(10, 7, 10, 10) * np.arange(10, dtype=np.float32)[:, None, None, None]
    values, scales = quantise_channels("w", weight, ErrorLog())
    assert values.dtype == np.int8
    assert np.all(np.abs(values * scales[:, None, None, None] - weight) <= scales[:, None, None, None] * 0.5001)
    assert np.all(values[0] == 0)  # a channel of zeros stays one


@pytest.mark.parametrize(("block", "hidden", "fitting"), [(128, 896, 128), (128, 320, 64), (32, 64, 32), (32, 48, 16)])
def test_the_block_of_experts_divides_the_hidden_size(block, hidden, fitting):
    assert experts_scheme(BlockScheme(bits=4, block=block), hidden) == BlockScheme(bits=4, block=fitting)


def test_a_profile_narrows_the_experts_alone():
    profile = make_profile(ProfileName.INT4, block=128)
    assert profile.experts == BlockScheme(bits=4, block=128)
    assert profile.attention == profile.embedding == BlockScheme(bits=8, block=128)
    narrow = make_profile(ProfileName.INT4_DECODER, block=128)
    assert narrow.experts == narrow.attention == narrow.embedding == BlockScheme(bits=4, block=128)
    assert narrow.vision == profile.vision == BlockScheme(bits=8, block=128)
    assert make_profile(ProfileName.INT8, vision="dynamic").vision == "dynamic"
    assert make_profile(ProfileName.FP32, vision="dynamic").vision is None


def test_a_block_that_no_operator_takes_is_refused():
    with pytest.raises(UsageError, match="block 48, wanted 16, 32, 64 or 128"):
        make_profile(ProfileName.INT8, block=48)
