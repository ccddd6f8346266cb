"""Speed of both input pipelines against the same operations with Pillow, and the time of each stage.

\b
    python benchmarks input --images data/sample/train/images --crop 321 --batch 2

The images serve as unlabeled images and, with empty masks, as labeled ones. An "image" is one labeled image (weak view)
or one unlabeled image (weak view and two strong views; with --box-source second_view two of each). Pillow does the same
operations, one image at a time on one core, in turns with the pipelines. CPU time is that of all threads and worker
processes together. Percentages are of the CPU time of one unlabeled image, measured on one thread.
"""

import functools
import os
import random
import resource
import statistics
import tempfile
import time
from collections.abc import Callable
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import click
import numpy as np
from PIL import Image, ImageEnhance, ImageFilter, ImageOps

from rankmatch_keras.data import Sample, choose_pipeline, training_batches
from rankmatch_keras.data.batches.pipelines import TF_DATA, WORKERS
from rankmatch_keras.data.sets.image_folder import unlabeled_samples
from rankmatch_keras.data.views.policies import POLICIES
from rankmatch_keras.data.views.sampling import ViewSettings, sample_example

SAMPLE = Path(__file__).resolve().parents[1] / "data" / "sample" / "train" / "images"
NORMALIZATION = SimpleNamespace(mean=(123.7, 116.3, 103.5), std=(58.4, 57.1, 57.4), reverse_channels=False)


def with_masks(samples: tuple[Sample, ...], folder: str) -> list[Sample]:
    """Give up to 20 samples an empty mask of the right size."""
    labeled = []
    for sample in samples[:20]:
        mask = Path(folder) / f"{sample.name}.png"
        Image.fromarray(np.zeros(sample.read_image().shape[:2], np.uint8)).save(mask)
        labeled.append(Sample(sample.name, sample.image, mask))
    return labeled


def milliseconds(function, items) -> float:
    """Return the mean time of one call in milliseconds, the first one not counted."""
    function(items[0])
    start = time.perf_counter()
    for item in items:
        function(item)
    return (time.perf_counter() - start) * 1e3 / len(items)


def stages(pipeline: str, samples: tuple[Sample, ...], crop: int) -> dict[str, float]:
    """Return the milliseconds that one unlabeled image takes in each stage."""
    settings = ViewSettings(0, (crop, crop), (0.5, 2.0), POLICIES["jitter"], 2, False)
    weak, strong, prepare = (tf_data_stages if pipeline == TF_DATA else worker_stages)(settings)
    images = [sample.read_image() for sample in samples[:60]]
    numbers = range(len(images))
    factors = [prepare(sample_example(settings, False, n, images[n].shape[:2]).view) for n in numbers]
    inputs = [prepare(image) for image in images]
    views = [weak(inputs[n], factors[n].geometry) for n in numbers]
    return {
        "decode": milliseconds(Sample.read_image, samples[:60]),
        "sampling": milliseconds(lambda n: sample_example(settings, False, n, images[n].shape[:2]), numbers),
        "weak view": milliseconds(lambda n: weak(inputs[n], factors[n].geometry), numbers),
        "2 strong views": milliseconds(lambda n: [strong(views[n], each) for each in factors[n].strong], numbers),
    }


def tf_data_stages(settings: ViewSettings) -> tuple[Callable, Callable, Callable]:
    """Return functions that make the weak view and one strong view, and one that prepares arrays and numbers."""
    import tensorflow as tf

    from rankmatch_keras.data.views.strong_keras_cv import strong_view_layer
    from rankmatch_keras.data.views.weak_tensorflow import weak_image

    # One trace for all sizes, as in the pipeline.
    weak = tf.function(
        lambda image, geometry: weak_image(image, geometry, settings.crop), autograph=False, reduce_retracing=True
    )
    strong = tf.function(strong_view_layer(settings.policy).augment_image, autograph=False)

    def prepare(nest):
        # Numbers are float32 in the graph.
        return tf.nest.map_structure(lambda leaf: tf.constant(np.float32(leaf) if type(leaf) is float else leaf), nest)

    return weak, strong, prepare


def worker_stages(settings: ViewSettings) -> tuple[Callable, Callable, Callable]:
    """Return the same three in NumPy."""
    from rankmatch_keras.data.views.strong_numpy import strong_view
    from rankmatch_keras.data.views.weak_numpy import weak_image

    return (
        lambda image, geometry: weak_image(image, geometry, settings.crop),
        lambda view, factors: strong_view(view, settings.policy, factors),
        lambda nest: nest,
    )


class Pillow:
    """Weak and strong views with Pillow, one image at a time, from the distributions of the pipeline."""

    def __init__(self, crop: int):
        self.crop = crop
        self.rng = random.Random(0)

    def labeled(self, sample: Sample) -> tuple:
        """Return image and mask of one weak view."""
        return self.weak(Image.open(sample.image.path).convert("RGB"), Image.open(sample.mask.path))

    def unlabeled(self, sample: Sample) -> list:
        """Return one weak and two strong views as arrays."""
        view = self.weak(Image.open(sample.image.path).convert("RGB"), None)[0]
        return [np.asarray(picture, np.float32) / 255 for picture in (view, self.strong(view), self.strong(view))]

    def weak(self, image: Image.Image, mask: Image.Image | None) -> tuple:
        """Resize, pad, crop and flip."""
        factor, crop = self.rng.uniform(0.5, 2.0), self.crop
        size = tuple(max(1, round(side * factor)) for side in image.size)
        pad = (0, 0, max(crop - size[0], 0), max(crop - size[1], 0))
        image = ImageOps.expand(image.resize(size, Image.Resampling.BILINEAR), pad)
        left, top = (self.rng.randint(0, side - crop) for side in image.size)
        flip = self.rng.random() < 0.5
        views = [image.crop((left, top, left + crop, top + crop))]
        if mask is not None:
            mask = ImageOps.expand(mask.resize(size, Image.Resampling.NEAREST), pad, 255)
            views.append(mask.crop((left, top, left + crop, top + crop)))
        return tuple(ImageOps.mirror(view) if flip else view for view in views)

    def strong(self, view: Image.Image) -> Image.Image:
        """Apply color jitter, gray and blur."""
        rng = self.rng
        if rng.random() < 0.8:
            kinds = [ImageEnhance.Brightness, ImageEnhance.Contrast, ImageEnhance.Color, None]
            rng.shuffle(kinds)
            for kind in kinds:
                view = kind(view).enhance(rng.uniform(0.5, 1.5)) if kind else turn_hue(view, rng.uniform(-0.25, 0.25))
        if rng.random() < 0.2:
            view = view.convert("L").convert("RGB")
        if rng.random() < 0.5:
            view = view.filter(ImageFilter.GaussianBlur(rng.uniform(0.1, 2.0)))
        return view


def turn_hue(view: Image.Image, shift: float) -> Image.Image:
    """Rotate the hue."""
    hue, saturation, value = view.convert("HSV").split()
    turned = np.asarray(hue) + np.uint8(int(shift * 255) % 256)
    return Image.merge("HSV", (Image.fromarray(turned), saturation, value)).convert("RGB")


def pillow_speed(pillow: Pillow, labeled: list[Sample], unlabeled: tuple[Sample, ...], count: int) -> float:
    """Return images per CPU second, half of them labeled."""
    start = time.process_time()
    for n in range(count // 2):
        pillow.labeled(labeled[n % len(labeled)])
        pillow.unlabeled(unlabeled[n % len(unlabeled)])
    return 2 * (count // 2) / (time.process_time() - start)


def cpu_seconds() -> float:
    """Return the CPU time of this process, its threads, and the worker processes that have ended."""
    children = resource.getrusage(resource.RUSAGE_CHILDREN)
    return time.process_time() + children.ru_utime + children.ru_stime


def speed(made: Any, batches: int) -> tuple[float, float]:
    """Return seconds and CPU seconds per batch, without the first three."""
    iterator = iter(made)
    for _ in range(3):
        next(iterator)
    start, used = time.perf_counter(), cpu_seconds()
    for _ in range(batches):
        next(iterator)
    return (time.perf_counter() - start) / batches, (cpu_seconds() - used) / batches


def worker_speed(make: Callable[..., Any], batches: int) -> tuple[float, float]:
    """Return the same for worker processes.

    The CPU time of a process is known when it ends, so the start is measured separately and subtracted.
    """
    used, seconds = [], 0.0
    for count in (3, 3 + batches):
        before, made = cpu_seconds(), make(steps=count)
        iterator = iter(made)
        for _ in range(3):
            next(iterator)
        start = time.perf_counter()
        for _ in iterator:
            pass
        seconds = time.perf_counter() - start
        made.close()
        used.append(cpu_seconds() - before)
    return seconds / batches, (used[1] - used[0]) / batches


@click.command(help=__doc__)
@click.option("--images", type=click.Path(exists=True), default=str(SAMPLE), help="Folder of images.")
@click.option("--crop", default=321, show_default=True, help="Side of the crop in pixels.")
@click.option("--batch", default=2, show_default=True, help="Labeled and unlabeled images per batch, each.")
@click.option("--box-source", type=click.Choice(["in_batch", "second_view"]), default="in_batch")
@click.option("--parallel-calls", type=int, default=None, help="Threads; by default the pipeline's own choice.")
@click.option("--batches", default=40, show_default=True, help="Batches to measure.")
@click.option("--pipeline", "wanted", type=click.Choice(["both", TF_DATA, WORKERS]), default="both", show_default=True)
def main(images, crop, batch, box_source, parallel_calls, batches, wanted):
    """Measure and print."""
    pipelines = [choose_pipeline(name) for name in ((TF_DATA, WORKERS) if wanted == "both" else (wanted,))]
    if TF_DATA in pipelines:
        import tensorflow as tf

        tf.config.threading.set_intra_op_parallelism_threads(1)
    samples, pillow = unlabeled_samples(images), Pillow(crop)
    options = {"crop": crop, "batch_size": batch, "normalization": NORMALIZATION, "box_source": box_source}
    turns: dict[str, list] = {name: [] for name in [*pipelines, "Pillow"]}
    with tempfile.TemporaryDirectory() as folder:
        labeled = with_masks(samples, folder)
        make = functools.partial(training_batches, labeled, samples, parallel_calls=parallel_calls, **options)
        dataset = make(pipeline=TF_DATA) if TF_DATA in pipelines else None
        for _ in range(3):
            if TF_DATA in pipelines:
                turns[TF_DATA].append(speed(dataset, batches))
            if WORKERS in pipelines:
                turns[WORKERS].append(worker_speed(functools.partial(make, pipeline=WORKERS), batches))
            turns["Pillow"].append((0.0, 2 * batch / pillow_speed(pillow, labeled, samples, 2 * batch * batches)))
    click.echo(
        f"crop {crop}, {batch} + {batch} images, {box_source}, {len(samples)} files, {os.cpu_count()} CPUs, "
        "medians of 3 turns:"
    )
    for name, times in turns.items():
        ratio = statistics.median(theirs / ours for (_, ours), (_, theirs) in zip(times, turns["Pillow"], strict=True))
        per_core = 2 * batch / statistics.median(cpu for _, cpu in times)
        wall = f", a batch takes {statistics.median(t for t, _ in times):.3f} s on all cores" if times[0][0] else ""
        click.echo(f"{name:8s} {per_core:6.1f} images per second and core, {ratio:.2f} x Pillow{wall}")
    for name in pipelines:
        times_of = stages(name, samples, crop)
        for stage, value in times_of.items():
            click.echo(f"{name:8s} {stage:15s} {value:6.1f} ms  {100 * value / sum(times_of.values()):5.1f} %")
