"""Small matrices beside frozen weights: what is learnt, what is kept, and what they come to in the end."""

from dataclasses import replace
from pathlib import Path

import pytest
import torch

from model.checkpoint import load_checkpoint, save_checkpoint
from model.vlm import VLM
from rsvlm_cli.errors import UsageError
from tests.train.recipes import TINY, tiny_codec, tiny_corpus
from train.adapters import add_adapter, merge_adapter, trained_state
from train.command import load_start
from train.config import Adapter
from train.data.mixture import Corpus
from train.loop import Session, train
from train.tokenizer import TextCodec

pytest.importorskip("peft")
pytestmark = pytest.mark.filterwarnings("ignore")  # of libraries that these import

ADAPTER = Adapter(rank=2, alpha=8, targets=r"decoder\.layers\..+_proj")
# Rows of whole blocks of 64: others are not held in 4 bits.
RECIPE = replace(TINY, decoder=replace(TINY.decoder, hidden_size=64, intermediate_size=128))


@pytest.fixture(scope="module")
def corpus(tmp_path_factory: pytest.TempPathFactory) -> Corpus:
    return tiny_corpus(tmp_path_factory.mktemp("sets"))


@pytest.fixture(scope="module")
def codec(corpus: Corpus) -> TextCodec:
    return tiny_codec(corpus)


def fresh() -> VLM:
    torch.manual_seed(3)
    return VLM(RECIPE.model)


def logits(model: VLM) -> torch.Tensor:
    torch.manual_seed(0)
    ids = torch.tensor([[1, *[-200] * model.config.image_tokens, 5, 6]])
    with torch.no_grad():
        # In training mode, as a run has it: in the other one bitsandbytes repacks weights, in multiples of 32 rows.
        return model.train()(ids, torch.randn(1, 3, 48, 48), torch.tensor([1]))


def rounded(narrow: VLM) -> VLM:
    """Return the fresh model with the weights that the 4 bits of another stand for."""
    from bitsandbytes.functional import dequantize_4bit

    plain = fresh()
    for name, part in narrow.named_modules():
        if hasattr(part, "base_layer"):
            weight, held = plain.get_parameter(f"{name}.weight"), part.base_layer.weight
            assert held.dtype == torch.uint8
            whole = dequantize_4bit(held.data, held.quant_state)
            assert 0.05 < float((whole - weight).norm() / weight.norm()) < 0.12  # NF4 of normal values: 0.09
            weight.data.copy_(whole)
    return plain


@pytest.mark.parametrize("four_bit", [False, True])
def test_an_adapter_changes_nothing_at_first_and_its_merger_says_what_it_learnt(
    four_bit: bool, corpus: Corpus, codec: TextCodec, tmp_path: Path
) -> None:
    if four_bit:
        pytest.importorskip("bitsandbytes")
    adapter = replace(ADAPTER, four_bit=four_bit)
    start = fresh()
    add_adapter(start, adapter, seed=1)
    alone = rounded(start) if four_bit else fresh()
    error = float((logits(start) - logits(alone)).norm() / logits(alone).norm())
    assert error < (0.02 if four_bit else 1e-6)  # linears in 4 bits compute in bf16
    trained = {name for name, p in start.named_parameters() if p.requires_grad}
    assert {name for name in trained if ".lora_" not in name} == {
        f"heads.{name}" for name, _ in start.heads.named_parameters()
    }
    stage = replace(TINY.stages[2], steps=2, lr=0.05, warmup=1)
    recipe = replace(RECIPE, stages=(stage,), adapter=adapter)
    run = train(recipe, corpus, codec, tmp_path, start=fresh(), session=Session(quiet=True))
    learnt = trained_state(run.model, adapter)
    assert learnt.keys() == torch.load(tmp_path / "last.pt", weights_only=True)["model"].keys()
    merged = fresh()
    merge_adapter(learnt, adapter, merged)
    assert (logits(merged) - logits(fresh())).abs().max() > 1e-3
    if not four_bit:
        torch.testing.assert_close(logits(merged), logits(run.model), atol=1e-5, rtol=1e-4)
    still = "vision.layers.0.attention.q_proj.weight"
    assert torch.equal(merged.get_parameter(still), fresh().get_parameter(still))
    # Heads answer for the words they know: corrections must reach them.
    for head in ("heads.centres.weight", "heads.boxes.weight", "heads.scene.weight"):
        assert torch.equal(merged.get_parameter(head), run.model.get_parameter(head))
        assert not torch.equal(merged.get_parameter(head), fresh().get_parameter(head))


def test_a_run_with_an_adapter_resumes_to_the_identical_weights(
    corpus: Corpus, codec: TextCodec, tmp_path: Path
) -> None:
    stage = replace(TINY.stages[2], steps=3, lr=0.05)
    recipe = replace(RECIPE, stages=(stage,), adapter=replace(ADAPTER, dropout=0.2))
    states = []
    for name, clocks in (("whole", (None,)), ("pieces", (1.0, 1.0, None))):
        (tmp_path / name).mkdir()
        for until in clocks:
            session = Session(quiet=True, until=until)
            run = train(recipe, corpus, codec, tmp_path / name, start=fresh(), session=session)
        states.append(trained_state(run.model, recipe.adapter))
    assert all(torch.equal(states[0][name], tensor) for name, tensor in states[1].items())


def test_what_an_adapter_cannot_stand_beside_is_one_line(tmp_path: Path) -> None:
    with pytest.raises(UsageError, match=r"no linear of the model is called 'wings'"):
        add_adapter(fresh(), Adapter(targets="wings"), seed=1)
    with pytest.raises(UsageError, match="name a checkpoint folder with --start"):
        load_start(None, replace(RECIPE, adapter=ADAPTER))
    save_checkpoint(fresh(), tmp_path)
    assert load_checkpoint(tmp_path).config == RECIPE.model
    other = replace(RECIPE, decoder=replace(RECIPE.decoder, layers=2))
    with pytest.raises(UsageError, match=r"its sizes .* are not the recipe's"):
        load_start(tmp_path, other)
