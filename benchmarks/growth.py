"""Seconds and peak memory as one size grows while all others stay.

\b
    python benchmarks growth --of agents,classes --out growth.json --plot growth.svg

Each size is measured in a process of its own: a training step of RankMatch, the median of three after two others; the
opening, splitting and shuffling of a folder of empty files; or the segmentation of one image. "exponent" is the slope
between neighboring sizes on logarithmic axes: 1 where time grows as the size does, 2 where it grows as its square.
"""

import json
import math
import os
import resource
import statistics
import subprocess
import sys
import tempfile
import time
from pathlib import Path

import click
from step_time import Words, describe, line, table_head

STEP = {"backbone": "mobilenet_v2", "crop": 161, "batch": 2, "num_agents": 128, "top_k": 4, "classes": 21}
SIZES = {
    "agents": (64, 128, 256, 512),
    "top_k": (4, 5, 6, 7, 8),
    "crop": (161, 241, 321, 481, 641),
    "batch": (1, 2, 4, 8),
    "classes": (2, 21, 81, 171),
    "unlabeled": (10, 1_000, 100_000, 1_000_000),
    "predicted": (1_000, 2_000, 5_000, 10_000, 20_000),
}
COUNTS = {"crop": 2, "predicted": 2}  # sizes of sides: the work is their square


@click.command(help=__doc__)
@click.option("--of", "names", default="all", type=Words(tuple(SIZES)), show_default=True, help="Sizes that grow.")
@click.option("--backend", default="torch", type=click.Choice(("tensorflow", "torch", "jax")), show_default=True)
@click.option("--largest", type=click.IntRange(1), help="Leave out sizes above this.")
@click.option("--out", type=click.Path(path_type=Path), help="JSON file for every measurement.")
@click.option("--plot", type=click.Path(path_type=Path), help="Picture of the curves.")
def main(names, backend, largest, out, plot):
    """Measure and print the table."""
    about = describe()
    click.echo(f"{about['date']}, {about['machine']}, {about['versions']}, {backend}")
    click.echo(table_head("what size seconds exponent peak,GB"))
    results: dict[str, list[dict]] = {}
    for name in names:
        for size in SIZES[name]:
            if largest is None or size <= largest:
                result = measure_apart(name, size, backend)
                click.echo(row(name, result, results.get(name, [])))
                results.setdefault(name, []).append(result)
    if out:
        out.write_text(json.dumps({**about, "backend": backend, "results": results}, indent=1), encoding="utf-8")
    if plot:
        draw(results, plot)


def row(name, result, before):
    """Return one row of the table."""
    slope = ""
    if before:
        times = math.log(result["seconds"] / before[-1]["seconds"])
        slope = f"{times / (COUNTS.get(name, 1) * math.log(result['size'] / before[-1]['size'])):.2f}"
    return line([name, f"{result['size']:,}", f"{result['seconds']:.3f}", slope, f"{result['peak'] / 1e9:.2f}"])


def measure_apart(name, size, backend):
    """Measure one size in a process of its own, which imports one framework only."""
    environment = {**os.environ, "KERAS_BACKEND": backend}
    command = [sys.executable, __file__, name, str(size)]
    done = subprocess.run(command, env=environment, stdout=subprocess.PIPE, text=True, check=True)
    return {"size": size, **json.loads(done.stdout.splitlines()[-1])}


def measure(name, size):
    """Return seconds and peak bytes of this process."""
    seconds = {"unlabeled": open_names, "predicted": segment}.get(name, step)(name, size)
    return {"seconds": seconds, "peak": resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * 1024}


def step(name, size):
    """Return the median seconds of a training step."""
    from step_measure import random_batch

    from rankmatch_keras import methods, models, training

    settings = {**STEP, {"agents": "num_agents"}.get(name, name): size, "box_source": "in_batch"}
    network = models.deeplab_v3_plus(models.create_backbone(settings["backbone"]), settings["classes"])
    method = methods.RankMatch(network, num_agents=settings["num_agents"], top_k=settings["top_k"])
    method.compile(training.SGD(1e-4))
    batch = random_batch(settings, settings["classes"])
    times = []
    for _ in range(5):
        start = time.perf_counter()
        method.train_on_batch(batch)
        times.append(time.perf_counter() - start)
    return statistics.median(times[2:])


def open_names(name, size):
    """Return the seconds to open, split and shuffle a folder of so many empty files."""
    from rankmatch_keras.data.batches.sample_order import SampleOrder
    from rankmatch_keras.data.readers.folders import pictures_by_name
    from rankmatch_keras.data.sets.samples import Sample
    from rankmatch_keras.data.splits import choose_labeled

    with tempfile.TemporaryDirectory() as folder:
        for number in range(size):
            os.close(os.open(f"{folder}/{number:07d}.jpg", os.O_CREAT))
        start = time.perf_counter()
        samples = [Sample(one, picture, picture) for one, picture in pictures_by_name(folder).items()]
        split = choose_labeled(samples, min(10, size), seed=0)
        order = SampleOrder(split.unlabeled or split.labeled, (0,))
        _ = order[0]
        return time.perf_counter() - start


def segment(name, size):
    """Return the seconds to segment a square image of that side, by windows where it is large."""
    import numpy as np
    import tifffile

    from rankmatch_keras import models
    from rankmatch_keras.data.sets.image_folder import images_to_segment
    from rankmatch_keras.layers import ChannelNormalization
    from rankmatch_keras.prediction.folder import Settings, segment_folder

    network = models.deeplab_v3_plus(models.create_backbone("tiny"), 5, aspp_filters=32, decoder_filters=32)
    predictor = models.predictor(network, ChannelNormalization((127.5,) * 3, (127.5,) * 3))
    with tempfile.TemporaryDirectory() as folder:
        image = Path(folder, "image.tif")
        tiles = np.random.default_rng(0).integers(0, 256, (256, 256, 3), dtype=np.uint8)
        count = math.ceil(size / 256) ** 2
        tifffile.imwrite(image, (tiles for _ in range(count)), shape=(size, size, 3), dtype="uint8", tile=(256, 256))
        start = time.perf_counter()
        names = [str(number) for number in range(5)]
        settings = Settings(save=("masks",))
        segment_folder(predictor, images_to_segment(image), Path(folder, "out"), names, settings)
        return time.perf_counter() - start


def draw(results, path):
    """Draw seconds and memory against the sizes, each relative to the smallest."""
    from matplotlib.figure import Figure

    figure = Figure(figsize=(9, 4), layout="constrained")
    for axes, key, label in zip(figure.subplots(1, 2), ("seconds", "peak"), ("time", "peak memory"), strict=True):
        for name, points in results.items():
            sizes, values = ([point[what] / points[0][what] for point in points] for what in ("size", key))
            axes.loglog([size ** COUNTS.get(name, 1) for size in sizes], values, "o-", label=name)
        axes.set(xlabel="size, relative to the smallest", ylabel=f"{label}, relative")
        axes.grid(alpha=0.3)
    figure.axes[0].legend()
    figure.savefig(path)


if __name__ == "__main__":
    print(json.dumps(measure(sys.argv[1], int(sys.argv[2]))))
