"""Backend-specific parts of the step benchmark: single passes, device name and peak device memory."""

from types import SimpleNamespace

import keras


def passes_of(method, batch):
    """Return functions that run parts of one training step.

    Args:
        method: compiled `Method`.
        batch: training batch as a dict of NumPy arrays.

    Returns:
        An object with `forward()`, the forward passes and losses, and `gradient()`, forward and backward passes. Both
        return when the device is done.
    """
    tensors = {name: keras.ops.convert_to_tensor(value) for name, value in batch.items()}
    return globals()[f"_{keras.backend.backend()}_passes"](method, tensors)


def _torch_passes(method, batch):
    import torch

    from rankmatch_keras.backend.torch.step import run_stage

    def run(function):
        teacher = None
        for stage in method.stages():
            _, teacher = function(stage, batch, teacher)
        if torch.cuda.is_available():
            torch.cuda.synchronize()

    def gradient():
        method.zero_grad()
        run(lambda stage, batch, teacher: run_stage(method, stage, batch, teacher))

    return SimpleNamespace(forward=lambda: run(lambda stage, *arguments: stage(*arguments)), gradient=gradient)


def _tensorflow_passes(method, batch):
    import tensorflow as tf

    variables = [variable.value for variable in method.trainable_variables]

    @tf.function(jit_compile=method.jit_compile is True)
    def forward(batch):
        return method.compute_losses(batch)["loss"]

    @tf.function(jit_compile=method.jit_compile is True)
    def gradient(batch):
        with tf.GradientTape() as tape:
            loss = method.compute_losses(batch)["loss"]
        # The sum needs every gradient and copies one number.
        return tf.add_n([tf.reduce_sum(value) for value in tape.gradient(loss, variables)])

    return SimpleNamespace(forward=lambda: forward(batch).numpy(), gradient=lambda: gradient(batch).numpy())


def _jax_passes(method, batch):
    import jax

    def loss(trainable, fixed, batch):
        variables = [
            *zip(method.trainable_variables, trainable, strict=True),
            *zip(method.non_trainable_variables, fixed, strict=True),
        ]
        with keras.StatelessScope(state_mapping=variables):
            return method.compute_losses(batch)["loss"]

    def run(function):
        values = [[v.value for v in group] for group in (method.trainable_variables, method.non_trainable_variables)]
        jax.block_until_ready(function(*values, batch))

    forward, gradient = jax.jit(loss), jax.jit(jax.grad(loss))
    return SimpleNamespace(forward=lambda: run(forward), gradient=lambda: run(gradient))


def device_name():
    """Return the name of the GPU, or None."""
    backend = keras.backend.backend()
    if backend == "torch":
        import torch

        return torch.cuda.get_device_name() if torch.cuda.is_available() else None
    if backend == "jax":
        import jax

        return jax.devices()[0].device_kind if jax.default_backend() != "cpu" else None
    import tensorflow as tf

    devices = tf.config.list_physical_devices("GPU")
    return tf.config.experimental.get_device_details(devices[0]).get("device_name") if devices else None


def device_peak():
    """Return the peak memory of tensors on the GPU in bytes, or None without a GPU."""
    if device_name() is None:
        return None
    backend = keras.backend.backend()
    if backend == "torch":
        import torch

        return torch.cuda.max_memory_allocated()
    if backend == "jax":
        import jax

        return jax.devices()[0].memory_stats()["peak_bytes_in_use"]
    import tensorflow as tf

    return tf.config.experimental.get_memory_info("GPU:0")["peak"]
