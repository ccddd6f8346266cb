"""Keras 2 models made with tf-keras, and their outputs; run as a program in its own process.

`python tf_keras_models.py FOLDER` writes NAME.h5, NAME.npz (image, output), and SavedModel folders NAME_saved.
"""

import pathlib
import sys

import numpy as np
import tensorflow as tf
import tf_keras as keras

layers = keras.layers


def u_net():
    image = layers.Input((None, None, 3))
    x = layers.ZeroPadding2D(1)(image)
    x = layers.Conv2D(4, 3)(x)
    x = layers.BatchNormalization()(x)
    first = layers.ReLU(6.0)(x)
    x = layers.MaxPooling2D()(first)
    x = layers.SeparableConv2D(6, 3, padding="same")(x)
    second = layers.Activation("relu")(x)
    x = layers.MaxPooling2D()(second)
    x = layers.DepthwiseConv2D(3, padding="same")(x)
    x = tf.nn.relu(x)
    x = layers.Dropout(0.5, name="bottleneck")(x)
    x = layers.Conv2DTranspose(6, 3, strides=2, padding="same")(x)
    x = layers.Add()([x, second])
    x = layers.UpSampling2D(interpolation="bilinear")(x)
    x = layers.Concatenate()([x, first])
    x = 2.0 - (x + 1.0) * x
    x = tf.concat([x, first], axis=-1)
    return keras.Model(image, layers.Conv2D(3, 1, activation="softmax")(x), name="u_net")


def mobile_deeplab():
    image = layers.Input((64, 64, 3))
    network = keras.applications.MobileNetV2(include_top=False, weights=None, input_shape=(64, 64, 3), alpha=0.35)
    # Its first seven blocks: strides 4 and 16.
    maps = [network.get_layer(name).output for name in ("block_2_add", "block_6_project_BN")]
    low, x = keras.Model(network.input, maps, name="backbone")(image)
    pooled = tf.reduce_mean(x, axis=[1, 2], keepdims=True)
    pooled = tf.image.resize(layers.Conv2D(8, 1, activation="relu")(pooled), tf.shape(x)[1:3])
    x = layers.Concatenate()([layers.Conv2D(8, 3, dilation_rate=2, padding="same", activation="relu")(x), pooled])
    x = layers.Conv2D(8, 1, name="projection")(x)
    x = layers.Concatenate()([tf.image.resize(x, (16, 16)), layers.Conv2D(8, 1)(low)])
    x = tf.image.resize(layers.Conv2D(1, 1)(x), tf.shape(image)[1:3], method="bilinear")
    return keras.Model(image, tf.nn.sigmoid(x), name="mobile_deeplab")


def frozen_inside():
    """Make a model with a nested one whose batch normalization stays in inference mode, and with a Sequential."""
    inner = keras.Sequential([layers.Conv2D(4, 3, strides=2, padding="same"), layers.BatchNormalization()], "inner")
    image = layers.Input((32, 48, 2))
    x = inner(image, training=False)
    x = keras.Sequential([layers.Conv2D(5, 3, padding="same"), layers.PReLU(shared_axes=[1, 2])], name="head")(x)
    return keras.Model(image, layers.UpSampling2D(2)(layers.Conv2D(4, 1)(x)), name="frozen_inside")


LAYERS = {
    "conv_dilated": layers.Conv2D(3, 3, dilation_rate=2, padding="same", use_bias=False, activation="elu"),
    "conv_groups": layers.Conv2D(4, 3, strides=2, padding="same", groups=2),
    "conv_strided_odd": layers.Conv2D(3, 5, strides=3, padding="valid"),
    "depthwise": layers.DepthwiseConv2D(3, strides=2, depth_multiplier=2, padding="same"),
    "separable": layers.SeparableConv2D(3, 3, depth_multiplier=2, strides=2, padding="same", activation="swish"),
    "transposed_same": layers.Conv2DTranspose(3, 3, strides=2, padding="same"),
    "transposed_valid": layers.Conv2DTranspose(3, 2, strides=2, padding="valid"),
    "transposed_4": layers.Conv2DTranspose(3, 4, strides=2, padding="same"),
    "dense": layers.Dense(3, activation="gelu"),
    "layer_norm": layers.LayerNormalization(),
    "group_norm": layers.GroupNormalization(2),
    "rescaling": layers.Rescaling(1 / 127.5, offset=-1.0),
    "leaky": layers.LeakyReLU(0.1),
    "elu": layers.ELU(0.5),
    "prelu": layers.PReLU(shared_axes=[1, 2]),
    "softmax": layers.Softmax(),
    "max_pool_same": layers.MaxPooling2D(3, strides=2, padding="same"),
    "average_pool_same": layers.AveragePooling2D(3, strides=2, padding="same"),
    "global_average": layers.GlobalAveragePooling2D(keepdims=True),
    "global_max": layers.GlobalMaxPooling2D(keepdims=True),
    "up_nearest": layers.UpSampling2D(3),
    "up_bilinear": layers.UpSampling2D((2, 3), interpolation="bilinear"),
    "cropping": layers.Cropping2D(((1, 2), (0, 3))),
    "padding": layers.ZeroPadding2D(((0, 1), (2, 0))),
    "resizing": layers.Resizing(7, 20),
    "permute": layers.Permute((2, 1, 3)),
    "noise": layers.GaussianNoise(0.3),
    "drop_channels": layers.SpatialDropout2D(0.3),
    **{
        f"activation_{name}": layers.Activation(name)
        for name in "relu relu6 elu selu gelu sigmoid softplus softsign swish tanh mish exponential linear".split()
    },
}

OPERATIONS = {
    "arithmetic": lambda x: 1.0 - (x * 2.0 + x) / 3.0 - tf.square(x) + tf.maximum(x, 0.1) * tf.minimum(x, 0.2),
    "negative": lambda x: -x,
    "activations": lambda x: tf.nn.silu(x) + tf.nn.leaky_relu(x) + tf.nn.elu(x) + tf.nn.gelu(x) + tf.nn.softplus(x),
    "more_activations": lambda x: tf.nn.relu6(x) + tf.math.tanh(x) + tf.exp(x) + tf.sigmoid(x) + tf.nn.softmax(x),
    "gating": lambda x: x * tf.reduce_mean(x, [1, 2], keepdims=True) + tf.reduce_max(x, axis=-1, keepdims=True),
    "sums": lambda x: tf.reduce_sum(x, axis=-1, keepdims=True) - tf.reduce_min(x, axis=3, keepdims=True),
    "clip": lambda x: tf.clip_by_value(x, -0.5, 0.25),
    "pad": lambda x: tf.pad(x, [[0, 0], [1, 2], [0, 3], [0, 0]]),
    "reflect": lambda x: tf.pad(x, [[0, 0], [1, 2], [0, 3], [0, 0]], mode="REFLECT"),
    "transpose": lambda x: tf.transpose(x, [0, 2, 1, 3]),
    "resize_up": lambda x: tf.image.resize(x, [23, 40]),
    "resize_down": lambda x: tf.image.resize(x, [5, 9]),
    "resize_nearest": lambda x: tf.image.resize(x, [22, 34], method="nearest"),
    "concat": lambda x: tf.concat([x, x * 2.0], axis=3),
    "concat_rows": lambda x: tf.concat([x, x], 1),
}


def single(layer):
    image = layers.Input((11, 17, 4))
    return keras.Model(image, layer(image))


def randomize(model, rng):
    """Randomize biases, scales and statistics: those of a new model are 0 and 1 and would hide mistakes."""
    for weight in model.weights:
        if "kernel" not in weight.name:
            low = 0.5 if "variance" in weight.name or "gamma" in weight.name else -0.5
            weight.assign(rng.uniform(low, low + 1.0, weight.shape))


class WritesOnLoading(tf.saved_model.experimental.TrackableResource):
    """A part of a model whose program writes a file when TensorFlow loads the model."""

    def __init__(self, path):
        super().__init__()
        self.path = path

    def _create_resource(self):
        return tf.raw_ops.MutableHashTableV2(key_dtype=tf.int64, value_dtype=tf.int64)

    def _initialize(self):
        tf.io.write_file(self.path, "run")


def main(folder):
    rng = np.random.default_rng(0)
    keras.utils.set_random_seed(0)
    models = {"u_net": u_net(), "mobile_deeplab": mobile_deeplab(), "frozen_inside": frozen_inside()}
    models |= {f"layer_{name}": single(layer) for name, layer in LAYERS.items()}
    models |= {f"operation_{name}": single(operation) for name, operation in OPERATIONS.items()}
    for name, model in models.items():
        randomize(model, rng)
        sides = [64 if side is None else side for side in model.input_shape[1:3]]
        image = rng.normal(size=(2, *sides, model.input_shape[3])).astype("float32")
        np.savez(folder / f"{name}.npz", image=image, output=model(image, training=False).numpy())
        model.save(folder / f"{name}.h5")
        if not name.startswith(("layer_", "operation_")):
            model.save(folder / f"{name}_saved", save_format="tf")
    lambda_model = single(layers.Lambda(lambda x: x + 1.0))
    lambda_model.save(folder / "lambda.h5")
    with_program = single(layers.Conv2D(3, 1))
    with_program.writer = WritesOnLoading(str(folder / "written"))
    assert with_program.writer.resource_handle is not None  # made now, so that it is saved
    with_program.save(folder / "program_saved", save_format="tf")
    compare_in_memory(folder, models["mobile_deeplab"])


def compare_in_memory(folder, model):
    """Convert the model itself, without a file: tf-keras and Keras 3 in one process."""
    from keras import ops

    from rankmatch_keras.models import from_tf_keras

    image = np.load(folder / f"{model.name}.npz")["image"]
    logits = from_tf_keras(model)(image, training=False)["logits"]
    np.save(folder / "in_memory.npy", ops.convert_to_numpy(ops.softmax(logits)))


if __name__ == "__main__":
    main(pathlib.Path(sys.argv[1]))
