"""Positional arguments and lists, as commands read them."""

from pathlib import Path


def split_arguments(arguments: list[str]) -> tuple[list[str], list[str]]:
    """Split positional arguments into rasters and what is asked of them.

    The first is a raster, and so is each that names a file, or that is one word and no question; the rest is words.
    """
    rasters: list[str] = []
    words: list[str] = []
    for k, argument in enumerate(arguments):
        is_words = any(char.isspace() for char in argument.strip()) or argument.rstrip().endswith("?")
        is_raster = k == 0 or (not words and (Path(argument).exists() or not is_words))
        (rasters if is_raster else words).append(argument)
    return rasters, words


def parse_labels(texts: list[str] | None) -> tuple[str, ...]:
    """Read labels given as one list with commas, as a repeated flag, or both; order kept, repetitions dropped."""
    labels = (label.strip() for text in texts or () for label in text.split(","))
    return tuple(dict.fromkeys(label for label in labels if label))
