"""A recipe that trains in a second, and the set and tokenizer for it."""

from pathlib import Path

from model.config import DecoderConfig, LabelSets, VisionConfig
from rsvlm_cli.tasks.dialect import NANO
from tests.train.tiny_sets import make_tiny_set
from train.config import Recipe, Stage
from train.data.corpus_text import corpus_texts
from train.data.mixture import Corpus
from train.data.shares import Mix
from train.tokenizer import TextCodec, train_tokenizer

TINY = Recipe(
    name="tiny",
    seed=1,
    # No stem: batch norms see what one process computes at a time.
    vision=VisionConfig(image_size=48, patch_size=4, hidden_size=16, intermediate_size=24, layers=1, heads=2),
    decoder=DecoderConfig(vocab_size=420, hidden_size=16, intermediate_size=24, layers=1, heads=2, kv_heads=1),
    labels=LabelSets(scenes=("farmland", "industrial"), objects=("building", "ship"), masks=("building",)),
    mix=Mix(weights={"tiny": 1.0}),
    turn_weights={},
    precision="fp32",
    stages=(
        Stage(name="tower", kind="tower", steps=1, batch=4, lr=1e-3, warmup=1),
        Stage(name="dense", kind="instruct", steps=2, batch=4, lr=1e-3, tower_lr=1e-4, warmup=1, dense=True),
        Stage(name="experts", kind="instruct", steps=2, batch=4, lr=1e-3, tower_lr=1e-4, warmup=1),
    ),
)


def tiny_corpus(root: Path) -> Corpus:
    """Make the set below a folder and load it."""
    make_tiny_set(root / "tiny")
    return Corpus.load(root, ["tiny"], "train")


def tiny_codec(corpus: Corpus) -> TextCodec:
    """Learn a tokenizer from the set."""
    return TextCodec(train_tokenizer(corpus_texts(corpus, NANO, 0), TINY.decoder.vocab_size))
