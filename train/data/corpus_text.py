"""The texts that a tokenizer should learn from: what the model will read and write on a corpus."""

from collections.abc import Iterator

import numpy as np

from rsvlm_cli.tasks.dialect import Dialect, MaskStyle
from train.data.conversations import Interviewer
from train.data.mixture import Corpus
from train.data.views import ViewLaw


def corpus_texts(corpus: Corpus, dialect: Dialect, seed: int) -> Iterator[str]:
    """Yield every caption once, and the turns of up to 300 views of each set; mask blocks are tokens already."""
    interviewer = Interviewer(dialect)
    law = ViewLaw(size_px=32, grid=dialect.mask_grid)
    rng = np.random.default_rng(seed)
    for name, records in corpus.records.items():
        for record in records:
            yield from record.captions
        for i in rng.permutation(len(records))[:300]:
            for turn in interviewer.turns(corpus.view(name, records[int(i)], law, rng), rng):
                yield turn.user
                if turn.topic not in ("segment", "change mask") or dialect.mask_style is MaskStyle.RUNS:
                    yield turn.reply
