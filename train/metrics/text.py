"""Scores of texts: BLEU, ROUGE-L, CIDEr-D, without Java.

Each takes one candidate and several references an image. Texts are lower-cased and split into words and numbers, which
for captions without contractions equals the PTB tokenizer of the COCO caption code with punctuation removed.
"""

import math
import re
from collections import Counter
from collections.abc import Sequence

import numpy as np

_WORD = re.compile(r"[a-z0-9]+(?:'[a-z]+)?")


def words(text: str) -> list[str]:
    """Split a text."""
    return _WORD.findall(text.lower())


def _ngrams(tokens: Sequence[str], n: int) -> Counter[tuple[str, ...]]:
    return Counter(tuple(tokens[i : i + n]) for i in range(len(tokens) - n + 1))


def bleu_counts(candidates: Sequence[str], references: Sequence[Sequence[str]], n: int = 4) -> np.ndarray:
    """Count what BLEU-n is made of, ``(images, 2 n + 2)``: hits of 1 to n words, n-grams said, words said and wanted.

    Counts of several images add up, and `bleu_of_counts` reads the sum.
    """
    rows = np.zeros((len(candidates), 2 * n + 2))
    for row, candidate, texts in zip(rows, candidates, references, strict=True):
        tokens, refs = words(candidate), [words(text) for text in texts]
        row[-2:] = len(tokens), min((len(ref) for ref in refs), key=lambda size: (abs(size - len(tokens)), size))
        for k in range(n):
            grams = _ngrams(tokens, k + 1)
            most: Counter[tuple[str, ...]] = Counter()
            for ref in refs:
                most |= _ngrams(ref, k + 1)
            row[k], row[n + k] = (grams & most).total(), grams.total()
    return rows


def bleu_of_counts(counts: np.ndarray) -> float:
    """Return BLEU in [0, 1] of summed counts ``(2 n + 2,)``."""
    n = len(counts) // 2 - 1
    hits, totals, (length, wanted) = counts[:n], counts[n : 2 * n], counts[2 * n :]
    if hits.min() == 0:
        return 0.0
    return math.exp(float(np.log(hits / totals).mean()) + min(0.0, 1 - wanted / length))


def bleu(candidates: Sequence[str], references: Sequence[Sequence[str]], n: int = 4) -> float:
    """Return corpus BLEU-n in [0, 1], closest reference length, no smoothing.

    Source: Papineni et al. 2002.
    """
    return bleu_of_counts(bleu_counts(candidates, references, n).sum(axis=0))


def rouge_l(candidates: Sequence[str], references: Sequence[Sequence[str]], beta: float = 1.2) -> np.ndarray:
    """Return each image's ROUGE-L F-score, ``(images,)`` in [0, 1], best precision and best recall over references.

    Source: Lin 2004, with beta and the maxima as in the COCO caption code.
    """
    scores = np.zeros(len(candidates))
    for i, (candidate, texts) in enumerate(zip(candidates, references, strict=True)):
        tokens = words(candidate)
        common = [(_lcs(tokens, ref), len(ref)) for ref in map(words, texts)]
        precision = max((c / len(tokens) for c, _ in common), default=0.0) if tokens else 0.0
        recall = max((c / size for c, size in common if size), default=0.0)
        if precision and recall:
            scores[i] = (1 + beta**2) * precision * recall / (recall + beta**2 * precision)
    return scores


def _lcs(a: Sequence[str], b: Sequence[str]) -> int:
    """Return the length of the longest common subsequence."""
    row = [0] * (len(b) + 1)
    for x in a:
        diagonal = 0
        for j, y in enumerate(b, start=1):
            diagonal, row[j] = row[j], diagonal + 1 if x == y else max(row[j], row[j - 1])
    return row[-1]


def cider_d(candidates: Sequence[str], references: Sequence[Sequence[str]], sigma: float = 6.0) -> np.ndarray:
    """Return each image's CIDEr-D, ``(n,)``, in [0, 10]; its mean is the figure that papers print (times 100 in some).

    Document frequencies are those of the references given.

    Source: Vedantam et al., arXiv:1411.5726, section 4, as the COCO caption code counts it.
    """
    n_images = len(candidates)
    refs = [[words(text) for text in texts] for texts in references]
    frequency: Counter[tuple[str, ...]] = Counter()
    for texts in refs:
        frequency.update({gram for tokens in texts for n in range(1, 5) for gram in _ngrams(tokens, n)})
    log_images = math.log(max(n_images, 1))

    def vectors(tokens: list[str]) -> list[dict[tuple[str, ...], float]]:
        return [
            {
                gram: count * (log_images - math.log(max(1, frequency[gram])))
                for gram, count in _ngrams(tokens, n).items()
            }
            for n in range(1, 5)
        ]

    scores = np.zeros(n_images)
    for i, candidate in enumerate(candidates):
        tokens = words(candidate)
        mine = vectors(tokens)
        for ref in refs[i]:
            theirs = vectors(ref)
            penalty = math.exp(-((len(tokens) - len(ref)) ** 2) / (2 * sigma**2))
            for a, b in zip(mine, theirs, strict=True):
                norm = math.sqrt(sum(v * v for v in a.values()) * sum(v * v for v in b.values()))
                overlap = sum(min(value, b[gram]) * b[gram] for gram, value in a.items() if gram in b)
                scores[i] += penalty * overlap / norm if norm else 0.0
        scores[i] *= 10 / 4 / max(1, len(refs[i]))
    return scores
