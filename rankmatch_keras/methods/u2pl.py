"""U2PL: unreliable pseudo-labels still tell which classes a pixel does not belong to."""

import keras
from keras import ops

from rankmatch_keras import backend
from rankmatch_keras.layers import pseudo_labels
from rankmatch_keras.layers.base import Float32Layer
from rankmatch_keras.layers.class_memory import ClassBank, mean_vectors
from rankmatch_keras.layers.pixels import on_grid, pixel_rows
from rankmatch_keras.layers.pseudo_labels import masked_quantiles, pixel_entropy
from rankmatch_keras.layers.sampling import choose, class_members, gather_chosen, random_scores
from rankmatch_keras.losses.contrast import ContrastiveLoss
from rankmatch_keras.methods.contrastive import ContrastiveBase, fraction_of_valid, mask_and_known, paste_partners

DROPPED = 0.2  # fraction of the pixels that are unreliable at the beginning; 0 at the end
SURE = 0.3  # probability of its class that an anchor exceeds
FIRST_RANKS = 3  # classes that are likely; those after them are not, down to
LAST_RANK = 20
TEMPERATURE = 0.5


@keras.saving.register_keras_serializable("rankmatch_keras")
class U2PL(ContrastiveBase):
    """`L = L_sup + L_u + w L_c` (Wang et al., CVPR 2022, Section 3).

    L_u is the cross-entropy on box-mixed weak views against the EMA teacher's labels, without the `20 % * (1 - t)` of
    the pixels whose entropy is highest, t being the finished fraction of the training; it grows by the fraction of
    pixels that are kept. L_c is the `UnreliableContrast`. The teacher labels in inference mode; a second pass in
    training mode, over the student's images, gives its entropies, its representations and its batch statistics.

    Differences from the publication: the bank keeps the same number for every class (there 50000 for class 0) and takes
    a limited number per step; anchors are sampled without replacement, and the negatives of a class for all its anchors
    together; the head has no dropout. The published program stores a negative under a class only if it has that very
    label, and mispairs late classes; here both follow the article.

    Args:
        segmenter: the network to train.
        contrast_weight: w.
        warm_up: fraction of the training with labeled images alone; 1 of 80 epochs on Pascal VOC, 0 on Cityscapes.
        capacity: negatives kept per class; 21 classes take 645 MB with 30000.
        added: negatives stored per class and step, at most.
        anchors: anchors per class and step.
        negatives: negatives per class and step.
        **kwargs: see `ContrastiveBase` and `Method`.
    """

    head_layers = {"kernel_sizes": (3, 3)}

    def __init__(
        self,
        segmenter,
        *,
        contrast_weight: float = 1.0,
        warm_up: float = 0.0125,
        capacity: int = 30000,
        added: int = 512,
        anchors: int = 256,
        negatives: int = 50,
        **kwargs,
    ):
        super().__init__(segmenter, warm_up=warm_up, **kwargs)
        self.contrast_weight = contrast_weight
        self.capacity = capacity
        self.added = added
        self.anchors = anchors
        self.negatives = negatives
        self.contrast = UnreliableContrast(
            self.num_classes, self.channels, capacity, added, anchors, negatives, seed=self.seed
        )
        self.term_weights = {"supervised": 1.0, "unsupervised": 1.0, "contrast": contrast_weight}

    def stages(self):
        """Return the only stage."""
        return (self.joint_stage,)

    def joint_stage(self, batch, carry):
        """Compute all terms from one pass of the student and two of the teacher."""
        done = self.advance()
        share = DROPPED * (1.0 - done)
        with backend.step.no_gradient():
            label, _ = pseudo_labels(self.teacher(batch["weak_image"])["logits"])
        boxes = self.boxes(batch)
        image, label, valid = (paste_partners(values, boxes) for values in (batch["weak_image"], label, batch["valid"]))
        valid = ops.logical_and(valid, done >= self.warm_up)
        images = {"labeled": batch["labeled_image"], "strong": image}
        student, teacher = self.student_outputs(**images), self.teacher_outputs(True, **images)
        entropy = pixel_entropy(teacher["logits"])

        num_labeled = ops.shape(batch["labeled_image"])[0]
        (highest,) = masked_quantiles(entropy[num_labeled:], valid, 1.0 - share)
        kept = entropy[num_labeled:] <= highest
        truth, known = mask_and_known(batch, self.ignore_index)
        contrast = self.contrast(
            student["representation"],
            teacher["representation"],
            teacher["logits"],
            ops.concatenate([truth, label]),
            ops.concatenate([ops.logical_and(known, done >= self.warm_up), valid]),
            entropy,
            share=share,
            num_labeled=num_labeled,
        )
        return {
            "supervised": self.supervised_loss(batch["labeled_mask"], student["logits"][:num_labeled]),
            "unsupervised": self.consistency_loss(label, kept, valid, student["logits"][num_labeled:]),
            "contrast": contrast,
            "mask_ratio": fraction_of_valid(kept, valid),
        }, None


@keras.saving.register_keras_serializable("rankmatch_keras")
class UnreliableContrast(Float32Layer):
    """Contrast of reliable pixels with pixels that are surely of another class (Wang et al., CVPR 2022, Section 3).

    For each class of the batch: anchors are the student's representations of reliable pixels whose probability of the
    class exceeds 0.3; the positive is the mean of the teacher's representations of the reliable pixels; negatives come
    from a bank of the teacher's representations of pixels that are probably not of the class, namely

    - unreliable unlabeled pixels for which the teacher ranks the class 3 to 19, counted from 0;
    - labeled pixels of another class for which it is among the first 3.

    Reliable are labeled pixels and the `share` of lowest entropy among the unlabeled ones, unreliable the `share` of
    highest entropy. With three classes or fewer the last one stands for the ranks from 3 on.

    Args:
        num_classes: number of classes C.
        channels: length D of a representation.
        capacity: negatives that the bank keeps per class.
        added: how many of them are new in each step, at most.
        anchors: anchors per class and step.
        negatives: negatives per class and step, sampled for all its anchors together.
        seed: int or `None`.
    """

    def __init__(
        self,
        num_classes: int,
        channels: int,
        capacity: int = 30000,
        added: int = 512,
        anchors: int = 256,
        negatives: int = 50,
        seed: int | None = None,
        **kwargs,
    ):
        super().__init__(**kwargs)
        self.num_classes = num_classes
        self.channels = channels
        self.capacity = capacity
        self.added = min(added, capacity)
        self.anchors = anchors
        self.negatives = negatives
        self.seed = seed
        self.bank = ClassBank(num_classes, capacity, channels, seed=seed)
        self.seed_generator = keras.random.SeedGenerator(seed)
        self.loss = ContrastiveLoss(TEMPERATURE)

    def call(self, student, teacher, logits, label, valid, entropy, share, num_labeled):
        """Update the bank and compute the loss; labeled images come first.

        Args:
            student: `(B, h, w, D)` float32, representations with gradient.
            teacher: `(B, h, w, D)` float32.
            logits: `(B, H, W, K)` float, the teacher's.
            label: `(B, H, W)` int, the truth or pseudo-labels.
            valid: `(B, H, W)` bool, the pixels to use.
            entropy: `(B, H, W)` float32 of the teacher.
            share: fraction of the pixels that are reliable, and of those that are unreliable.
            num_labeled: how many of the images are labeled.

        Returns:
            Scalar float32.
        """
        grid = ops.shape(student)[1:3]
        images = ops.shape(student)[0]
        labeled = ops.arange(images, dtype="int32")[:, None, None] < num_labeled  # (B, 1, 1)
        least, most = masked_quantiles(entropy[num_labeled:], valid[num_labeled:], share, 1.0 - share)
        reliable = ops.logical_and(valid, ops.logical_or(labeled, entropy <= least))
        unreliable = ops.logical_and(valid, ops.logical_or(labeled, entropy >= most))
        label, reliable, unreliable = (pixel_rows(on_grid(x, grid)) for x in (label, reliable, unreliable))
        labeled = pixel_rows(ops.logical_or(labeled, ops.zeros_like(on_grid(valid, grid))))
        probabilities = ops.softmax(pixel_rows(on_grid(ops.cast(logits, "float32"), grid)), axis=-1)  # (N, K)
        scores = ops.concatenate(
            [
                random_scores(count, grid[0] * grid[1], self.seed_generator)
                for count in (num_labeled, images - num_labeled)
            ]
        )
        student, teacher = pixel_rows(student), ops.stop_gradient(pixel_rows(teacher))

        own = class_members(label, self.num_classes, reliable)  # (C, N)
        others = self.negative_pixels(probabilities, label, labeled, unreliable)
        self.bank.push(*gather_chosen(teacher, choose(others, scores, self.added)))
        positives, _ = mean_vectors(teacher, own)
        sure = ops.logical_and(own, ops.transpose(probabilities) > SURE)
        choice = choose(sure, scores, self.anchors)
        negatives, counted = self.bank.sample(self.negatives)
        anchors = ops.take(student, choice.indices, axis=0)
        return self.loss(anchors, choice.exist, positives[:, None], negatives, counted[:, None])

    def negative_pixels(self, probabilities, label, labeled, counted):
        """Return which pixels are probably not of each class: `(C, N)` bool from `(N, K)` and rows `(N,)`."""
        ranks = ops.transpose(ops.argsort(ops.argsort(-probabilities, axis=-1), axis=-1))  # (C, N), 0 the likeliest
        first = min(FIRST_RANKS, self.num_classes - 1)
        everywhere = ops.ones_like(label, dtype="bool")
        mistaken = ops.logical_and(ranks < FIRST_RANKS, ~class_members(label, self.num_classes, everywhere))
        improbable = ops.logical_and(ranks >= first, ranks < LAST_RANK)
        return ops.logical_and(ops.where(labeled[None], mistaken, improbable), counted[None])
