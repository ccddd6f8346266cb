"""Mean Teacher: consistency with an EMA teacher's probabilities on the same images, labeled and unlabeled."""

import keras
from keras import ops

from rankmatch_keras.losses import ProbabilityConsistencyLoss
from rankmatch_keras.methods.base import LABELED
from rankmatch_keras.methods.teachers import MeanTeacherBase


@keras.saving.register_keras_serializable("rankmatch_keras")
class MeanTeacher(MeanTeacherBase):
    """`L = L_sup + w mean (softmax z - softmax z_t)^2` (Tarvainen and Valpola, NeurIPS 2017, Section 2).

    The mean is over all pixels and classes of labeled and unlabeled images, which student and teacher see alike, both
    in training mode with batch statistics of their own. No threshold and no ramp. This is the form that CPS (Chen et
    al., CVPR 2021) compares with. It differs in one point: labeled and unlabeled images pass the networks together.

    Args:
        segmenter: the student.
        consistency_weight: w.
        ema_decay: decay of the teacher.
        **kwargs: see `Method`.
    """

    required: tuple[str, ...] = (*LABELED, "weak_image")
    teacher_trains = True

    def __init__(self, segmenter, *, consistency_weight: float = 100.0, **kwargs):
        super().__init__(segmenter, **kwargs)
        self.consistency_weight = consistency_weight
        self.consistency_loss = ProbabilityConsistencyLoss("mean")
        self.term_weights = {"supervised": 1.0, "consistency": consistency_weight}

    def stages(self):
        """Return the only stage."""
        return (self.joint_stage,)

    def joint_stage(self, batch, carry):
        """Compute both terms from one pass of each network."""
        images = {"labeled": batch["labeled_image"], "weak": batch["weak_image"]}
        target = self.teacher_logits(**images)
        logits = self.passes(self.segmenter, **images)["logits"]
        labeled_logits = logits[: ops.shape(batch["labeled_image"])[0]]
        return {
            "supervised": self.supervised_loss(batch["labeled_mask"], labeled_logits),
            "consistency": self.consistency_loss(target, weight=1.0, logits=logits),
        }, None
