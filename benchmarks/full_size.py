"""The released model's true size on this machine: import, verify and four tasks, each with its time and peak memory.

``python -m benchmarks.full_size`` writes a checkpoint of 1 656 807 712 random weights in the released RSUniVLM layout
(3.3 GB, under ``--folder``, deleted afterwards), imports it with the tool and asks it. The replies are noise; sizes,
times, memory, prompts and the masks' grid are those of the real weights. Every step is a new process; its peak is what
the kernel counted (`os.wait4`), pages of mapped files included.

Exit 1 if a step fails or a limit is passed: 5 GB for the import, 2.5 GB for everything after it.
"""

import argparse
import json
import os
import sys
import tempfile
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path

import numpy as np
import rasterio
from rasterio.transform import from_origin
from tokenizers import AddedToken, Regex, Tokenizer, decoders, models, normalizers, pre_tokenizers

from benchmarks.process import Step, run
from export.text import QWEN2_WORDS
from model.config import ModelConfig
from model.weights import RSUNIVLM, expected_shapes
from rsvlm_cli.runtime.bundle import find_bundle, read_bundle
from rsvlm_cli.runtime.engine import Engine
from rsvlm_cli.tasks.dialect import Dialect, PromptKind

NAME = "full-size"
N_WEIGHTS = 1_656_807_712
IMPORT_LIMIT_GB, ASK_LIMIT_GB = 5.0, 2.5

CONFIG: dict[str, object] = {
    "architectures": ["LlavaQwenGMoeForCausalLM"],
    "model_type": "llava_qwen_gmoe",
    "bos_token_id": 151643,
    "eos_token_id": 151645,
    "hidden_act": "silu",
    "hidden_size": 896,
    "image_aspect_ratio": "square",
    "intermediate_size": 4864,
    "max_position_embeddings": 32768,
    "mm_hidden_size": 1152,
    "mm_patch_merge_type": "spatial_unpad",
    "mm_projector_type": "mlp2x_gelu",
    "mm_vision_tower": "google/siglip-so400m-patch14-384",
    "num_attention_heads": 14,
    "num_hidden_layers": 24,
    "num_key_value_heads": 2,
    "rms_norm_eps": 1e-6,
    "rope_theta": 1e6,
    "tie_word_embeddings": False,
    "tokenizer_model_max_length": 32768,
    "use_sliding_window": False,
    "vocab_size": 151647,
}
GENERATION = {"do_sample": True, "eos_token_id": [151645, 151643], "repetition_penalty": 1.1, "temperature": 0.7}

SPECIAL = {151643: "<|endoftext|>", 151644: "<|im_start|>", 151645: "<|im_end|>", 151646: "<image>"}
WORDS = {
    **{2610: "You", 525: "Ġare", 264: "Ġa", 10950: "Ġhelpful", 17847: "Ġassistant"},
    **{8948: "system", 872: "user", 77091: "assistant", 3015: "water", 42069: "others"},
}
"""Tokens at Qwen2's own numbers; all others of the vocabulary are stand-ins, and text is cut into bytes."""

PROMPT_IDS = [
    *[151644, 8948, 198, 2610, 525, 264, 10950, 17847, 13, 151645, 198],
    *[151644, 872, 198],
]
"""What stands before the first image. Source: the released model's tokenizer, as its demo's prompt is written."""

SYSTEM = "<|im_start|>system\nYou are a helpful assistant.<|im_end|>\n<|im_start|>user\n"
ANSWER = "<|im_end|>\n<|im_start|>assistant\n"
PROMPTS = {
    PromptKind.GROUND: (1, {"phrase": "windwill"}, f"{SYSTEM}<image>\n[VG] Where is the windwill?{ANSWER}"),
    PromptKind.ASK: (
        1,
        {"question": "How many basketball courts?"},
        f"{SYSTEM}<image>\n[VQA] How many basketball courts?{ANSWER}",
    ),
    PromptKind.SEGMENT: (1, {"label": "water"}, f"{SYSTEM}<image>\n[SEG] water.{ANSWER}"),
    PromptKind.DETECT_CHANGE: (
        2,
        {"label": "building"},
        f"{SYSTEM}<image> <image>\n"
        f"[SEG] Please segment the building area that have changed in the second image.{ANSWER}",
    ),
}
"""Source: the examples of the released demo, byte for byte."""


def make_tokenizer() -> Tokenizer:
    """Make a tokenizer of the released size whose template tokens have the released numbers."""
    printable = [*range(0x21, 0x7F), *range(0xA1, 0xAD), *range(0xAE, 0x100)]
    others = [byte for byte in range(256) if byte not in printable]
    alphabet = [*map(chr, printable), *(chr(256 + k) for k in range(len(others)))]
    tokens = alphabet + [f"Ġw{number}" for number in range(256, min(SPECIAL))]
    for number, word in WORDS.items():
        tokens[number] = word
    vocab = {token: number for number, token in enumerate(tokens)}
    tokenizer = Tokenizer(models.BPE(vocab=vocab, merges=[], ignore_merges=True))
    tokenizer.normalizer = normalizers.NFC()
    tokenizer.pre_tokenizer = pre_tokenizers.Sequence(
        [
            pre_tokenizers.Split(Regex(QWEN2_WORDS), "isolated"),
            pre_tokenizers.ByteLevel(add_prefix_space=False, use_regex=False),
        ]
    )
    tokenizer.decoder = decoders.ByteLevel()
    tokenizer.add_special_tokens([AddedToken(text, special=True) for _, text in sorted(SPECIAL.items())])
    return tokenizer


def write_checkpoint(folder: Path, config: dict[str, object]) -> int:
    """Write a checkpoint of random float16 weights, tensor by tensor, and return how many weights it has."""
    folder.mkdir(parents=True)
    make_tokenizer().save(str(folder / "tokenizer.json"), pretty=False)
    (folder / "config.json").write_text(json.dumps(config, indent=2))
    (folder / "generation_config.json").write_text(json.dumps(GENERATION))
    sizes = ModelConfig.from_released(config)
    names = RSUNIVLM.stored_names(sizes)
    shapes = {names[name]: shape for name, shape in expected_shapes(sizes).items()}
    shapes |= {f"{RSUNIVLM.tower}post_layernorm.{part}": (sizes.vision.hidden_size,) for part in ("weight", "bias")}
    rng = np.random.default_rng(0)
    return write_tensors(folder, shapes, lambda name: draw_weight(rng, name, shapes[name]))


def write_tensors(folder: Path, shapes: Mapping[str, tuple[int, ...]], read: Callable[[str], np.ndarray]) -> int:
    """Write ``model.safetensors`` of float16, one tensor in memory at a time, and return how many weights it has."""
    head, end = {}, 0
    for name, shape in shapes.items():
        start, end = end, end + 2 * int(np.prod(shape))
        head[name] = {"dtype": "F16", "shape": list(shape), "data_offsets": [start, end]}
    text = json.dumps(head | {"__metadata__": {"format": "pt"}}).encode()
    text += b" " * (-len(text) % 8)
    with (folder / "model.safetensors").open("wb") as file:
        file.write(len(text).to_bytes(8, "little") + text)
        for name in shapes:
            read(name).astype(np.float16, copy=False).tofile(file)
    return end // 2


def draw_weight(rng: np.random.Generator, name: str, shape: tuple[int, ...]) -> np.ndarray:
    """Draw a weight that keeps activations near one; norms are ones."""
    if len(shape) == 1:
        return np.full(shape, "norm" in name and name.endswith("weight"), np.float16)
    values = rng.standard_normal(shape, np.float32)
    values *= 0.02 if "embed_tokens" in name else float(np.prod(shape[1:])) ** -0.5
    return values.astype(np.float16)


def write_rasters(folder: Path) -> None:
    """Write two dates of one made place, 384 pixels a side."""
    rng = np.random.default_rng(0)
    for name in ("before.tif", "after.tif"):
        pixels = np.kron(rng.integers(0, 256, (3, 24, 24)), np.ones((1, 16, 16))).astype(np.uint8)
        place = {"crs": "EPSG:32633", "transform": from_origin(500_000, 5_000_000, 0.5, 0.5)}
        with rasterio.open(
            folder / name, "w", driver="GTiff", count=3, width=384, height=384, dtype="uint8", **place
        ) as target:
            target.write(pixels)


def check_prompts(bundle: Path) -> str:
    """Compare prompts with the released demo's bytes and its template's token numbers.

    Raises:
        SystemExit: at the first that differs.
    """
    engine = Engine(read_bundle(bundle), device="cpu", threads=1)
    dialect = Dialect.from_json(dict(engine.manifest.dialect))
    for kind, (n_images, fields, wanted) in PROMPTS.items():
        prompt = dialect.prompt(kind, n_images=n_images, **fields)
        if prompt != wanted:
            raise SystemExit(f"{kind}: prompt {prompt!r}, wanted {wanted!r}")
        first, *rest = prompt.split("<image>")
        ids = engine.tokenizer.encode(first)
        if ids != PROMPT_IDS or "".join([first, *rest]).encode() != engine_bytes(engine, [first, *rest]):
            raise SystemExit(f"{kind}: tokens {ids}, wanted {PROMPT_IDS}")
    return f"{len(PROMPTS)} prompts are the released demo's, byte for byte, template tokens included"


def engine_bytes(engine: Engine, parts: Sequence[str]) -> bytes:
    """Return the bytes that the tokens of some texts stand for, special tokens by their names."""
    out = b""
    for part in parts:
        for token in engine.tokenizer.encode(part):
            out += SPECIAL[token].encode() if token in SPECIAL else engine.tokenizer.vocabulary[token]
    return out


def measure(folder: Path, profile: Sequence[str], threads: int) -> tuple[list[Step], str]:
    """Make, import and ask; returns every step and what was found of prompts and grid."""
    n_weights = write_checkpoint(folder / "checkpoint", CONFIG)
    if n_weights != N_WEIGHTS:
        raise SystemExit(f"{n_weights} weights, the released model has {N_WEIGHTS}")
    work = folder / "work"
    work.mkdir()
    write_rasters(work)
    root = Path(__file__).resolve().parent.parent
    env = {**os.environ, "RSVLM_HOME": str(folder / "home"), "PYTHONPATH": str(root), "NO_COLOR": "1"}
    env |= {"RSVLM_MODEL": NAME, "RSVLM_THREADS": str(threads)}
    rsvlm = [sys.executable, "-m", "rsvlm_cli"]
    source = str(folder / "checkpoint")
    steps = []
    for name, arguments in (
        ("import", ["models", "import", source, "--name", NAME, "--accept-licence", *profile]),
        ("verify", ["models", "verify", NAME]),
        ("ask", ["ask", "after.tif", "How many basketball courts?", "--json", "--max-tokens", "32"]),
        ("ground", ["ground", "after.tif", "-p", "windwill", "--json", "--max-tokens", "64"]),
        ("segment", ["segment", "after.tif", "--label", "water", "--out", "mask.tif"]),
        ("detect-change", ["detect-change", "before.tif", "after.tif", "--label", "building", "--out", "change.tif"]),
    ):
        steps.append(run(name, [*rsvlm, *arguments], env, work))
        print(line(steps[-1]), flush=True)
        # Noise need not stop by itself: a reply that spent its budget is whole enough to be measured.
        if steps[-1].code not in (0, 5):
            raise SystemExit(f"{name}: exit {steps[-1].code}: {steps[-1].stderr.strip()[-300:]}")
        if name == "import":
            for path in (folder / "checkpoint").glob("*.safetensors"):
                path.unlink()
    grids = []
    for name in ("mask.tif", "change.tif"):
        with rasterio.open(work / name) as mask:
            grids.append(f"{name} {mask.width} x {mask.height}")
            if mask.shape != (24, 24):
                raise SystemExit(f"{grids[-1]}, wanted 24 x 24")
    os.environ["RSVLM_HOME"] = str(folder / "home")
    return steps, f"{check_prompts(find_bundle(NAME))}; {', '.join(grids)}"


def line(step: Step) -> str:
    """Return a row of the table."""
    return f"| {step.name} | {step.seconds:.1f} | {step.peak_gb:.2f} | {limit(step):.1f} | {step.code} |"


def limit(step: Step) -> float:
    """Return the memory a step may take, 10^9 bytes."""
    return IMPORT_LIMIT_GB if step.name == "import" else ASK_LIMIT_GB


def main() -> int:
    """Measure, print and clean up; returns the exit code."""
    parser = argparse.ArgumentParser(prog="python -m benchmarks.full_size", description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--folder", type=Path, help="where 8 GB are free (default: the system's temporary folder)")
    parser.add_argument("--profile", default="int4", choices=["int4", "int4-decoder", "int8"])
    parser.add_argument("--block", default="32", choices=["32", "128"])
    parser.add_argument("--vision", default="blocks", choices=["blocks", "tokens", "dynamic"])
    parser.add_argument("--threads", type=int, default=2)
    options = parser.parse_args()
    profile = ["--profile", options.profile, "--block", options.block, "--vision", options.vision]
    print("| step | s | peak GB | at most | exit |\n|---|---|---|---|---|")
    with tempfile.TemporaryDirectory(prefix="full-size.", dir=options.folder) as folder:
        steps, found = measure(Path(folder), profile, options.threads)
    print(f"\n{' '.join(profile)}, {options.threads} threads; {found}")
    return 0 if all(step.peak_gb < limit(step) for step in steps) else 1


if __name__ == "__main__":
    sys.exit(main())
