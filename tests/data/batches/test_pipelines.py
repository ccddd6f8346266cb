import sys
from importlib.machinery import ModuleSpec

import pytest

from rankmatch_keras import data
from rankmatch_keras.data.batches import pipelines
from rankmatch_keras.errors import UserError


@pytest.fixture
def installed(monkeypatch):
    """Makes it look as if exactly these of the two packages were installed, in one of the ways this is seen."""

    def make(*names, absent="not found"):
        def find_spec(name):
            if name in names:
                return ModuleSpec(name, None, origin=f"/somewhere/{name}/__init__.py")
            if absent == "left-over folder":
                return ModuleSpec(name, None, origin=None, is_package=True)
            if absent != "not found":
                raise absent
            return None

        monkeypatch.setattr(pipelines.importlib.util, "find_spec", find_spec)

    return make


def test_tf_data_is_the_default_where_it_is_installed(installed):
    installed("tensorflow", "keras_cv")
    assert data.choose_pipeline() == data.choose_pipeline("tf.data") == "tf.data"
    assert data.choose_pipeline("workers") == "workers"
    assert data.describe_pipeline() == "Input: tf.data with keras-cv augmentation"
    # Nothing is missing: the reason is the person's own.
    assert data.describe_pipeline("workers", 1) == "Input: 1 worker process, NumPy augmentation"
    assert data.describe_pipeline("workers", 0) == "Input: no worker processes, NumPy augmentation"


@pytest.mark.parametrize(
    "names, missing", [((), "TensorFlow"), (("keras_cv",), "TensorFlow"), (("tensorflow",), "keras-cv")]
)
@pytest.mark.parametrize("absent", ["not found", "left-over folder", ImportError("blocked"), ValueError("no spec")])
def test_workers_are_the_default_where_it_is_not(installed, names, missing, absent):
    installed(*names, absent=absent)
    assert data.choose_pipeline() == "workers"
    expected = f"Input: 3 worker processes, NumPy augmentation ({missing} is not installed)"
    assert data.describe_pipeline(parallel_calls=3) == expected
    with pytest.raises(UserError, match=rf"found no {missing}.*rankmatch-keras\[tensorflow\]"):
        data.choose_pipeline("tf.data")


def test_a_blocked_module_is_not_installed(monkeypatch):
    monkeypatch.setitem(sys.modules, "tensorflow", None)
    assert data.choose_pipeline() == "workers"


def test_other_names_are_refused():
    with pytest.raises(UserError, match="auto, tf.data, workers.*'grain'"):
        data.choose_pipeline("grain")


def test_one_cpu_is_left_to_the_training_step(monkeypatch):
    monkeypatch.setattr(pipelines.os, "cpu_count", lambda: 64)  # of which others are not this process's
    for cpus, calls in ((1, 1), (2, 1), (16, 15)):
        monkeypatch.setattr(pipelines.os, "sched_getaffinity", lambda _, cpus=cpus: set(range(cpus)))
        assert pipelines.default_parallel_calls() == calls
    monkeypatch.delattr(pipelines.os, "sched_getaffinity")  # as on macOS
    assert pipelines.default_parallel_calls() == 63
