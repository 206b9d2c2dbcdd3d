"""Inputs of the suite: real lengths, random token ids.

``lengths/sst2.txt`` and ``lengths/imdb.txt`` hold token counts, one example a line: BERT's uncased WordPiece with [CLS]
and [SEP], cut at 512. SST-2 is the whole validation split (872) in its order; IMDB the test reviews numbered by the
first 256 of ``numpy.random.default_rng(0).permutation(25_000)``. Cost depends on the counts, not on which words they
are. A test marked ``data`` counts them again.
"""

from importlib import resources

import numpy as np
from jaxtyping import Int

from eat.benchmark.engines import Encoded


def real_lengths(name: str) -> Int[np.ndarray, " examples"]:
    """Return the token counts of a data set's examples."""
    text = (resources.files("eat.suite") / "lengths" / f"{name}.txt").read_text(encoding="utf-8")
    return np.array(text.split(), dtype=np.int64)


def draw_lengths(
    lengths: Int[np.ndarray, " examples"], count: int, seed: int, at_least: int = 1
) -> Int[np.ndarray, " drawn"]:
    """Draw at most so many lengths in random order, without repetition, none below ``at_least``."""
    fitting = lengths[lengths >= at_least]
    return fitting[np.random.default_rng(seed).permutation(len(fitting))[:count]]


def random_examples(lengths: Int[np.ndarray, " examples"], vocab_size: int, seed: int) -> list[Encoded]:
    """Make examples of these lengths from random token ids; none is padding, which BERT numbers 0."""
    generator = np.random.default_rng(seed)
    return [
        {"input_ids": generator.integers(1, vocab_size, size=n).tolist(), "token_type_ids": [0] * n}
        for n in lengths.tolist()
    ]
