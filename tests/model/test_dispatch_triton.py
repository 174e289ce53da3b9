"""The Triton kernels against numpy: on a GPU where one is at hand, else in Triton's interpreter, else not at all."""

import importlib.util
import os

import numpy as np
import pytest
import torch

from rsvlm_cli.runtime.dispatch import pack_experts, run_experts
from rsvlm_cli.runtime.int4 import BlockScheme
from tests.dispatch_graphs import random_experts

if importlib.util.find_spec("triton") is None:
    pytest.skip("no Triton", allow_module_level=True)
DEVICE = "cuda" if torch.cuda.is_available() else "cpu"
if DEVICE == "cpu":
    os.environ["TRITON_INTERPRET"] = "1"

from model.dispatch_triton import run_triton, sort_into_tiles  # noqa: E402, Triton reads the variable at its import


@pytest.mark.gpu
@pytest.mark.parametrize("scheme", [BlockScheme(bits=4, block=32), BlockScheme(bits=8, block=64)], ids=str)
@pytest.mark.parametrize(("n_sequences", "n_tokens", "expert"), [(1, 1, [2]), (5, 1, [3, 0, 0, 3, 1]), (2, 21, [1, 3])])
def test_the_kernels_compute_the_contract_without_rounding(scheme, n_sequences, n_tokens, expert):
    rng = np.random.default_rng(0)
    weights = pack_experts(*random_experts(rng, 4, 128, 192), scheme)
    x = rng.standard_normal((n_sequences, n_tokens, 128)).astype(np.float32)
    reference = run_experts(x, np.array(expert), weights, rounded=False)
    gate_up, down = (
        tuple(torch.from_numpy(part).to(DEVICE) for part in pair)
        for pair in ((weights.gate_up, weights.gate_up_scales), (weights.down, weights.down_scales))
    )
    y = run_triton(torch.from_numpy(x).to(DEVICE), torch.tensor(expert, device=DEVICE), gate_up, down, scheme.bits)
    np.testing.assert_allclose(y.cpu().numpy(), reference, atol=1e-5 * np.abs(reference).max())


def test_a_tile_holds_tokens_of_one_expert():
    expert = torch.tensor([2, 0, 2, 2, 0, 2, 2])
    places, of_tile = sort_into_tiles(expert, 4)
    assert places.tolist() == [1, 4, -1, -1, 0, 2, 3, 5, 6, -1, -1, -1]
    assert of_tile.tolist() == [0, 2, 2]
