"""Keras 2 (tf-keras) segmentation models as Keras 3 segmenters, read without running any of their code.

No other reader can stand in for this one. Keras 3's reader of `.h5` files knows neither TensorFlow operations between
layers nor the arguments of transposed, depthwise and separable convolutions, of which segmentation models consist.
tf-keras runs what it reads: `Lambda` code of `.h5` files even in safe mode, and the initializers of a SavedModel's
program. A file that you trust can be loaded with tf-keras and passed as a model.
"""

from rankmatch_keras.models.keras_2.conversion import from_tf_keras

__all__ = ["from_tf_keras"]
