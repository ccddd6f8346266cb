"""The views of one image: their random numbers, and the pixel work twice, in NumPy and in TensorFlow with keras-cv.

Given the same numbers both make the same pixels. Only `weak_tensorflow` and `strong_keras_cv` import TensorFlow.
"""
