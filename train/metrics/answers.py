"""Scores of short answers: strict and lenient, and never for saying nothing."""

import re
import string

_MARKS = str.maketrans(string.punctuation, " " * len(string.punctuation))
_ARTICLES = re.compile(r"\b(a|an|the)\b")


def answer_words(text: str) -> list[str]:
    """Return an answer's words: lower case, without punctuation and articles."""
    return _ARTICLES.sub(" ", text.lower().translate(_MARKS)).split() or text.lower().translate(_MARKS).split()


def is_right_strict(answer: str, truth: str) -> bool:
    """Say whether an answer is the truth, word for word; an empty one is wrong."""
    return bool(answer_words(answer)) and answer_words(answer) == answer_words(truth)


def is_right_lenient(answer: str, truth: str) -> bool:
    """Say whether an answer contains the truth as whole words in a row; an empty one is wrong.

    The benchmarks of the field look for the truth's characters anywhere, some in either direction, so that "12" holds
    "1", "barn" holds "bar" and an empty reply is right; whole words of the answer close all three.
    """
    said, wanted = answer_words(answer), answer_words(truth)
    return bool(wanted) and any(said[k : k + len(wanted)] == wanted for k in range(len(said) - len(wanted) + 1))
