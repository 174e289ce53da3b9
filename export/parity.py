"""Does a bundle answer as the network does? ``python -m export.parity CHECKPOINT [--expected expected.json]``.

The same pictures and prompts go through the torch network and through the graphs of every profile, run by the product's
own decoder and embedding. One row for each case, granularity and runtime: the largest difference of the logits after
the prompt, that difference over the largest reference logit, and how many greedy tokens agree.

The reference is the answers in ``expected.json`` (what the authors' own class gave; `read_expected` says its form), and
without that file the torch network itself, on random pictures and prompts. Exit 1 if a float32 runtime is off by more
than `TOLERANCE` or by one token; quantised profiles are reported, not judged. Weights and ``config.json`` are all that
a folder must hold: neither tokenizer nor generation settings are asked for.
"""

import argparse
import json
import sys
import tempfile
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from itertools import count
from pathlib import Path

import numpy as np
import torch
from PIL import Image

from export.checkpoint import EMBEDDING, Checkpoint, open_checkpoint
from export.pack import Card, build_manifest, write_graphs
from export.quantise import Profile, ProfileName, make_profile
from model.vlm import IMAGE_SLOT, VLM
from model.weights import HEAD, expected_shapes
from rsvlm_cli.errors import InputError, RsvlmError, UsageError
from rsvlm_cli.runtime.bundle import DECODER, VISION, Bundle, ImageSpec
from rsvlm_cli.runtime.decoder import Decoder
from rsvlm_cli.runtime.embedding import TokenEmbedding
from rsvlm_cli.runtime.preprocess import prepare
from rsvlm_cli.runtime.sessions import count_cores, open_graph
from rsvlm_cli.tasks.dialect import RSUNIVLM

TOLERANCE = 1e-3
N_GREEDY = 16
PARITY_CARD = Card(name="parity", family="parity", version="0", licence="none", stop_tokens=("none",))


@dataclass(frozen=True, slots=True)
class Reply:
    """Logits after the prompt, ``(n,)``, of the first n tokens of the vocabulary, and the greedy tokens that follow."""

    logits: np.ndarray
    greedy: list[int]


@dataclass(frozen=True, slots=True, kw_only=True)
class Case:
    """One prompt.

    Attributes:
        name: for the table.
        pixels: pictures, ``(N, 3, S, S)`` float32, prepared.
        ids: prompt token ids, `IMAGE_SLOT` for each picture.
        replies: the expected reply of each expert; empty where torch is the reference.
    """

    name: str
    pixels: np.ndarray
    ids: list[int]
    replies: dict[int, Reply]

    @property
    def n_greedy(self) -> int:
        """Tokens to decode: as many as were recorded."""
        return max((len(reply.greedy) for reply in self.replies.values()), default=N_GREEDY)


Answer = Callable[[Case, int], Reply]
"""A runtime: from a case and an expert to its reply."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Row:
    """One line of the table."""

    case: str
    expert: int
    runtime: str
    absolute: float
    relative: float
    n_agree: int
    n_tokens: int

    @property
    def equal(self) -> bool:
        """Whether the runtime may be called the same."""
        return self.relative <= TOLERANCE and self.n_agree == self.n_tokens


def read_expected(path: Path, image: ImageSpec) -> list[Case]:
    """Read recorded answers.

    Args:
        path: ``{"cases": [{"images": [file beside it], "input_ids": [...], "granularity": {"0": {"last_logits": [...],
            "greedy": [...]}}}]}``.
        image: how pictures are prepared.

    Raises:
        InputError: if the file cannot be read or is not of that form.
    """
    try:
        cases = []
        for number, data in enumerate(json.loads(path.read_text(encoding="utf-8"))["cases"]):
            pictures = [np.asarray(Image.open(path.parent / name).convert("RGB")) for name in data["images"]]
            answers = data["granularity"].items()
            replies = {int(e): Reply(np.array(a["last_logits"], np.float32), list(a["greedy"])) for e, a in answers}
            pixels = np.zeros((len(pictures), 3, *image.size), np.float32)
            for row, picture in zip(pixels, pictures, strict=True):
                row[:] = prepare(picture, image)
            cases.append(Case(name=str(number), pixels=pixels, ids=list(data["input_ids"]), replies=replies))
    except (OSError, ValueError, KeyError, TypeError) as error:
        raise InputError(f"{path}: no recorded answers: {error} (export.parity.read_expected says the form)") from error
    return cases


def random_cases(vocab: int, image: ImageSpec, seed: int = 0) -> list[Case]:
    """Make three prompts of one picture and one of two pictures of different sizes, all of them noise."""
    rng = np.random.default_rng(seed)
    cases = []
    for number, sizes in enumerate([[(97, 131)], [(300, 300)], [(64, 512)], [(200, 120), (333, 250)]]):
        pictures = [rng.integers(0, 256, (*size, 3), dtype=np.uint8) for size in sizes]
        head, tail = rng.integers(0, vocab, 5).tolist(), rng.integers(0, vocab, 12).tolist()
        pixels = np.stack([prepare(picture, image) for picture in pictures])
        cases.append(Case(name=str(number), pixels=pixels, ids=[*head, *[IMAGE_SLOT] * len(sizes), *tail], replies={}))
    return cases


def torch_runtime(checkpoint: Checkpoint) -> Answer:
    """Return the network in float32."""
    with torch.device("meta"):
        model = VLM(checkpoint.config).eval()
    state = {name: _tensor(checkpoint.read(name)) for name in expected_shapes(checkpoint.config)}
    state.setdefault(HEAD, state[EMBEDDING])
    model.load_state_dict(state, assign=True)

    def answer(case: Case, expert: int) -> Reply:
        pixels = torch.from_numpy(case.pixels)
        greedy, logits = model.generate_greedy(torch.tensor(case.ids), pixels, expert, case.n_greedy)
        return Reply(logits.numpy(), greedy)

    return answer


def _tensor(array: np.ndarray) -> torch.Tensor:
    return torch.from_numpy(array if array.dtype == np.int64 else array.astype(np.float32))


@contextmanager
def graph_runtime(checkpoint: Checkpoint, profile: Profile, max_context: int) -> Iterator[Answer]:
    """Write the graphs of a profile into a temporary folder and run them as the product does."""
    with tempfile.TemporaryDirectory(prefix="parity.") as name:
        folder = Path(name)
        layout, _ = write_graphs(checkpoint, folder, profile, max_context)
        manifest = build_manifest(checkpoint, PARITY_CARD, RSUNIVLM, profile, layout)
        bundle = Bundle(path=folder, manifest=manifest, sha256="")
        embedding = TokenEmbedding(bundle)
        vision = open_graph(bundle, VISION, "cpu", count_cores())
        session = open_graph(bundle, DECODER, "cpu", count_cores())
        decoder = Decoder(session, manifest.decoder, max_context, "cpu")

        def answer(case: Case, expert: int) -> Reply:
            feeds = {"pixel_values": case.pixels}
            features = iter(vision.run(["image_features"], feeds)[0] if len(case.pixels) else ())
            parts = [next(features) if i == IMAGE_SLOT else embedding.rows(np.array([i])) for i in case.ids]
            vectors, keys = np.concatenate(parts), count()
            decoder.roll_back(0)
            decoder.keep_prefix([], expert, 0)
            logits = first = decoder.feed([next(keys) for _ in vectors], vectors)[-1]
            greedy = [int(logits.argmax())]
            while len(greedy) < case.n_greedy:
                logits = decoder.feed([next(keys)], embedding.rows(np.array(greedy[-1:])))[-1]
                greedy.append(int(logits.argmax()))
            return Reply(first, greedy)

        yield answer


def compare(case: Case, expert: int, runtime: str, reply: Reply, reference: Reply) -> Row:
    """Compare a reply with its reference, as far as the reference goes."""
    difference = float(np.abs(reply.logits[: len(reference.logits)] - reference.logits).max())
    return Row(
        case=case.name,
        expert=expert,
        runtime=runtime,
        absolute=difference,
        relative=difference / float(np.abs(reference.logits).max()),
        n_agree=sum(a == b for a, b in zip(reply.greedy, reference.greedy, strict=False)),
        n_tokens=len(reference.greedy),
    )


def check_parity(folder: Path, expected: Path | None = None, *, block: int = 32) -> tuple[list[Row], list[str]]:
    """Compare every runtime of a checkpoint with its reference.

    Args:
        folder: a checkpoint of either layout.
        expected: recorded answers, or None.
        block: of the quantised profiles.

    Returns:
        The rows, runtime by runtime for each granularity of each case, and a line for each profile that this model
        cannot have.

    Raises:
        RsvlmError: if the checkpoint or the recorded answers cannot be read.
    """
    checkpoint = open_checkpoint(folder)
    side, n_experts = checkpoint.config.vision.image_size, checkpoint.config.decoder.experts
    image = ImageSpec(
        size=(side, side), mean=PARITY_CARD.mean, std=PARITY_CARD.std, tokens=checkpoint.config.image_tokens
    )
    cases = read_expected(expected, image) if expected else random_cases(checkpoint.config.decoder.vocab_size, image)
    max_context = max(len(case.ids) + len(case.pixels) * image.tokens + case.n_greedy for case in cases)
    network, rows, notes = torch_runtime(checkpoint), [], [*checkpoint.notes]
    references: dict[tuple[str, int], Reply] = {}
    for case in cases:
        for expert in case.replies or range(n_experts):
            reply = network(case, expert)
            references[case.name, expert] = case.replies.get(expert, reply)
            if case.replies:
                rows.append(compare(case, expert, "torch fp32", reply, references[case.name, expert]))
    for name in ProfileName:
        try:
            with graph_runtime(checkpoint, make_profile(name, block=block), max_context) as answer:
                for case in cases:
                    for expert in case.replies or range(n_experts):
                        reply = answer(case, expert)
                        rows.append(compare(case, expert, f"onnx {name}", reply, references[case.name, expert]))
        except UsageError as error:
            notes.append(f"onnx {name}: {error}")
    rows.sort(key=lambda row: (int(row.case), row.expert))
    return rows, notes


def main(arguments: Sequence[str] | None = None) -> int:
    """Print the table and return the exit code."""
    parser = argparse.ArgumentParser(prog="python -m export.parity", description="compare a bundle's graphs with torch")
    parser.add_argument("checkpoint", type=Path, help="checkpoint folder, ours or the released RSUniVLM layout")
    parser.add_argument("--expected", type=Path, help="recorded answers; without them torch is the reference")
    parser.add_argument("--block", type=int, default=32, help="block of the quantised profiles (default 32)")
    options = parser.parse_args(arguments)
    try:
        rows, notes = check_parity(options.checkpoint, options.expected, block=options.block)
    except RsvlmError as error:
        sys.stderr.write(f"error: {error}\n")
        return error.exit_code
    sys.stdout.write("case  granularity  runtime            largest difference  relative  greedy tokens\n")
    for row in rows:
        verdict = "" if "fp32" not in row.runtime else "  same" if row.equal else "  DIFFERS"
        sys.stdout.write(
            f"{row.case:<5} {row.expert:<12} {row.runtime:<18} {row.absolute:<19.2e} {row.relative:<9.2e} "
            f"{row.n_agree}/{row.n_tokens}{verdict}\n"
        )
    sys.stdout.writelines(f"{note}\n" for note in notes)
    return 0 if all(row.equal for row in rows if "fp32" in row.runtime) else 1


if __name__ == "__main__":
    sys.exit(main())
