"""Recipes: everything a training run depends on, read from one TOML file."""

import tomllib
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

from model.config import DecoderConfig, LabelSets, ModelConfig, VisionConfig
from rsvlm_cli.errors import InputError
from rsvlm_cli.tasks.dialect import NANO, RSUNIVLM, Dialect
from train.data.shares import Mix

Family = Literal["nano", "rsunivlm"]
Precision = Literal["bf16", "fp32"]

DIALECTS: dict[Family, Dialect] = {"nano": NANO, "rsunivlm": RSUNIVLM}


@dataclass(frozen=True, slots=True, kw_only=True)
class Adapter:
    """Small matrices learnt beside frozen weights: LoRA, arXiv:2106.09685.

    Attributes:
        rank: of each pair of matrices.
        alpha: their product is scaled by ``alpha / rank``.
        dropout: of their input.
        targets: pattern of the whole names of the linears that get a pair, as in `model.weights`.
        four_bit: hold the frozen linears in 4 bit NormalFloat (QLoRA, arXiv:2305.14314).
    """

    rank: int = 16
    alpha: int = 32
    dropout: float = 0.0
    targets: str = r"(decoder\.layers\..+_proj|projector\.[02])"
    four_bit: bool = False

    def __post_init__(self) -> None:
        if self.rank < 1 or not 0 <= self.dropout < 1:
            raise ValueError(f"an adapter of rank {self.rank} and dropout {self.dropout}")


@dataclass(frozen=True, slots=True, kw_only=True)
class Stage:
    """One phase of a run.

    Attributes:
        name: names the checkpoint.
        kind: ``tower`` teaches the vision tower through dense heads; ``instruct`` teaches the whole model to reply, the
            heads going on beside it.
        steps: optimiser steps.
        batch: views a step, over all processes.
        pieces: into which each process cuts its part of the batch, to save memory.
        image_sizes: sides of the pictures in pixels, of which each step draws one: dynamic resolution. Empty for the
            model's own side.
        lr: peak learning rate, reached after ``warmup`` steps, falling by a cosine.
        falls_until: step at which it would be zero, where that is not the stage's last.
        tower_lr: peak rate of the vision tower in an ``instruct`` stage.
        dense: every granularity goes through expert 0, which is copied to the others before a stage that is not dense.
        image_scale: factor on the projector's output, put into its weights in the end. Visual tokens much larger than
            what blocks add to them drown it, the question above all.
        heads_weight: weight of the dense heads' loss beside the reply loss.
        granularities: how often a view speaks at each granularity, image, region, pixel, where it can.
        max_turns: turns of one view at each.
    """

    name: str
    kind: Literal["tower", "instruct"]
    steps: int
    batch: int
    lr: float
    falls_until: int = 0
    image_sizes: tuple[int, ...] = ()
    pieces: int = 1
    tower_lr: float = 0.0
    warmup: int = 100
    weight_decay: float = 0.05
    dense: bool = False
    image_scale: float = 1.0
    heads_weight: float = 0.3
    granularities: tuple[float, float, float] = (0.4, 0.3, 0.3)
    max_turns: tuple[int, int, int] = (6, 4, 2)

    def __post_init__(self) -> None:
        if min(self.steps, self.batch, self.pieces) < 1:
            raise ValueError(f"stage {self.name} has {self.steps} steps, batch {self.batch}, {self.pieces} pieces")

    def sides_px(self, vision: VisionConfig) -> tuple[int, ...]:
        """Return the sides of its pictures.

        Raises:
            ValueError: if one is no multiple of a patch, or larger than the model's own.
        """
        sides = self.image_sizes or (vision.image_size,)
        for side in sides:
            if side != vision.image_size and (side % vision.patch_size or side > vision.image_size):
                wanted = f"multiples of {vision.patch_size} up to {vision.image_size}"
                raise ValueError(f"stage {self.name} has pictures of {side} px, wanted {wanted}")
        return sides


@dataclass(frozen=True, slots=True, kw_only=True)
class Recipe:
    """A whole run.

    Attributes:
        name: of the model it makes.
        seed: of everything random.
        vision, decoder: sizes.
        mix: how often each prepared set is drawn.
        labels: class words that the tower's dense heads learn; others are only talked about. Without any there are no
            heads.
        turn_weights: sampling weight of each topic of `train.data.conversations.Turn`; 1 where not named.
        stages: in order.
        family: how the model is spoken to.
        precision: of what is computed; weights and the optimiser are fp32.
        checkpointing: compute blocks twice instead of keeping what is inside them.
        adapter: train small matrices beside frozen weights, or None to train the weights.
        tta: in how many symmetries the finished model looks at a picture, 1 to 8; views are turned in all of them.
    """

    name: str
    seed: int
    vision: VisionConfig
    decoder: DecoderConfig
    labels: LabelSets
    mix: Mix
    turn_weights: dict[str, float]
    stages: tuple[Stage, ...]
    family: Family = "nano"
    precision: Precision = "bf16"
    checkpointing: bool = False
    adapter: Adapter | None = None
    tta: int = 1

    def __post_init__(self) -> None:
        for key, value, choices in (("family", self.family, DIALECTS), ("precision", self.precision, ("bf16", "fp32"))):
            if value not in choices:
                raise ValueError(f"{key} is {value!r}, wanted one of {', '.join(choices)}")
        for stage in self.stages:
            stage.sides_px(self.vision)
            if stage.kind == "tower" and not self.labels:
                raise ValueError(f"stage {stage.name} trains the tower by its heads, and there are no labels")

    @property
    def dialect(self) -> Dialect:
        """How the model is spoken to."""
        return DIALECTS[self.family]

    @property
    def model(self) -> ModelConfig:
        """Sizes of the network."""
        return ModelConfig(vision=self.vision, decoder=self.decoder, labels=self.labels)

    @classmethod
    def from_toml(cls, path: Path) -> "Recipe":
        """Read a recipe.

        Raises:
            InputError: naming the file and what is wrong in it.
        """
        try:
            data: dict[str, Any] = tomllib.loads(path.read_text(encoding="utf-8"))
            model = ModelConfig.from_json(data["model"] | {"labels": data.get("labels", {})})
            told = data["data"]
            mix = Mix(weights=told["weights"], temperature=told.get("temperature", 1.0)) if "weights" in told else None
            return cls(
                name=data["name"],
                seed=data["seed"],
                vision=model.vision,
                decoder=model.decoder,
                labels=model.labels,
                mix=mix or Mix.parse(told["mix"], told.get("temperature", 1.0)),
                turn_weights=told.get("turns", {}),
                stages=tuple(_stage(stage) for stage in data["stage"]),
                adapter=Adapter(**data["adapter"]) if "adapter" in data else None,
                **{key: data[key] for key in ("family", "precision", "checkpointing", "tta") if key in data},
            )
        except (OSError, KeyError, TypeError, ValueError) as error:
            raise InputError(f"{path}: not a recipe: {error}") from error


def _stage(data: dict[str, Any]) -> Stage:
    values: dict[str, Any] = {key: tuple(value) if isinstance(value, list) else value for key, value in data.items()}
    return Stage(**values)


def find_recipe(text: str) -> Recipe:
    """Read a recipe by its path, or by the name of one that comes with this package.

    Raises:
        InputError: if there is none, or it is faulty.
    """
    shipped = Path(__file__).parent / "recipes"
    path = shipped / f"{text}.toml"
    if Path(text).is_file() or not path.is_file():
        path = Path(text)
    if not path.is_file():
        names = ", ".join(sorted(known.stem for known in shipped.glob("*.toml")))
        raise InputError(f"{text}: no such recipe (wanted a TOML file, or one of {names})")
    return Recipe.from_toml(path)
