"""Neural process in place of a classifier (NP-SemiSeg): class probabilities averaged over latent samples."""

import math

import keras
import numpy as np
from keras import layers, ops

from rankmatch_keras.backend.replicas import own_part, ratio, replicas
from rankmatch_keras.layers.base import ConfigFromArguments
from rankmatch_keras.models.segmenter import Segmenter, class_count

STRIDE = 4  # every fourth pixel is enough to describe an image
HEAD = "neural_process"  # name of the layer
INFERENCE_SEED = 7  # of the samples of z, the same in every prediction


def gaussian_divergence(mean, deviation, other_mean, other_deviation):
    """Return KL(Gaussian || other Gaussian), both with independent components `(B, D)`, as `(B,)` summed over D."""
    spread = ops.log(other_deviation / deviation)
    distance = ops.square(deviation) + ops.square(mean - other_mean)
    return ops.sum(spread + distance / (2.0 * ops.square(other_deviation)) - 0.5, axis=-1)


@keras.saving.register_keras_serializable("rankmatch_keras")
class NeuralProcess(ConfigFromArguments, layers.Layer):
    """A classifier that averages over samples of a latent vector (Wang et al., ICML 2023: NP-SemiSeg, Section 3).

    The map x yields a code of D values per pixel, without gradient into x. Each class has two centers, the means of
    memories, to which the code attends component by component: `s = sum_c softmax_c(-(code - center_c)^2) center_c`,
    averaged over the image. The context centers, of labeled pixels, give the deterministic vector r and, through a
    two-layer network, the Gaussian q_context; the target centers, of pseudo-labeled pixels too, give q_target in the
    same way. Training samples z from q_target; inference samples it from q_context, with the same random numbers each
    time. The logits of a sample are a 1x1 convolution of `relu(norm(conv(x)) + W [z, r])`.

    What differs from the publication: its head joins z, r and x before a convolution and its instance normalization,
    which removes whatever is equal at all pixels; here z and r are added after it.

    Args:
        num_classes: number of classes K.
        channels: size D of the code.
        hidden: channels of the map that is classified.
        draws: number of samples S of z.
        seed: int or `None`, of the samples.
    """

    def __init__(self, num_classes: int, channels=32, hidden=64, draws=5, seed: int | None = None, **kwargs):
        super().__init__(**kwargs)
        self.num_classes = num_classes
        self.channels = channels
        self.hidden = hidden
        self.draws = draws
        self.seed = seed
        self.seed_generator = keras.random.SeedGenerator(seed)
        policy = {"dtype": self.dtype_policy}
        self.to_code = [
            layers.Conv2D(channels, 1, use_bias=False, name="code_1", **policy),
            layers.GroupNormalization(-1, name="code_norm", **policy),
            layers.ReLU(name="code_relu", **policy),
            layers.Conv2D(channels, 1, name="code_2", **policy),
        ]
        self.summary = layers.Dense(channels, "relu", dtype="float32", name="summary")
        self.gaussian = layers.Dense(2 * channels, dtype="float32", name="gaussian")
        self.convolution = layers.Conv2D(hidden, 3, padding="same", use_bias=False, name="convolution", **policy)
        self.normalization = layers.GroupNormalization(-1, name="normalization", **policy)
        self.condition = layers.Dense(hidden, dtype="float32", name="condition")
        self.classifier = layers.Dense(num_classes, dtype="float32", name="classifier")

    def build(self, input_shape):
        """Build all sublayers, and the centers."""
        code, summary = (None, None, None, self.channels), (None, self.channels)
        for layer, shape in zip(self.to_code, (input_shape, code, code, code), strict=True):
            layer.build(shape)
        self.summary.build(summary)
        self.gaussian.build(summary)
        self.convolution.build(input_shape)
        self.normalization.build((None, None, None, self.hidden))
        self.condition.build((None, None, 2 * self.channels))
        self.classifier.build((None, None, None, None, self.hidden))
        centers = {"shape": (self.num_classes, self.channels), "dtype": "float32", "trainable": False}
        # Random until a class has been seen: from equal centers the code would learn nothing.
        self.context_centers = self.add_weight(name="context_centers", initializer="random_normal", **centers)
        self.target_centers = self.add_weight(name="target_centers", initializer="random_normal", **centers)
        self.built = True

    def call(self, x, training=False):
        """Classify the pixels of a map.

        Args:
            x: `(B, h, w, C)` float.
            training: whether to average logits over samples from q_target, or else probabilities over fixed samples
                from q_context.

        Returns:
            dict of "logits" `(B, h, w, K)` float32, "code" `(B, h, w, D)` float32.
        """
        code = self.code(x)
        mean, deviation = self.distribution(code, self.target_centers if training else self.context_centers)
        z = mean[:, None] + deviation[:, None] * self._noise(mean, training)  # (B, S, D)
        r = self.attend(code, self.context_centers)[:, None] + ops.zeros_like(z)
        condition = self.condition(ops.concatenate([z, r], axis=-1))[:, :, None, None]  # (B, S, 1, 1, hidden)
        hidden = ops.cast(self.normalization(self.convolution(x)), "float32")[:, None]  # (B, 1, h, w, hidden)
        logits = self.classifier(ops.relu(hidden + condition))  # (B, S, h, w, K)
        if training:
            return {"logits": ops.mean(logits, axis=1), "code": code}
        # Logits whose probabilities are the mean over the samples.
        logits = ops.logsumexp(ops.log_softmax(logits, axis=-1), axis=1) - math.log(self.draws)
        return {"logits": logits, "code": code}

    def compute_output_spec(self, x, training=False):
        """Return symbolic outputs without tracing, which cannot sample for an unknown number of images."""
        last = {"logits": self.num_classes, "code": self.channels}
        return {name: keras.KerasTensor((*x.shape[:3], size), dtype="float32") for name, size in last.items()}

    def code(self, x):
        """Return the code of every pixel, `(B, h, w, D)` float32."""
        x = ops.stop_gradient(x)
        for layer in self.to_code:
            x = layer(x)
        return ops.cast(x, "float32")

    def attend(self, code, centers):
        """Return the centers averaged by their attention in each image, `(B, D)`."""
        code = code[:, ::STRIDE, ::STRIDE, None]  # (B, h', w', 1, D)
        # A copy: the centers move before the backward pass reads them.
        centers = ops.copy(ops.convert_to_tensor(centers))
        attention = ops.softmax(-ops.square(code - centers), axis=3)  # (B, h', w', K, D)
        return ops.mean(ops.sum(attention * centers, axis=3), axis=(1, 2))

    def distribution(self, code, centers):
        """Return mean and standard deviation of the Gaussian of some centers, `(B, D)` each."""
        mean, spread = ops.split(self.gaussian(self.summary(self.attend(code, centers))), 2, axis=-1)
        return mean, 0.1 + 0.9 * ops.softplus(spread)

    def divergence(self, code):
        """Return the mean over the images of KL(q_target || q_context), a float32 scalar."""
        target, context = (self.distribution(code, x) for x in (self.target_centers, self.context_centers))
        divergences = gaussian_divergence(*target, *context)
        return ratio(ops.sum(divergences), ops.sum(ops.ones_like(divergences)))

    def _noise(self, mean, training):
        """Return standard normal numbers `(B, S, D)`, in inference the same `(1, S, D)` for all images."""
        if not training:
            numbers = np.random.default_rng(INFERENCE_SEED).normal(size=(1, self.draws, self.channels))
            return ops.convert_to_tensor(numbers.astype("float32"))
        shape = (2, ops.shape(mean)[0] * replicas().count, self.draws, self.channels)
        # The Box-Muller transform.
        radius, angle = ops.unstack(keras.random.uniform(shape, seed=self.seed_generator), axis=0)
        normal = ops.sqrt(-2.0 * ops.log(1.0 - radius)) * ops.cos(2.0 * math.pi * angle)
        return own_part(normal)


def with_neural_process(segmenter, seed: int | None = None, **options) -> Segmenter:
    """Replace a segmenter's classifier by a neural process.

    Args:
        segmenter: its encoder and the layers of its decoder are used, not copied; one that has a neural process already
            is returned as it is.
        seed: int or `None`, of the samples.
        **options: of `NeuralProcess`.

    Returns:
        A segmenter that predicts with it; "decoded" is the code of each pixel.
    """
    if has_neural_process(segmenter):
        return segmenter
    decoder = segmenter.decoder
    outputs = decoder.output
    x = outputs.get("decoded", outputs["features"])
    found = NeuralProcess(class_count(segmenter), seed=seed, name=HEAD, **options)(x)
    outputs = {"logits": found["logits"], "features": outputs["features"], "decoded": found["code"]}
    return Segmenter(segmenter.encoder, keras.Model(decoder.input, outputs, name="decoder"), name=segmenter.name)


def has_neural_process(segmenter) -> bool:
    """Return whether a segmenter has a neural process."""
    return any(layer.name == HEAD for layer in segmenter.decoder.layers)


def neural_process_of(segmenter) -> NeuralProcess:
    """Return the neural process of a segmenter that has one."""
    return segmenter.decoder.get_layer(HEAD)
