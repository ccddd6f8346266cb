import pytest
from keras import ops

from rankmatch_keras.layers.clock import Clock, Turns


def test_fraction_of_the_run():
    clock, shares = Clock(4), []
    for _ in range(6):
        shares.append(float(ops.convert_to_numpy(clock.progress())))
        clock.tick()
    assert shares == [0.0, 0.25, 0.5, 0.75, 1.0, 1.0]


def test_turns():
    turns, seen = Turns(2), []
    for _ in range(5):
        seen.append(tuple(ops.convert_to_numpy(value).item() for value in turns.now()))
        turns.tick()
    assert seen == [(0, True), (0, False), (1, True), (1, False), (2, True)]


@pytest.mark.parametrize("kind", [Clock, Turns])
def test_wrong_arguments(kind):
    with pytest.raises(ValueError, match="at least 1"):
        kind(0)
