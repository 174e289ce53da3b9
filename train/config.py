"""Recipes: everything a training run depends on, read from one TOML file."""

import tomllib
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

from model.config import DecoderConfig, ModelConfig, VisionConfig


@dataclass(frozen=True, slots=True, kw_only=True)
class LabelSets:
    """Class words, in the order of the dense heads' outputs: scenes, things with boxes, stuff and shapes with masks."""

    scenes: tuple[str, ...]
    objects: tuple[str, ...]
    masks: tuple[str, ...]


@dataclass(frozen=True, slots=True, kw_only=True)
class Stage:
    """One phase of a run.

    Attributes:
        name: names the checkpoint.
        kind: ``tower`` teaches the vision tower through dense heads; ``instruct`` teaches the whole model to reply, the
            heads going on beside it.
        steps: optimiser steps.
        batch: views a step.
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
    tower_lr: float = 0.0
    warmup: int = 100
    weight_decay: float = 0.05
    dense: bool = False
    image_scale: float = 1.0
    heads_weight: float = 0.3
    granularities: tuple[float, float, float] = (0.4, 0.3, 0.3)
    max_turns: tuple[int, int, int] = (6, 4, 2)


@dataclass(frozen=True, slots=True, kw_only=True)
class Recipe:
    """A whole run.

    Attributes:
        name: of the model it makes.
        seed: of everything random.
        vision, decoder: sizes.
        weights: sampling weight of each prepared set.
        labels: class words that the dense heads learn; others are only talked about.
        turn_weights: sampling weight of each topic of `train.data.conversations.Turn`; 1 where not named.
        stages: in order.
    """

    name: str
    seed: int
    vision: VisionConfig
    decoder: DecoderConfig
    labels: LabelSets
    weights: dict[str, float]
    turn_weights: dict[str, float]
    stages: tuple[Stage, ...]

    @property
    def model(self) -> ModelConfig:
        """Sizes of the network."""
        return ModelConfig(vision=self.vision, decoder=self.decoder)

    @classmethod
    def from_toml(cls, path: Path) -> "Recipe":
        """Read a recipe.

        Raises:
            ValueError: naming the file and what is wrong in it.
        """
        try:
            data: dict[str, Any] = tomllib.loads(path.read_text(encoding="utf-8"))
            model = ModelConfig.from_json(data["model"])
            return cls(
                name=data["name"],
                seed=data["seed"],
                vision=model.vision,
                decoder=model.decoder,
                labels=LabelSets(**{kind: tuple(words) for kind, words in data["labels"].items()}),
                weights=data["data"]["weights"],
                turn_weights=data["data"].get("turns", {}),
                stages=tuple(_stage(stage) for stage in data["stage"]),
            )
        except (KeyError, TypeError, ValueError, tomllib.TOMLDecodeError) as error:
            raise ValueError(f"{path}: not a recipe: {error}") from error


def _stage(data: dict[str, Any]) -> Stage:
    values: dict[str, Any] = {key: tuple(value) if isinstance(value, list) else value for key, value in data.items()}
    return Stage(**values)
