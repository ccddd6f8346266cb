"""Everything that differs between TensorFlow, PyTorch and JAX, in one folder per framework.

`step` and `device` are the running backend's modules: its training step, and what its devices can do. The distribution
engines load when `backend.distribution` starts one.
"""

import keras

from rankmatch_keras.errors import UserError

if keras.backend.backend() == "tensorflow":
    from rankmatch_keras.backend.tensorflow import numerics as device
    from rankmatch_keras.backend.tensorflow import step as step
elif keras.backend.backend() == "torch":
    from rankmatch_keras.backend.torch import numerics as device
    from rankmatch_keras.backend.torch import step as step
elif keras.backend.backend() == "jax":
    from rankmatch_keras.backend.jax import numerics as device
    from rankmatch_keras.backend.jax import step as step
else:
    raise UserError(
        "a Keras backend of tensorflow, torch or jax", keras.backend.backend(), "Set KERAS_BACKEND to one of them."
    )

__all__ = ["device", "step"]
