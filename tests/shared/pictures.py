"""A random picture and a map of two classes with ignored pixels, for tests of what is drawn."""

import numpy as np


def random_picture(height=24, width=32, channels=3):
    return np.random.default_rng(0).integers(0, 256, (height, width, channels), dtype=np.uint8)


def two_classes(height=24, width=32):
    classes = np.zeros((height, width), np.int32)
    classes[5:15, 8:20] = 1
    classes[0, :] = 255
    return classes
