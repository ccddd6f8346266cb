"""Random numbers that are a function of where they are used, so that any worker can make any example."""

import numpy as np


def generator(seed: int, stream: int, number: int, view: int) -> np.random.Generator:
    """Return the generator of one view of one example.

    Args:
        seed: seed of the run, >= 0.
        stream: number of the stream, as in `data.stream`.
        number: number of the example.
        view: which of the example's views or boxes is drawn.
    """
    return np.random.Generator(np.random.Philox(np.random.SeedSequence((seed, stream, number, view))))
