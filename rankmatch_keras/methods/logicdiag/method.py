"""LogicDiag: pseudo-labels that break the rules of a class hierarchy are repaired before they teach."""

from collections.abc import Sequence

import keras
from keras import ops

from rankmatch_keras import backend
from rankmatch_keras.layers import box_mask, mix
from rankmatch_keras.losses.nodes import NodeLoss
from rankmatch_keras.methods.contrastive import fraction_of_valid
from rankmatch_keras.methods.logicdiag.diagnosis import Diagnosis
from rankmatch_keras.methods.teachers import MeanTeacherBase, partners
from rankmatch_keras.models.tree_segmenter import with_tree


@keras.saving.register_keras_serializable("rankmatch_keras")
class LogicDiag(MeanTeacherBase):
    """`L = (L_sup + (L_s1 + L_s2) / 2) / 2` (Liang et al., ICCV 2023: Logic-induced Diagnostic Reasoning).

    The classes are the leaves of a tree, and the network has a sigmoid at each of its nodes (`models.with_tree`); it
    predicts the class with the largest product of probabilities along its path. The EMA teacher's nodes on the weak
    view are repaired by `Diagnosis` until they satisfy the rules of the tree. All terms are the `NodeLoss`, L_s1 and
    L_s2 that of two strong views with CutMix boxes, on the repaired labels of all confidences.

    This follows public descriptions of the method, not the authors' program, which is not public. Decided here: the
    rules and their fuzzy truth, see `Rules`; the root, always true, is a group; a node's conflict degree is of its
    pixel; a diagnosis has at most two nodes, and pixels without one are left out of the terms and their divisors;
    groups are a 1x1 convolution beside the classifier; cross-entropies are summed over the nodes; boxes come from the
    batch in reverse order.

    Args:
        segmenter: the network to train; it gets the nodes of the groups.
        hierarchy: the tree: of each node, the K classes first and then the groups, the number of the group above it, or
            -1 at the top. `data.parents_of` makes it of names.
        ema_decay: decay of the teacher.
        sample: whether a diagnosis is sampled by its likelihood, in place of the most likely one.
        seed: int or `None`, of the samples.
        **kwargs: see `Method`.

    Raises:
        ValueError: the hierarchy is no tree of the network's classes.
    """

    required: tuple[str, ...] = (
        *MeanTeacherBase.required,
        *("strong_image_1", "strong_image_2", "cutmix_box_1", "cutmix_box_2"),
    )
    diagnostics = ("mask_ratio", "conflict")
    labeled_output = "nodes"

    def __init__(
        self,
        segmenter,
        *,
        hierarchy: Sequence[int],
        ema_decay: float = 0.996,
        sample: bool = False,
        seed: int | None = None,
        **kwargs,
    ):
        hierarchy = tuple(int(parent) for parent in hierarchy)
        super().__init__(with_tree(segmenter, hierarchy), ema_decay=ema_decay, **kwargs)
        self.hierarchy = hierarchy
        self.sample = sample
        self.seed = seed
        self.diagnosis = Diagnosis(hierarchy, sample, seed)
        self.supervised_loss = NodeLoss(hierarchy, self.ignore_index, self.ohem, self.labeled_loss, self.class_weights)
        self.repaired_loss = NodeLoss(hierarchy, self.ignore_index)
        self.term_weights = {"supervised": 0.5, "strong_1": 0.25, "strong_2": 0.25}

    def stages(self):
        """Return a stage of labeled images and weak view, and one of the strong views."""
        return (self.weak_stage, self.strong_stage)

    def weak_stage(self, batch, carry):
        """Compute the supervised term, and the repaired labels of the weak view."""
        with backend.step.no_gradient():
            label, known, conflict = self.diagnosis(self.teacher(batch["weak_image"])["nodes"])
        terms, _ = self.labeled_stage(batch, carry)
        terms["mask_ratio"] = fraction_of_valid(known, batch["valid"])
        terms["conflict"] = fraction_of_valid(conflict, batch["valid"])
        return terms, ops.where(ops.logical_and(known, batch["valid"]), label, self.ignore_index)

    def strong_stage(self, batch, mask):
        """Compute the terms of the strong views from the repaired labels `(B, H, W)`."""
        images, masks = [], []
        for number in (1, 2):
            image = batch[f"strong_image_{number}"]
            boxes = box_mask(batch[f"cutmix_box_{number}"], ops.shape(image)[1:3])
            images.append(mix(image, partners(image), boxes))
            masks.append(mix(mask, partners(mask), boxes))
        nodes = self.passes(self.segmenter, strong=ops.concatenate(images))["nodes"]
        first, second = (self.repaired_loss(*view) for view in zip(masks, ops.split(nodes, 2), strict=True))
        return {"strong_1": first, "strong_2": second}, None
