"""The installed input pipelines, shared by the tests of batches."""

import pytest

from rankmatch_keras.data.batches.pipelines import TF_DATA, choose_pipeline

HAS_TF_DATA = choose_pipeline("auto") == TF_DATA


@pytest.fixture(
    params=[
        pytest.param(TF_DATA, marks=pytest.mark.skipif(not HAS_TF_DATA, reason="needs TensorFlow and keras-cv")),
        "workers",
    ]
)
def pipeline(request):
    """Name of an input pipeline; the test runs once for each."""
    return request.param
