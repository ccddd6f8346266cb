"""Training step on PyTorch: stage by stage, the gradient of the whole loss with fewer activations at a time."""

import weakref

import keras
import numpy as np
import pytest

from rankmatch_keras import methods, models, training

if keras.backend.backend() != "torch":
    pytest.skip("the step is PyTorch's", allow_module_level=True)

import torch

METHODS = [methods.SupervisedOnly, methods.FixMatch, methods.UniMatch, methods.RankMatch]


def make(kind, optimizer=None):
    keras.utils.set_random_seed(0)
    segmenter = models.deeplab_v3_plus(models.create_backbone("tiny"), 3, aspp_filters=16, decoder_filters=8)
    options = {} if kind is methods.SupervisedOnly else {"threshold": 0.0}
    if kind in (methods.UniMatch, methods.RankMatch):
        options["seed"] = 0
    method = kind(segmenter, **options)
    method.compile(optimizer or training.SGD(0.1, momentum=0.0, l2=0.0))
    return method


def batch_of(size=65):
    rng = np.random.default_rng(0)
    names = ("labeled_image", "weak_image", "strong_image_1", "strong_image_2")
    boxes = np.int32([[4, 6, 40, 45], [0, 0, 0, 0]])
    return {
        **{name: rng.normal(size=(2, size, size, 3)).astype("float32") for name in names},
        "labeled_mask": rng.integers(0, 3, (2, size, size)).astype("int32"),
        "valid": np.ones((2, size, size), bool),
        "cutmix_box_1": boxes,
        "cutmix_box_2": boxes[::-1].copy(),
    }


def applied_gradients(method, batch):
    """Return the gradients that one step hands to the optimizer, and the values that it logs."""
    seen = []
    method.optimizer.apply = lambda gradients, variables: seen.extend(g.detach().clone() for g in gradients)
    logs = method.train_on_batch(batch, return_dict=True)
    return [gradient.numpy() for gradient in seen], {name: float(value) for name, value in logs.items()}


def statistics(method):
    return [v.numpy() for v in method.segmenter.non_trainable_variables if v.dtype == "float32"]


@pytest.mark.parametrize("kind", METHODS)
def test_gradients_are_those_of_the_whole_loss(kind):
    batch = batch_of()
    whole, staged = make(kind), make(kind)
    whole.zero_grad()
    losses = whole.compute_losses(batch)
    losses["loss"].backward()
    gradients, logs = applied_gradients(staged, batch)
    assert len(gradients) == len(whole.trainable_variables)
    scale = max(variable.value.grad.abs().max().item() for variable in whole.trainable_variables)
    for variable, found in zip(whole.trainable_variables, gradients, strict=True):
        np.testing.assert_allclose(found, variable.value.grad.numpy(), rtol=1e-6, atol=1e-6 * scale)
    assert logs == pytest.approx({name: value.item() for name, value in losses.items()}, rel=1e-6)
    for one, other in zip(statistics(whole), statistics(staged), strict=True):
        np.testing.assert_array_equal(one, other)


def test_loss_scale_multiplies_every_stage():
    scaled = keras.optimizers.LossScaleOptimizer(training.SGD(0.1), initial_scale=1024.0)
    found, expected = (
        applied_gradients(make(methods.RankMatch, optimizer), batch_of()) for optimizer in (scaled, None)
    )
    for one, other in zip(found[0], expected[0], strict=True):
        np.testing.assert_array_equal(one, 1024.0 * other)
    assert found[1] == expected[1]


class Kept:
    """Holder of a tensor for as long as the backward pass needs it."""

    def __init__(self, tensor):
        self.tensor = tensor


def test_activations_of_a_stage_are_gone_before_the_next():
    method, kept, alive = make(methods.RankMatch), [], []

    def keep(tensor):
        holder = Kept(tensor)
        kept.append((tensor.numel(), weakref.ref(holder)))
        return holder

    def counted(stage):
        def run(batch, teacher):
            alive.append(sum(size for size, holder in kept if holder() is not None))
            return stage(batch, teacher)

        return run

    stages = method.stages()
    method.stages = lambda: tuple(map(counted, stages))
    with torch.autograd.graph.saved_tensors_hooks(keep, lambda holder: holder.tensor):
        method.train_on_batch(batch_of())
    assert alive == [0, 0]
    assert sum(size for size, _ in kept) > 1_000_000
