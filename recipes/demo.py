"""What unlabeled images are worth, on the embedded sample scenes, in a few minutes on 2 cores.

Example:
  rankmatch train recipes/demo.py --out runs/demo

Trains a small network three times with the same steps and seed: on 12 labeled scenes alone, on these and 116 unlabeled
ones with RankMatch, and with the labels of all 128. Prints IoU per class
before and after, and how much of the gap between few and all labels the unlabeled images close.
"""

import dataclasses
from pathlib import Path

from rankmatch_keras.cli import recipe

SAMPLE = Path(__file__).resolve().parents[1] / "data" / "sample"


def compare(options):
    """Train the three ways and compare."""
    import rankmatch_keras
    from rankmatch_keras import evaluation

    alone = {"method": "supervised", "set": ()}  # without the method's own options
    ways = {"supervised": alone, options.method: {}, "all labels": {**alone, "labels": None}}
    trained = {}
    for name, changes in ways.items():
        print(f"\n== {name}")
        out = options.folder / name.replace(" ", "-")
        trained[name] = rankmatch_keras.train(dataclasses.replace(options, out=out, **changes), score_before=True)
    scores = {"before": trained[options.method].before} | {name: each.scores for name, each in trained.items()}
    print(f"\n{evaluation.format_comparison(scores)}\n")
    _, few, ours, full = (100 * score.mean_iou for score in scores.values())
    print(f"{options.method} with {options.labels} labels: {ours - few:+.1f} points of mean IoU over the labels alone.")
    if full - few >= 4.0:
        print(
            f"It closes {100 * (ours - few) / (full - few):.0f} % of the gap of {full - few:.1f} points to all labels."
        )
    curves = options.folder / "curves.png"
    evaluation.save_curves(curves, {name: each.run.history for name, each in trained.items()}, "Sample scenes")
    print(f"Look at {curves} and {trained[options.method].run.folder / 'predictions.png'}")


main = recipe(
    __doc__,
    compare,
    recipe="practical",
    dataset="SampleScenes",
    data=SAMPLE,
    out=Path("runs/demo"),
    labels=12,
    backbone="tiny",
    weights=None,
    aspp_filters=64,
    decoder_filters=48,
    crop=97,
    min_scale=0.75,
    max_scale=1.5,
    steps=800,
    interval=100,
    learning_rate=0.002,  # from random weights
    l2=1e-3,
    keep="last",  # the validation scenes are those that are reported
)

if __name__ == "__main__":
    main()
