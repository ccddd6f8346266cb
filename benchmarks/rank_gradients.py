"""Gradient norms of RankMatch's terms for variants of its rank loss.

\b
Example:
  python benchmarks rank-gradients --data path/to/camvid --weights mobilenet_v2_imagenet_no_top.weights.h5
  python benchmarks rank-gradients --data path/to/camvid --weights FILE --steps 100

Prints, for some batches of CamVid before training or after some supervised steps, the value of the rank loss and the
norm of its weighted gradient with respect to all weights, divided by that of the supervised term. PyTorch only.
"""

import os

os.environ["KERAS_BACKEND"] = "torch"

import click
import keras
import numpy as np

from rankmatch_keras import data, methods, models, training
from rankmatch_keras.layers import ChannelNormalization

VARIANTS = {
    "paper": {},
    "reference": methods.RankMatch.presets["reference"],
    "N = 64": {"num_agents": 64},
    "top_k = 8": {"top_k": 8},
    "random agents": {"agents": "random"},
    "KL instead": {"correlation": "kl"},
    "gradient through pixels alone": {"agent_gradient": False},
    "off the padding": {"leave_out_padding": True},
    "weighted by confidence": {"weight_by_confidence": True},
    "temperature 16": {"temperature": 16.0},
    "cosine, temperature 0.1": {"similarity": "cosine", "temperature": 0.1},
}


def gradients(method, batch, names):
    """Return the weighted sum of the named terms and the norm of its gradient."""
    method.zero_grad()
    terms = method.compute_terms(batch)
    value = sum(method.term_weights[name] * terms[name] for name in names)
    value.backward()
    squares = [float((v.value.grad**2).sum()) for v in method.trainable_variables if v.value.grad is not None]
    return float(value.detach()), float(np.sqrt(sum(squares)))


def make(segmenter, options):
    """Return RankMatch with the options of a variant."""
    return methods.RankMatch(segmenter, seed=0, **options)


@click.command(help=__doc__)
@click.option("--data", "root", required=True, help="CamVid's folder.")
@click.option("--weights", required=True, help="File with MobileNetV2's weights.")
@click.option("--crop", default=321, show_default=True)
@click.option("--batches", default=3, show_default=True, help="Number of batches to average over.")
@click.option("--steps", default=0, show_default=True, help="Supervised steps before measuring.")
@click.option("--learning-rate", default=0.01, show_default=True)
def main(root, weights, crop, batches, steps, learning_rate):
    """Measure and print the table."""
    keras.utils.set_random_seed(0)
    camvid = data.CamVid(root)
    split = data.choose_labeled(camvid.train, 23, seed=0)
    normalization = ChannelNormalization(**models.backbone_normalization("mobilenet_v2"))
    segmenter = models.deeplab_v3_plus(models.create_backbone("mobilenet_v2", weights), camvid.num_classes)
    stream = iter(
        data.training_batches(
            split.labeled,
            split.unlabeled,
            crop=crop,
            batch_size=2,
            normalization=normalization,
            seed=0,
            pipeline="workers",
        )
    )
    _train(segmenter, stream, steps, learning_rate)
    seen = [next(stream) for _ in range(batches)]
    print(f"CamVid, crop {crop}, 2 + 2 images, after {steps} supervised steps, means over {batches} batches")
    print(
        "| rank loss | its value, unweighted | weighted | gradient / supervised | pixel terms' gradient / supervised |"
    )
    print("| --- | --- | --- | --- | --- |")
    for label, options in VARIANTS.items():
        rows = []
        for batch in seen:
            method = make(segmenter, options)
            rank = [name for name in method.term_weights if name.startswith(("rank", "correlation"))]
            pixel = ["strong_1", "strong_2", "feature_dropout"]
            value, pull = gradients(method, batch, rank)
            _, supervised = gradients(method, batch, ["supervised"])
            _, consistency = gradients(method, batch, pixel)
            rows.append(
                (
                    value / sum(method.term_weights[name] for name in rank),
                    value,
                    pull / supervised,
                    consistency / supervised,
                )
            )
        print("| " + " | ".join([label, *(f"{x:.4g}" for x in np.mean(rows, axis=0))]) + " |", flush=True)


def _train(segmenter, stream, steps, learning_rate):
    """Train on the labeled images alone."""
    if not steps:
        return
    method = methods.SupervisedOnly(segmenter)
    method.compile(training.SGD(learning_rate, head_multiplier=3.0))
    for _ in range(steps):
        method.train_on_batch(next(stream))
