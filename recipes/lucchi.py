"""Mitochondria in electron microscopy (Lucchi et al., 2011) from few labeled slices, cf. the article's Table 3.

Example:
  KERAS_BACKEND=torch rankmatch train recipes/lucchi.py --data path/to/lucchi --labels 10 --out runs/l10

Data: gray slices, 1024 x 768, every second one of the volume: 165 for training, 83 for testing. --method supervised
gives the baseline. docs/results.md has the scores that were seen and their times, on 2 cores without a GPU.
"""

from rankmatch_keras.cli import recipe

main = recipe(
    __doc__,
    dataset="Lucchi",
    labels=10,
    crop=193,
    batch=2,
    steps=300,
    learning_rate=0.03,  # smaller ones do not get beyond the background in so few steps
    head_multiplier=3.0,
    min_scale=0.4,
    max_scale=1.0,  # the slices are large: smaller views show whole mitochondria
    val_limit=12,
)

if __name__ == "__main__":
    main()
