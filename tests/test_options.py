"""The options that recipes share."""

from rankmatch_keras import flags, options
from rankmatch_keras.backend import distribution, numerics
from rankmatch_keras.data.batches.pipelines import PIPELINES


def test_choices_are_those_of_the_rooms_they_come_from():
    # The options are read before Keras is imported, so that they name these again.
    assert flags.STRATEGIES == distribution.NAMES
    assert flags.PRECISIONS == numerics.PRECISIONS
    assert tuple(flags.HELP["pipeline"][0].choices) == PIPELINES


def test_epochs_are_passes_over_the_unlabelled_images():
    assert options.Options(epochs=3, batch=2, accumulate=4).schedule(80) == (3, 10)
    assert options.Options(epochs=3, batch=50).schedule(10) == (3, 1)
