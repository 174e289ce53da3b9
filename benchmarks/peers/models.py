"""Makes what the contenders open: one random model in each one's form, every form from the same weights.

Each is made once, under a name that it gets when it is whole, and kept; never more than one large tensor is in memory,
but where a peer's own builder wants its model whole.
"""

import json
import os
import shutil
import subprocess
import sys
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import numpy as np

from benchmarks.full_size import CONFIG, make_tokenizer, write_checkpoint, write_tensors
from benchmarks.peers.ours import EXPERT
from export.builder import ExternalData, GraphBuilder
from export.checkpoint import Checkpoint, open_checkpoint
from export.graph import write_vision
from export.layers import LayerWriter
from export.quantise import ErrorLog, VisionScheme
from model.weights import HEAD, Layout, expected_shapes

CHECKPOINT = "checkpoint"
EXPERT_LAYOUT = Layout(language="model.", head="lm_head.weight")
TOWER_LAYOUT = Layout(tower="vision_model.")
PROJECTOR_LAYOUT = Layout(projector=("0.", "2."))
GGUF_NAMES = {
    "input_layernorm": "attn_norm",
    "post_attention_layernorm": "ffn_norm",
    "attention.q_proj": "attn_q",
    "attention.k_proj": "attn_k",
    "attention.v_proj": "attn_v",
    "attention.o_proj": "attn_output",
    f"experts.{EXPERT}.gate_proj": "ffn_gate",
    f"experts.{EXPERT}.up_proj": "ffn_up",
    f"experts.{EXPERT}.down_proj": "ffn_down",
}


def released_config(layers: int | None) -> dict[str, object]:
    """Return the released configuration, or one of so many layers in the decoder and in the tower."""
    if layers is None:
        return CONFIG
    return CONFIG | {"num_hidden_layers": layers, "vision_config": {"num_hidden_layers": layers + 1}}


def make_model(folder: Path, name: str, config: Mapping[str, object]) -> None:
    """Make a model unless it is there, and the checkpoint that it is made of.

    Args:
        folder: of the made models.
        name: a key of `MAKERS`.
        config: of the checkpoint; the one that lies in the folder must have the same.

    Raises:
        SystemExit: if the folder holds models of other sizes, or a peer's builder fails.
    """
    if name != CHECKPOINT:
        make_model(folder, CHECKPOINT, config)
    if not (folder / name).exists():
        print(f"making {folder / name}", file=sys.stderr, flush=True)
        unfinished = folder / f".{name}"
        shutil.rmtree(unfinished, ignore_errors=True)
        if name == CHECKPOINT:
            write_checkpoint(unfinished, dict(config))
        else:
            MAKERS[name](open_checkpoint(folder / CHECKPOINT), unfinished)
        unfinished.rename(folder / name)
    elif name == CHECKPOINT and json.loads((folder / name / "config.json").read_text()) != config:
        raise SystemExit(f"{folder}: holds models of other sizes (name another --folder)")


def write_part(checkpoint: Checkpoint, layout: Layout, folder: Path) -> None:
    """Write what a layout holds, as it calls it; of the experts the peers' one."""
    one = checkpoint.keep_experts([EXPERT])
    shapes, names = expected_shapes(one.config), layout.stored_names(one.config)
    canonical = {stored: name for name, stored in names.items()}
    write_tensors(
        folder, {stored: shapes[name] for stored, name in canonical.items()}, lambda s: one.read(canonical[s])
    )


def write_language_model(checkpoint: Checkpoint, folder: Path) -> None:
    """Write the decoder with one expert as transformers' Qwen2."""
    folder.mkdir()
    kept = {key: value for key, value in checkpoint.data.items() if not key.startswith(("mm_", "vision_", "image_"))}
    sizes = {"model_type": "qwen2", "architectures": ["Qwen2ForCausalLM"], "dtype": "float16"}
    (folder / "config.json").write_text(json.dumps(kept | sizes))
    make_tokenizer().save(str(folder / "tokenizer.json"), pretty=False)
    tokenizer = {"tokenizer_class": "PreTrainedTokenizerFast", "eos_token": "<|im_end|>", "pad_token": "<|endoftext|>"}
    (folder / "tokenizer_config.json").write_text(json.dumps(tokenizer))
    write_part(checkpoint, EXPERT_LAYOUT, folder)


def write_tower(checkpoint: Checkpoint, folder: Path) -> None:
    """Write the tower as transformers' SigLIP, and the projector beside it."""
    folder.mkdir()
    v = checkpoint.config.vision
    sizes = {
        "model_type": "siglip_vision_model",
        "architectures": ["SiglipVisionModel"],
        "dtype": "float16",
        "hidden_size": v.hidden_size,
        "intermediate_size": v.intermediate_size,
        "num_hidden_layers": v.layers,
        "num_attention_heads": v.heads,
        "image_size": v.image_size,
        "patch_size": v.patch_size,
        "vision_use_head": False,
    }
    write_part(checkpoint, PROJECTOR_LAYOUT, folder)
    (folder / "model.safetensors").rename(folder / "projector.safetensors")
    (folder / "config.json").write_text(json.dumps(sizes))
    write_part(checkpoint, TOWER_LAYOUT, folder)


def write_bundle(checkpoint: Checkpoint, folder: Path, profile: str, block: int) -> None:
    """Export as the tool does."""
    command = [sys.executable, "-m", "export", str(checkpoint.folder), str(folder), "--block", str(block)]
    subprocess.run([*command, "--profile", profile], check=True, stdout=sys.stderr)


def write_plain_tower(checkpoint: Checkpoint, folder: Path, scheme: VisionScheme) -> None:
    """Write our tower's graph in stock operators."""
    folder.mkdir()
    with (folder / "vision.bin").open("wb") as file:
        graph = GraphBuilder("vision", ExternalData(file, "vision.bin"))
        write_vision(LayerWriter(graph, checkpoint, ErrorLog()), scheme)
        graph.save(folder / "vision.onnx")


def write_gguf(checkpoint: Checkpoint, file: Path, *, pure: bool) -> None:
    """Write the decoder with one expert for llama.cpp, its matrices in Q4_0.

    The head is Q8_0 unless ``pure``, as llama.cpp's own quantiser has it for widths that are in no blocks of 256.
    """
    import gguf

    one = checkpoint.keep_experts([EXPERT])
    d = one.config.decoder
    writer = gguf.GGUFWriter(file, "qwen2")
    writer.add_context_length(32768)
    writer.add_embedding_length(d.hidden_size)
    writer.add_block_count(d.layers)
    writer.add_feed_forward_length(d.intermediate_size)
    writer.add_head_count(d.heads)
    writer.add_head_count_kv(d.kv_heads)
    writer.add_rope_freq_base(d.rope_theta)
    writer.add_layer_norm_rms_eps(d.rms_norm_eps)
    writer.add_file_type(gguf.LlamaFileType.MOSTLY_Q4_0)
    writer.add_tokenizer_model("gpt2")
    writer.add_tokenizer_pre("qwen2")
    writer.add_token_list([f"t{number}" for number in range(d.vocab_size)])
    writer.add_token_types([gguf.TokenType.NORMAL] * d.vocab_size)
    writer.add_token_merges(["t 1"])
    shapes, kinds = expected_shapes(one.config), {}
    for name in EXPERT_LAYOUT.stored_names(one.config):
        shape, kind = shapes[name], gguf.GGMLQuantizationType.F32
        if len(shape) > 1:
            large = name == HEAD and not pure
            kind = gguf.GGMLQuantizationType.Q8_0 if large else gguf.GGMLQuantizationType.Q4_0
            shape = gguf.quant_shape_to_byte_shape(shape, kind)
        kinds[name] = kind
        dtype = np.dtype(np.float32 if kind is gguf.GGMLQuantizationType.F32 else np.uint8)
        writer.add_tensor_info(gguf_name(name), shape, dtype, int(np.prod(shape)) * dtype.itemsize, raw_dtype=kind)
    writer.write_header_to_file()
    writer.write_kv_data_to_file()
    writer.write_ti_data_to_file()
    for name, kind in kinds.items():
        writer.write_tensor_data(gguf.quants.quantize(one.read(name).astype(np.float32), kind))
    writer.close()


def gguf_name(name: str) -> str:
    """Return what llama.cpp calls a tensor of the decoder."""
    around = {"embed_tokens": "token_embd", "norm": "output_norm", "lm_head": "output"}
    _, *inner, leaf = name.split(".")
    if inner[0] != "layers":
        return f"{around[inner[0]]}.{leaf}"
    return f"blk.{inner[1]}.{GGUF_NAMES['.'.join(inner[2:])]}.{leaf}"


def write_genai(checkpoint: Checkpoint, folder: Path, block: int) -> None:
    """Let onnxruntime-genai's builder make its int4 model, with the settings that were fastest for it."""
    source = folder.with_name("hf")
    make_model(folder.parent, source.name, checkpoint.data)
    settings = [f"block_size={block}", "accuracy_level=4", "prune_lm_head=true"]
    command = [sys.executable, "-m", "onnxruntime_genai.models.builder", "-i", str(source), "-o", str(folder)]
    command += ["-c", str(folder.with_name(".cache")), "-p", "int4", "-e", "cpu", "--extra_options", *settings]
    env = {**os.environ, "TQDM_DISABLE": "1", "HF_HUB_OFFLINE": "1"}
    subprocess.run(command, check=True, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL, env=env)


MAKERS: dict[str, Callable[[Checkpoint, Path], Any]] = {
    "int4-128": lambda checkpoint, folder: write_bundle(checkpoint, folder, "int4", 128),
    "int4-32": lambda checkpoint, folder: write_bundle(checkpoint, folder, "int4", 32),
    "int4-decoder-128": lambda checkpoint, folder: write_bundle(checkpoint, folder, "int4-decoder", 128),
    "tower-fp32": lambda checkpoint, folder: write_plain_tower(checkpoint, folder, None),
    "tower-int8": lambda checkpoint, folder: write_plain_tower(checkpoint, folder, "dynamic"),
    "hf": write_language_model,
    "hf-tower": write_tower,
    "q4_0.gguf": lambda checkpoint, file: write_gguf(checkpoint, file, pure=False),
    "q4_0-pure.gguf": lambda checkpoint, file: write_gguf(checkpoint, file, pure=True),
    "genai-128": lambda checkpoint, folder: write_genai(checkpoint, folder, 128),
    "genai-32": lambda checkpoint, folder: write_genai(checkpoint, folder, 32),
}
