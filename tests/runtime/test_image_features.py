"""Pictures that were encoded apart and meet in one prompt."""

import numpy as np

from rsvlm_cli.runtime.engine import Engine

FIRST = "<|im_start|>user\n<image>\n[VQA] Is there a ship?<|im_end|>\n<|im_start|>assistant\n"
BOTH = FIRST + "yes<|im_end|>\n<|im_start|>user\n<image>\n[VQA] Is it?<|im_end|>\n<|im_start|>assistant\n"


def test_pictures_encoded_apart_answer_as_those_encoded_together(bundle, picture):
    pictures = [picture, picture[::-1].copy()]
    together, apart = Engine(bundle, threads=1), Engine(bundle, threads=1)
    expected = together.score(together.encode_images(pictures), BOTH, 0, ("yes", "no"))
    first, second = (apart.encode_images([each]) for each in pictures)
    joined = first.join(second)
    assert len(joined) == 2
    np.testing.assert_allclose(apart.score(joined, BOTH, 0, ("yes", "no")), expected, atol=1e-5)
    swapped = together.score(together.encode_images(pictures[::-1]), BOTH, 0, ("yes", "no"))
    assert np.abs(swapped - expected).max() > 1e-3


def test_a_second_turn_computes_no_more_than_it_adds(engine, picture):
    first = engine.encode_images([picture])
    assert engine.tokens_fed == 0
    engine.score(first, FIRST, 0, ("yes",))
    before, n_first = engine.tokens_fed, len(engine.tokenizer.encode(FIRST.partition("<image>")[2]))
    assert before >= n_first + first.keys.size
    second = engine.encode_images([picture])
    engine.score(first.join(second), BOTH, 0, ("yes",))
    added = engine.tokens_fed - before
    assert second.keys.size < added < second.keys.size + 3 * n_first
