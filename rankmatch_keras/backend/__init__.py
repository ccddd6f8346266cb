"""Everything that differs between TensorFlow, PyTorch and JAX, one folder per framework.

`step`, `device` and `export` are modules of the running backend: its training step, what its devices can compute, and
the files that it writes of a network. The distribution engines load when `backend.distribution.distribute` starts one.
"""

import keras

from rankmatch_keras.errors import UserError

if keras.backend.backend() == "tensorflow":
    from rankmatch_keras.backend.tensorflow import export, step
    from rankmatch_keras.backend.tensorflow import numerics as device
elif keras.backend.backend() == "torch":
    from rankmatch_keras.backend.torch import export, step  # type: ignore[no-redef]
    from rankmatch_keras.backend.torch import numerics as device  # type: ignore[no-redef]
elif keras.backend.backend() == "jax":
    from rankmatch_keras.backend.jax import export, step  # type: ignore[no-redef]
    from rankmatch_keras.backend.jax import numerics as device  # type: ignore[no-redef]
else:
    raise UserError(
        "a Keras backend of tensorflow, torch or jax", keras.backend.backend(), "Set KERAS_BACKEND to one of them."
    )

__all__ = ["device", "export", "step"]
