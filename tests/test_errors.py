import pytest

from rankmatch_keras.errors import did_you_mean


@pytest.mark.parametrize(
    "name, remedy",
    [
        ("camvit", "Did you mean CamVid?"),
        ("CAMVID", "Did you mean CamVid?"),
        ("os", "Choose one of them."),
        (3, "Choose one of them."),
    ],
)
def test_did_you_mean(name, remedy):
    assert did_you_mean(name, ("Lucchi", "CamVid")) == remedy


def test_did_you_mean_has_other_words_and_strictness():
    assert did_you_mean("rot", ("root",), "Leave it out.", cutoff=0.95) == "Leave it out."
