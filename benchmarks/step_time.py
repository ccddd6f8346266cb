"""Seconds per training step and peak memory of the methods, measured against each other in one run.

Example:
  KERAS_BACKEND=torch python benchmarks/step_time.py --backbone resnet50 --crop 321 --batch 2

The methods take turns, step by step, in one process, so that a machine that slows down slows all of them; ratios are
medians of neighbouring steps. Peak memory is that of a fresh process per method with no other framework than the
backend's, and without an input pipeline. Inputs are random.
"""

import os
import resource
import statistics
import subprocess
import sys
import time

import click

from rankmatch_keras.environment import chosen_backend, require_environment

if "--only" in sys.argv:  # Keras imports whatever framework it finds, 0.6 GB for TensorFlow and JAX
    sys.modules.update({name: None for name in ("tensorflow", "jax", "torch") if name != chosen_backend()[0]})
require_environment()

NAMES = ("SupervisedOnly", "FixMatch", "UniMatch", "RankMatch")
CLASSES = 21


@click.command(help=f"\b\n{__doc__}")
@click.option("--backbone", default="resnet50", show_default=True)
@click.option("--crop", default=321, show_default=True, type=click.IntRange(min=32))
@click.option(
    "--batch", default=2, show_default=True, type=click.IntRange(min=1), help="Labelled and unlabelled, each."
)
@click.option("--num-agents", default=128, show_default=True, type=click.IntRange(min=4))
@click.option("--steps", default=5, show_default=True, type=click.IntRange(min=2), help="Counted steps of each method.")
@click.option("--box-source", default="in_batch", show_default=True, type=click.Choice(("in_batch", "second_view")))
@click.option("--methods", default=",".join(NAMES), show_default=True)
@click.option("--memory/--no-memory", default=True, show_default=True, help="Whether peak memory is measured too.")
@click.option("--only", hidden=True, help="Measure the memory of one method: for the child process.")
def main(backbone, crop, batch, num_agents, steps, box_source, methods, memory, only):
    """Measures and prints the table."""
    if only:
        model = build(only, backbone, num_agents)
        for _ in range(2):
            model.train_on_batch(random_batch(batch, crop, box_source))
        click.echo(f"peak {peak_bytes()}")
        return
    names = methods.split(",")
    click.echo(
        f"{chosen_backend()[0]}, {backbone}, crop {crop}, {batch} + {batch} images, N = {num_agents}, "
        f"boxes {box_source}, {os.cpu_count()} processors"
    )
    peaks = {name: child_peak(name, sys.argv[1:]) if memory else float("nan") for name in names}
    seconds = take_turns({name: build(name, backbone, num_agents) for name in names}, batch, crop, box_source, steps)
    print_table(seconds, peaks)


def build(name, backbone, num_agents):
    """A compiled method on DeepLabV3+ with random weights."""
    import keras

    from rankmatch_keras import methods, models, training

    keras.utils.set_random_seed(0)
    segmenter = models.deeplab_v3_plus(models.create_backbone(backbone), CLASSES)
    options = {"num_agents": num_agents} if name == "RankMatch" else {}
    model = getattr(methods, name)(segmenter, **options)
    model.compile(training.SGD(1e-4))
    return model


def random_batch(batch, crop, box_source):
    """A batch of the contract's shapes."""
    import numpy as np

    rng = np.random.default_rng(0)

    def images():
        return rng.normal(size=(batch, crop, crop, 3)).astype("float32")

    content = {
        "labeled_image": images(),
        "labeled_mask": rng.integers(0, CLASSES, (batch, crop, crop)).astype("int32"),
        "weak_image": images(),
        "strong_image_1": images(),
        "strong_image_2": images(),
        "valid": np.ones((batch, crop, crop), bool),
    }
    for number in (1, 2):
        content[f"cutmix_box_{number}"] = np.tile(
            np.array([crop // 4, crop // 4, crop // 2, crop // 2], "int32"), (batch, 1)
        )
    if box_source == "second_view":
        content |= {
            f"source_{name}": content[name] for name in ("weak_image", "strong_image_1", "strong_image_2", "valid")
        }
    return content


def take_turns(models, batch, crop, box_source, steps):
    """Seconds of every counted step by method, the methods one after another in each round."""
    content = random_batch(batch, crop, box_source)
    seconds = {name: [] for name in models}
    for round_number in range(steps + 2):
        for name, model in models.items():
            start = time.perf_counter()
            model.train_on_batch(content)
            if round_number >= 2:  # the first rounds compile and warm up
                seconds[name].append(time.perf_counter() - start)
    return seconds


def child_peak(name, arguments):
    """Peak memory in bytes of a fresh process that makes two steps."""
    command = [sys.executable, __file__, *arguments, "--only", name]
    output = subprocess.run(command, capture_output=True, text=True, check=True).stdout
    return int(output.split("peak ")[1].split()[0])


def peak_bytes():
    """Peak resident memory of this process."""
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * 1024


def print_table(seconds, peaks):
    """One row per method, and the rank loss's share."""
    base = "UniMatch" if "UniMatch" in seconds else next(iter(seconds))
    click.echo(f"{'method':16}{'s/step':>9}{'min':>9}{'max':>9}{'/ ' + base:>12}{'peak GB':>10}")
    for name, values in seconds.items():
        ratio = statistics.median(a / b for a, b in zip(values, seconds[base], strict=True))
        click.echo(
            f"{name:16}{statistics.median(values):9.3f}{min(values):9.3f}{max(values):9.3f}{ratio:12.3f}"
            f"{peaks[name] / 1e9:10.2f}"
        )
    if {"UniMatch", "RankMatch"} <= set(seconds):
        pairs = zip(seconds["RankMatch"], seconds["UniMatch"], strict=True)
        share = statistics.median((a - b) / a for a, b in pairs)
        click.echo(f"share of the rank loss in a RankMatch step: {100 * share:.1f} %")


if __name__ == "__main__":
    main()
