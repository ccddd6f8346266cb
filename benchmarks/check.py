"""Speed of `rankmatch check` on a synthetic set of JPEG images with PNG masks, as a whole and by stage.

    python benchmarks check --images 1000 --size 500x400

A tenth of the images are for validation. The stages are measured on one thread; the check itself uses all cores.
"""

import tempfile
import time
from pathlib import Path

import click
import numpy as np
from PIL import Image

from rankmatch_keras.check import check
from rankmatch_keras.check.duplicates import fingerprint, near
from rankmatch_keras.check.inspection import inspect, inspect_header
from rankmatch_keras.data.sets.samples import Sample, SegmentationData

CLASSES = ("ground", "stone", "plank", "tile", "ring")


def write_samples(folder: Path, count: int, width: int, height: int) -> tuple[Sample, ...]:
    """Write images of coarse structure and noise, which decode like photographs, with masks of five classes."""
    samples = []
    for number in range(count):
        rng = np.random.default_rng(number)
        coarse = rng.integers(0, 200, (height // 20, width // 20, 3)).astype(np.uint8)
        smooth = np.asarray(Image.fromarray(coarse).resize((width, height), Image.Resampling.BICUBIC))
        noise = rng.integers(0, 16, (height, width, 3), dtype=np.uint8)
        Image.fromarray(smooth // 2 + noise).save(folder / f"{number:05d}.jpg", quality=90)
        ids = (smooth[..., 0] // 41).astype(np.uint8)
        Image.fromarray(np.minimum(ids, 4)).save(folder / f"{number:05d}.png")
        samples.append(Sample(f"{number:05d}", folder / f"{number:05d}.jpg", folder / f"{number:05d}.png"))
    return tuple(samples)


def seconds(function, *arguments, **options) -> float:
    """Return how long one call takes."""
    start = time.perf_counter()
    function(*arguments, **options)
    return time.perf_counter() - start


def milliseconds_each(function, items) -> float:
    """Return the mean time of one call in milliseconds."""
    return 1e3 * seconds(lambda: [function(item) for item in items]) / len(items)


@click.command(help=__doc__)
@click.option("--images", default=1000, show_default=True, help="Number of images.")
@click.option("--size", default="500x400", show_default=True, help="Width and height in pixels.")
def main(images, size):
    """Measure and print."""
    width, height = map(int, size.split("x"))
    with tempfile.TemporaryDirectory() as folder:
        samples = write_samples(Path(folder), images, width, height)
        cut = max(1, images // 10)
        dataset = SegmentationData("synthetic", samples[cut:], samples[:cut], CLASSES)
        click.echo(f"{images} images of {width} x {height} with masks")
        click.echo(f"whole check           {seconds(check, dataset):6.2f} s")
        click.echo(f"part before training  {seconds(check, dataset, thorough=False):6.2f} s")
        few = samples[:100]
        pictures = [sample.read_image() for sample in few]
        stages = {
            "header only": milliseconds_each(lambda sample: inspect_header(sample, "unlabeled"), few),
            "decode image": milliseconds_each(lambda sample: sample.read_image(), few),
            "decode mask": milliseconds_each(lambda sample: sample.read_mask(), few),
            "fingerprint": milliseconds_each(fingerprint, pictures),
            "all of one sample": milliseconds_each(lambda sample: inspect(sample, "labeled", 5), few),
        }
        for name, value in stages.items():
            click.echo(f"{name:20s}  {value:6.2f} ms an image, one thread")
    rng = np.random.default_rng(0)
    prints = [fingerprint(rng.integers(0, 256, (18, 16, 3), dtype=np.uint8)) for _ in range(10_000)]
    click.echo(f"10,000 fingerprints compared with each other  {seconds(near, prints, prints):6.2f} s")
