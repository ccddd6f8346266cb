"""Models of Keras 2 (tf-keras), read without running any of their code."""

from rankmatch_keras.models.keras_2.conversion import from_tf_keras

__all__ = ["from_tf_keras"]
