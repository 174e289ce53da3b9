"""``python -m train RECIPE.toml --data DIR --out DIR``: run a recipe, or go on where it stopped."""

import argparse
import json
import logging
import time
from pathlib import Path

import torch

from model.checkpoint import save_checkpoint
from rsvlm_cli import __version__
from rsvlm_cli.tasks.dialect import NANO
from train.card import make_card
from train.config import Recipe
from train.data.corpus_text import corpus_texts
from train.data.mixture import Corpus
from train.loop import fold_scale, train
from train.tokenizer import TextCodec, train_tokenizer


def main() -> None:
    """Parse the command line, train, and write a checkpoint folder that `export` reads."""
    parser = argparse.ArgumentParser(prog="python -m train", description="Run a training recipe; resumes by itself.")
    parser.add_argument("recipe", type=Path)
    parser.add_argument("--data", type=Path, default=Path("runs/data"), help="folder of prepared sets")
    parser.add_argument("--out", type=Path, required=True, help="folder for checkpoints and the log")
    parser.add_argument("--minutes", type=float, help="stop cleanly after this time")
    parser.add_argument("--threads", type=int, default=torch.get_num_threads())
    parser.add_argument(
        "--compile", action="store_true", help="compile the model: half as fast again; needs a C++ compiler"
    )
    args = parser.parse_args()
    logging.basicConfig(level=logging.INFO, format="%(asctime)s %(message)s", datefmt="%H:%M:%S")
    torch.set_num_threads(args.threads)
    args.out.mkdir(parents=True, exist_ok=True)
    recipe = Recipe.from_toml(args.recipe)
    corpus = Corpus.load(args.data, recipe.weights, "train")
    tokenizer_file = args.out / "tokenizer.json"
    if not tokenizer_file.exists():
        texts = corpus_texts(corpus, NANO, recipe.seed)
        train_tokenizer(texts, recipe.decoder.vocab_size).save(str(tokenizer_file))
    until = time.time() + args.minutes * 60 if args.minutes else None
    run = train(recipe, corpus, NANO, TextCodec.load(tokenizer_file), args.out, until=until, compiled=args.compile)
    fold_scale(run.model, recipe.stages[run.stage].image_scale)
    save_checkpoint(run.model, args.out)
    card = json.dumps(make_card(recipe, corpus, __version__), indent=1, ensure_ascii=False)
    (args.out / "card.json").write_text(card + "\n", encoding="utf-8")
    (args.out / "dialect.json").write_text(
        json.dumps(NANO.to_json(), indent=1, ensure_ascii=False) + "\n", encoding="utf-8"
    )


if __name__ == "__main__":
    main()
