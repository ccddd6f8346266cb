"""Several replicas of a test in one process: they take turns, and their sums are those over all of them."""

import numpy as np
from keras import ops

from rankmatch_keras.backend.replicas import Replicas, set_replicas


class InTurn(Replicas):
    """In place within a `with` block.

    `learn` runs each replica until the sums are known; then `play` runs one of them.
    """

    def __init__(self, count):
        self.count = count
        self.number = 0
        self.totals = []
        self.found = []

    def __enter__(self):
        set_replicas(self)
        return self

    def __exit__(self, *_):
        set_replicas(Replicas())

    def index(self):
        """The number of the one whose turn it is."""
        return self.number

    def sum(self, value):
        """The total where it is known, otherwise the replica's own value, which it notes."""
        place = len(self.found)
        self.found.append(None)
        if place < len(self.totals):
            return ops.convert_to_tensor(self.totals[place])
        self.found[place] = ops.convert_to_numpy(value)
        return ops.stop_gradient(value)

    def learn(self, run):
        """Runs `run(number)`, eagerly and from the same state each time, for one more sum in every round."""
        while True:
            noted = [self._noted(number, run) for number in range(self.count)]
            if len(noted[0]) == len(self.totals):
                return
            place = len(self.totals)
            self.totals.append(np.sum([found[place] for found in noted], axis=0))

    def play(self, number, run):
        """The result of `run(number)` with known sums."""
        self.number, self.found = number, []
        return run(number)

    def _noted(self, number, run):
        self.play(number, run)
        return self.found
