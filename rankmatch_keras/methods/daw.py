"""DAW: UniMatch whose threshold weighs right against wrong labels, and whose labels are aligned with the truth's."""

import keras
from keras import ops

from rankmatch_keras.layers import pseudo_labels
from rankmatch_keras.layers.class_memory import ClassAverages
from rankmatch_keras.layers.gaussian_threshold import GaussianThreshold
from rankmatch_keras.losses import WeightedConsistencyLoss
from rankmatch_keras.methods.teachers import AveragedTeacher
from rankmatch_keras.methods.unimatch import UniMatch
from rankmatch_keras.methods.weak_to_strong import decide
from rankmatch_keras.models.segmenter import class_count


@keras.saving.register_keras_serializable("rankmatch_keras")
class DAW(UniMatch):
    """UniMatch's loss with another threshold and other pseudo-labels (Sun et al., NeurIPS 2023, Section 3).

    The threshold is where the confidences of right and of wrong predictions on labelled pixels are equally likely, see
    `GaussianThreshold`; it follows the batch before it is applied. Probabilities on unlabelled images are multiplied by
    `a_c / b_c`, moving averages of the mean confidence of the pixels predicted as class c on labelled and on unlabelled
    images, and divided by their sum, before label and confidence are taken.

    The average of the student's weights is evaluated and nothing else; the publication reports the better one of it
    and the student. What differs: both averages begin with 1, which aligns nothing, and where boxes come from a second
    view b follows it and the weak view one after the other.

    Args:
        segmenter: the network that is trained.
        threshold: the threshold before the first step.
        momentum: share of the old value in all moving averages of confidences.
        average_decay: decay of the evaluated average.
        **kwargs: see `UniMatch`.
    """

    diagnostics = (*UniMatch.diagnostics, "threshold")

    def __init__(self, segmenter, *, momentum: float = 0.99, average_decay: float = 0.999, **kwargs):
        super().__init__(segmenter, **kwargs)
        self.momentum = momentum
        self.average_decay = average_decay
        classes = class_count(segmenter)
        self.adaptive_threshold = GaussianThreshold(classes, self.threshold, momentum)
        self.labeled_confidences = ClassAverages(classes, momentum)
        self.unlabeled_confidences = ClassAverages(classes, momentum)
        self.average = AveragedTeacher(segmenter, average_decay)
        self.consistency_loss = WeightedConsistencyLoss("valid")

    @property
    def teachers(self):
        """The average, and a deciding teacher where there is one."""
        return (*super().teachers, self.average.network)

    @property
    def evaluated(self):
        """The average of the student."""
        return self.average.network

    def follow(self):
        """Moves the average after the student."""
        super().follow()
        self.average.update(self.segmenter, self.batches_per_step)

    def weak_stream(self, batch):
        """UniMatch's, from whose labelled part threshold and alignment learn."""
        stream = super().weak_stream(batch)
        mask = ops.cast(batch["labeled_mask"], "int32")
        label, confidence = pseudo_labels(stream.labeled_logits)
        has_truth = mask != self.ignore_index
        self.adaptive_threshold.update(confidence, label == mask, has_truth)
        self.labeled_confidences.update(confidence, label, has_truth)
        return stream

    def decide(self, outputs, valid):
        """The decision of the aligned probabilities."""
        label, confidence = pseudo_labels(outputs["logits"])
        self.unlabeled_confidences.update(confidence, label, valid)
        factors = self.labeled_confidences.values() / ops.maximum(self.unlabeled_confidences.values(), 1e-6)
        aligned = ops.cast(outputs["logits"], "float32") + ops.log(ops.maximum(factors, 1e-6))
        return decide({**outputs, "logits": aligned}, valid)

    def consistency(self, target, logits):
        """Pixel consistency where the confidence reaches the adaptive threshold."""
        sure = target.confidence >= self.adaptive_threshold.value()
        return self.consistency_loss(target.label, sure, target.valid, logits)

    def diagnose(self, weak, threshold=None):
        """UniMatch's values with the adaptive threshold, and the threshold itself."""
        threshold = self.adaptive_threshold.value() if threshold is None else threshold
        return {**super().diagnose(weak, threshold), "threshold": threshold}
