import subprocess
import sys

import pytest

from rankmatch_keras import data


def test_names_load_on_first_use():
    program = (
        "import sys, rankmatch_keras.data as d, rankmatch_keras.data.splits;"
        "d.Lucchi, d.read_list, d.read_mask, d.choose_labeled;"
        "assert 'keras_cv' not in sys.modules;"
        "import keras;"
        "assert keras.backend.backend() == 'tensorflow' or 'tensorflow' not in sys.modules"
    )
    subprocess.run([sys.executable, "-c", program], check=True)


def test_every_public_name_exists():
    for name in data.__all__:
        assert getattr(data, name) is not None
    assert set(data.__all__) <= set(dir(data))
    with pytest.raises(AttributeError, match="nothing_such"):
        _ = data.nothing_such
