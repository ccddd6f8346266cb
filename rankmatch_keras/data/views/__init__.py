"""The views of one image: random numbers sampled once, pixel work twice.

`policies` and `sampling` decide what is random; `weak_numpy` and `strong_numpy` do the pixel work in NumPy and SciPy,
their twins `weak_tensorflow` and `strong_keras_cv` in TensorFlow and keras-cv; `examples` names the results. Only the
files named after them import TensorFlow or keras-cv.
"""
