"""Street scenes of CamVid (Brostow et al., 2009) from few labeled frames; 11 classes.

Example:
  KERAS_BACKEND=torch rankmatch train recipes/camvid.py \\
      --data path/to/camvid --weights mobilenet_v2_imagenet_no_top.weights.h5 --out runs/camvid

Data: 23 of 367 training frames labeled (1/16), the 233 test frames scored. --method supervised gives the baseline.
Seen at 256 x 192 with --crop 161 on PyTorch: 36.8 mean IoU for the baseline and 30.9 for RankMatch after 500 steps;
docs/results.md has all scores and times, measured on 2 cores without a GPU.
"""

from rankmatch_keras.cli import recipe

main = recipe(
    __doc__,
    dataset="CamVid",
    labels=23,
    crop=193,
    batch=4,
    steps=500,
    learning_rate=0.01,
    head_multiplier=3.0,
    val_limit=25,
)

if __name__ == "__main__":
    main()
