"""Fixtures of the tests of losses."""

import numpy as np
import pytest


@pytest.fixture
def finite_differences():
    """Gradient of a float64 function of one array by central differences."""

    def gradient(function, array, step=1e-5):
        array = np.float64(array)
        slopes = np.zeros_like(array)
        for index in np.ndindex(array.shape):
            shift = np.zeros_like(array)
            shift[index] = step
            slopes[index] = (function(array + shift) - function(array - shift)) / (2 * step)
        return slopes

    return gradient
