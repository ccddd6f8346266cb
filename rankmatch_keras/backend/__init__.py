"""Everything that differs between TensorFlow, PyTorch and JAX, one folder per framework.

`step` and `device` are modules of the running backend: its training step, and what its devices can compute. The
distribution engines load when `backend.distribution.distribute` starts one.
"""

import keras

from rankmatch_keras.errors import UserError

if keras.backend.backend() == "tensorflow":
    from rankmatch_keras.backend.tensorflow import numerics as device
    from rankmatch_keras.backend.tensorflow import step
elif keras.backend.backend() == "torch":
    from rankmatch_keras.backend.torch import numerics as device  # type: ignore[no-redef]
    from rankmatch_keras.backend.torch import step  # type: ignore[no-redef]
elif keras.backend.backend() == "jax":
    from rankmatch_keras.backend.jax import numerics as device  # type: ignore[no-redef]
    from rankmatch_keras.backend.jax import step  # type: ignore[no-redef]
else:
    raise UserError(
        "a Keras backend of tensorflow, torch or jax", keras.backend.backend(), "Set KERAS_BACKEND to one of them."
    )

__all__ = ["device", "step"]
