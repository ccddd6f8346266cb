"""Measures the input pipeline: images per second, and what share decoding, weak and strong view take.

    python benchmarks/input_pipeline.py --images data/sample/train/images --crop 321 --batch 2

The images serve as unlabelled images, and with made-up masks as labelled ones. One "image" is one labelled
image (weak view) or one unlabelled image (weak view and two strong views; with --box-source second_view two
of each). Shares are of the processor time of one unlabelled image, measured on one thread.
"""

import tempfile
import time
from pathlib import Path
from types import SimpleNamespace

import click
import numpy as np
import tensorflow as tf
from PIL import Image

from rankmatch_keras.data.batches import training_batches
from rankmatch_keras.data.decoding import read_image
from rankmatch_keras.data.folders import unlabeled_samples
from rankmatch_keras.data.samples import Sample
from rankmatch_keras.data.seeds import fold
from rankmatch_keras.data.strong import StrongAugmentation
from rankmatch_keras.data.weak import draw_geometry, weak_image

SAMPLE = Path(__file__).resolve().parents[1] / "data" / "sample" / "train" / "images"
NORMALIZATION = SimpleNamespace(mean=(123.7, 116.3, 103.5), std=(58.4, 57.1, 57.4), reverse_channels=False)


def with_masks(samples: tuple[Sample, ...], folder: str) -> list[Sample]:
    """Give up to 20 samples an empty mask of the right size."""
    labeled = []
    for sample in samples[:20]:
        mask = Path(folder) / f"{sample.name}.png"
        Image.fromarray(np.zeros(read_image(sample.image).shape[:2], np.uint8)).save(mask)
        labeled.append(Sample(sample.name, sample.image, mask))
    return labeled


def milliseconds(function, items) -> float:
    """Return the mean time of one call in milliseconds, the first one not counted."""
    function(items[0])
    start = time.perf_counter()
    for item in items:
        function(item)
    return (time.perf_counter() - start) * 1e3 / len(items)


def stages(samples: tuple[Sample, ...], crop: int) -> dict[str, float]:
    """Return the milliseconds that one unlabelled image takes in each stage."""
    strong = StrongAugmentation()

    @tf.function(autograph=False)
    def weak(image, n):
        return weak_image(image, draw_geometry(fold((0, 0), n), tf.shape(image)[:2], (crop, crop)), (crop, crop))

    @tf.function(autograph=False)
    def two_strong(view, n):
        return strong.augment(view, fold((1, 0), n)), strong.augment(view, fold((2, 0), n))

    paths = [sample.image for sample in samples[:60]]
    images = [(tf.constant(read_image(path)), tf.constant(n)) for n, path in enumerate(paths)]
    # One signature for all sizes, as in the pipeline.
    spec = (tf.TensorSpec((None, None, 3), tf.uint8), tf.TensorSpec((), tf.int32))
    weak = weak.get_concrete_function(*spec)
    views = [(weak(*pair), pair[1]) for pair in images]
    return {
        "decode": milliseconds(read_image, paths),
        "weak view": milliseconds(lambda pair: weak(*pair), images),
        "2 strong views": milliseconds(lambda pair: two_strong(*pair), views),
    }


def speed(dataset: tf.data.Dataset, batches: int) -> float:
    """Return batches per second after the first three."""
    iterator = iter(dataset)
    for _ in range(3):
        next(iterator)
    start = time.perf_counter()
    for _ in range(batches):
        next(iterator)
    return batches / (time.perf_counter() - start)


@click.command(help=__doc__)
@click.option("--images", type=click.Path(exists=True), default=str(SAMPLE), help="Folder of images.")
@click.option("--crop", default=321, show_default=True, help="Side of the crop in pixels.")
@click.option("--batch", default=2, show_default=True, help="Labelled and unlabelled images per batch.")
@click.option("--box-source", type=click.Choice(["in_batch", "second_view"]), default="in_batch")
@click.option("--parallel-calls", type=int, default=None, help="Threads; the pipeline's own choice if left out.")
@click.option("--batches", default=40, show_default=True, help="Batches to measure.")
def main(images, crop, batch, box_source, parallel_calls, batches):
    """Print the numbers."""
    tf.config.threading.set_intra_op_parallelism_threads(1)
    samples = unlabeled_samples(images)
    with tempfile.TemporaryDirectory() as folder:
        dataset = training_batches(
            with_masks(samples, folder),
            samples,
            crop=crop,
            batch_size=batch,
            normalization=NORMALIZATION,
            box_source=box_source,
            parallel_calls=parallel_calls,
        )
        rate = speed(dataset, batches)
    click.echo(
        f"{2 * batch * rate:.1f} images/s, {rate:.2f} batches/s "
        f"(crop {crop}, {batch} + {batch} images, {box_source}, {len(samples)} files)"
    )
    times = stages(samples, crop)
    for name, value in times.items():
        click.echo(f"{name:15s} {value:6.1f} ms  {100 * value / sum(times.values()):5.1f} %")


if __name__ == "__main__":
    main()
