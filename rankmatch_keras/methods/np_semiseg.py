"""NP-SemiSeg: AugSeg whose networks classify by a neural process, with memories of the classes' codes."""

import keras
from keras import ops

from rankmatch_keras.layers.class_memory import ClassBank
from rankmatch_keras.layers.pixels import on_grid, pixel_rows
from rankmatch_keras.layers.sampling import choose, class_members, gather_chosen, random_scores
from rankmatch_keras.methods.augseg import AugSeg
from rankmatch_keras.models.neural_process import neural_process_of, with_neural_process
from rankmatch_keras.models.segmenter import class_count

NEW = 64  # pixels per class and memory that a step stores


@keras.saving.register_keras_serializable("rankmatch_keras")
class NPSemiSeg(AugSeg):
    """AugSeg's loss + `0.005 KL(q_target || q_context)` (Wang et al., ICML 2023, Section 3), see `NeuralProcess`.

    Student and teacher classify by a neural process, whose centers are the means of two memories per class: of codes of
    labeled pixels (context), and of those and of confident pixels of the teacher (target). The teacher's labels are the
    mean of the probabilities of its samples, the student's losses read the mean of its logits. The segmenter with the
    neural process predicts.

    Differences from the publication: the analytic divergence of Gaussians in place of one that takes deviations for
    variances and the diagonal of a product over the batch; a step stores at most 64 random pixels of each class; the
    codes are the student's of the map before the classifier; gradients are not clipped
    (`training.SGD(global_clipnorm=5)` does it). `NeuralProcess` names those of its head.

    Args:
        segmenter: the student; its classifier is replaced.
        divergence_weight: of the last term.
        memory: codes per class in each memory.
        draws: latent vectors sampled for each image.
        seed: int or `None`, of all that is random.
        **kwargs: see `AugSeg`.
    """

    required: tuple[str, ...] = AugSeg.required

    def __init__(
        self,
        segmenter,
        *,
        divergence_weight: float = 0.005,
        memory: int = 2560,
        draws: int = 5,
        seed: int | None = None,
        **kwargs,
    ):
        super().__init__(with_neural_process(segmenter, seed=seed, draws=draws), seed=seed, **kwargs)
        self.divergence_weight = divergence_weight
        self.memory = memory
        self.draws = draws
        self.num_classes = class_count(segmenter)
        channels = self.process.channels
        self.context = ClassBank(self.num_classes, memory, channels, option="memory", seed=seed)
        self.target = ClassBank(self.num_classes, memory, channels, option="memory", seed=seed)
        self.chances = keras.random.SeedGenerator(None if seed is None else seed + 3)
        self.term_weights = {**self.term_weights, "divergence": divergence_weight}

    @property
    def process(self):
        """Student's neural process."""
        return neural_process_of(self.segmenter)

    def further_terms(self, batch, view, outputs):
        """Compute the divergence, then store the step's codes in the memories."""
        codes = outputs["decoded"]
        labeled = ops.shape(batch["labeled_image"])[0]
        divergence = self.process.divergence(codes[labeled:])
        truth = batch["labeled_mask"] != self.ignore_index
        known = (ops.where(truth, batch["labeled_mask"], 0), truth)
        believed = (view.label, ops.logical_and(view.valid, view.confidence >= self.threshold))
        self._store(self.context, codes[:labeled], *known)
        self._store(self.target, codes[:labeled], *known)
        self._store(self.target, codes[labeled:], *believed)
        self._center(self.context, self.process.context_centers)
        self._center(self.target, self.process.target_centers)
        return {"divergence": divergence}

    def _store(self, bank, codes, label, counted):
        """Store the codes of random pixels of each class."""
        images, height, width, _ = ops.shape(codes)
        label, counted = (pixel_rows(on_grid(value, (height, width))) for value in (label, counted))
        scores = random_scores(images, height * width, self.chances)
        choice = choose(class_members(label, self.num_classes, counted), scores, min(NEW, self.memory))
        bank.push(*gather_chosen(pixel_rows(codes), choice))

    def _center(self, bank, centers):
        """Move the centers of the classes that a memory holds to their means."""
        filled = ops.cast(bank.filled(), "float32")[..., None]  # (K, capacity, 1)
        count = ops.sum(filled, axis=1)
        means = ops.sum(ops.convert_to_tensor(bank.vectors) * filled, axis=1) / ops.maximum(count, 1.0)
        centers.assign(ops.stop_gradient(ops.where(count > 0, means, ops.convert_to_tensor(centers))))
