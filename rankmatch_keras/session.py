"""How a training process begins: its place among the others, seed, precision and determinism."""

import os
import sys

import keras

from rankmatch_keras.backend.distribution import Distribution, check_divisible, distribute, running
from rankmatch_keras.backend.numerics import make_deterministic, set_precision
from rankmatch_keras.data.batches.pipelines import describe_pipeline
from rankmatch_keras.options import Options


def start(options: Options) -> Distribution:
    """Joins the other processes, if any, and makes everything random follow the seed.

    Args:
        options: the run's options.

    Returns:
        The distribution: `scope()` is where the model is made, `prepare(model)` follows `compile`.

    Raises:
        UserError: the strategy, the launcher's variables, the batch size, the precision or the input pipeline cannot
            work here.
    """
    pipeline = describe_pipeline(options.pipeline)
    if options.deterministic:
        make_deterministic()
    # The first stage of several began with it.
    begun = options.stage > 0 and running().name != "none"
    distribution = running() if begun else distribute(options.distribute, options.replicas)
    if not distribution.is_main:
        _silence()
    check_divisible(distribution, batch=options.batch)
    set_precision(options.precision)
    keras.utils.set_random_seed(options.seed)
    if distribution.replicas > 1:
        print(f"{distribution.describe(options.batch)}; learning rate as given, {options.learning_rate}")
        if options.batch == distribution.replicas and options.chosen_box_source() == "in_batch":
            print("One unlabelled image per replica: in_batch boxes paste an image into itself. Take a larger --batch.")
    print(pipeline)
    return distribution


def _silence():
    """Sends the standard output to nowhere, that of libraries that write to it past Python too."""
    sys.stdout.flush()
    with open(os.devnull, "w", encoding="utf-8") as nowhere:
        os.dup2(nowhere.fileno(), 1)
