"""ST and ST++: training on labeled and pseudo-labeled images, and the options of the labeling between stages."""

import dataclasses

import keras
from keras import ops

from rankmatch_keras import IGNORE_INDEX
from rankmatch_keras.layers import box_mask, mix
from rankmatch_keras.layers.base import uniform
from rankmatch_keras.losses import SupervisedLoss
from rankmatch_keras.methods.base import LABELED, Method

NOISE = 2.2  # about the range of 8-bit colors by ImageNet's mean and deviation


@dataclasses.dataclass(frozen=True)
class Labeling:
    """Options of the labeling of the unlabeled images, see `SelfTraining`.

    Raises:
        ValueError: an option is out of its range.
    """

    plus_plus: bool = True
    reliable_share: float = 0.5
    label_scales: tuple[float, ...] = (0.5, 0.75, 1.0, 1.5, 2.0)
    label_flip: bool = True

    def __post_init__(self):
        object.__setattr__(self, "label_scales", tuple(float(scale) for scale in self.label_scales))
        if not 0.0 < self.reliable_share < 1.0 or not self.label_scales or min(self.label_scales) <= 0:
            raise ValueError(
                "Expected a reliable_share between 0 and 1, and label_scales above 0. "
                f"Received: reliable_share={self.reliable_share}, label_scales={self.label_scales}"
            )


@keras.saving.register_keras_serializable("rankmatch_keras")
class SelfTraining(Method):
    """`L = (L_sup + L_pseudo) / 2`, a retraining of ST and ST++ (Yang et al., CVPR 2022, Sections 3.2-3.4).

    Both are cross-entropies, over the labeled images and over strong views (jitter, gray, blur) of images that an
    earlier network labeled; half of the latter lose a box of 2 to 40 % of their area to noise, and its labels.

    The command line runs the stages around it (`rankmatch train ... --method selftraining`), each as a run of its own
    in `stages/` of the run directory, but for the last one, which is the run itself; each takes `--steps` and begins
    with new weights. ST: train on the labeled images alone, label, retrain. ST++: train, keeping networks after 1/3,
    2/3 and all of it; select the images that they agree on (mean of the IoU of either early prediction with the last);
    label the first half; retrain; label the rest; retrain on all. Labels are the classes of whole images with the
    largest sum of probabilities over scales and mirror images, by the network with the best validation score.

    Differences from the publication: each batch is half labeled and half pseudo-labeled, not only on average; noise is
    uniform in the normalized image.

    Args:
        segmenter: the network to train.
        plus_plus: ST++ rather than ST.
        reliable_share: fraction of the images that ST++ labels first.
        label_scales: sizes at which the images are labeled.
        label_flip: whether mirror images are predicted too.
        seed: int or `None`, of the noise.
        **kwargs: see `Method`.
    """

    required = (*LABELED, "strong_image_1", "pseudo_mask", "cutmix_box_1")

    def __init__(
        self,
        segmenter,
        *,
        plus_plus: bool = Labeling.plus_plus,
        reliable_share: float = Labeling.reliable_share,
        label_scales: tuple[float, ...] = Labeling.label_scales,
        label_flip: bool = Labeling.label_flip,
        seed: int | None = None,
        **kwargs,
    ):
        super().__init__(segmenter, **kwargs)
        labeling = Labeling(plus_plus, reliable_share, label_scales, label_flip)
        self.plus_plus = labeling.plus_plus
        self.reliable_share = labeling.reliable_share
        self.label_scales = labeling.label_scales
        self.label_flip = labeling.label_flip
        self.seed = seed
        self.noise = keras.random.SeedGenerator(seed)
        self.pseudo_loss = SupervisedLoss(IGNORE_INDEX)
        self.term_weights = {"supervised": 0.5, "pseudo": 0.5}

    def stages(self):
        """Return the only stage."""
        return (self.stage,)

    def stage(self, batch, carry):
        """Compute both terms from one pass."""
        images, masks = self.cut_out(batch)
        labeled = ops.shape(batch["labeled_image"])[0]
        logits = self.passes(self.segmenter, labeled=batch["labeled_image"], strong=images)["logits"]
        terms = {
            "supervised": self.supervised_loss(batch["labeled_mask"], logits[:labeled]),
            "pseudo": self.pseudo_loss(masks, logits[labeled:]),
        }
        return terms, carry

    def cut_out(self, batch):
        """Return the strong views with noise in their boxes, and the labels without them."""
        images, masks = batch["strong_image_1"], batch["pseudo_mask"]
        shape = ops.shape(images)
        boxes = box_mask(batch["cutmix_box_1"], shape[1:3])
        noise = uniform(shape, self.noise, -NOISE, NOISE)
        masks = ops.where(boxes, IGNORE_INDEX, ops.cast(masks, "int32"))
        return mix(images, ops.cast(noise, images.dtype), boxes), masks
