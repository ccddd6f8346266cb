"""The option catalog."""

import pytest

from rankmatch_keras import data, environment
from rankmatch_keras.data.batches.pipelines import PIPELINES
from rankmatch_keras.data.views.policies import POLICIES
from rankmatch_keras.layers.selection import SELECTIONS
from rankmatch_keras.losses.base import PIXEL_LOSSES
from rankmatch_keras.methods.fixmatch import BOXES
from rankmatch_keras.methods.passes import NORMALIZE, STATISTICS
from rankmatch_keras.training.catalog import names_where
from rankmatch_keras.training.options import CATALOG, Options


def test_choices_are_those_of_the_rooms_they_come_from():
    assert CATALOG["distribute"].choices == environment.STRATEGIES
    assert CATALOG["precision"].choices == environment.PRECISIONS
    assert CATALOG["pipeline"].choices == PIPELINES
    assert CATALOG["strong"].choices == tuple(POLICIES)
    # The catalog spells these out, since their rooms import a framework.
    assert CATALOG["normalize"].choices == NORMALIZE
    assert CATALOG["statistics"].choices == tuple(STATISTICS)
    assert CATALOG["selection"].choices == SELECTIONS
    assert CATALOG["boxes"].choices == BOXES
    assert CATALOG["labeled_loss"].choices == CATALOG["unlabeled_loss"].choices == PIXEL_LOSSES


def test_every_option_has_a_sentence_and_a_heading():
    for option in CATALOG.values():
        assert option.about.help.endswith(".") and option.about.group
        assert option.default is None or isinstance(option.default, option.kind)


def test_smoke_values_are_allowed():
    Options(**{name: option.about.smoke for name, option in CATALOG.items() if name in names_of_smoke()})


def names_of_smoke():
    return {name for name, option in CATALOG.items() if option.about.smoke in (None, "tiny", 65, 1, 2)}


def test_what_may_change_on_resume_does_not_change_the_result():
    assert set(names_where(CATALOG, on_resume="free")) == {
        *("dataset", "out", "resume", "stages", "pseudo_label_images", "log"),
        "time_budget",  # the steps that it became are what counts
        *("pipeline", "network", "distribute", "replicas", "jit", "deterministic"),
    }


def test_a_duration_may_change_and_is_recorded():
    assert set(names_where(CATALOG, on_resume="recorded")) == {"steps", "epochs"}


OF_CLASSES = ("class_weights", "hierarchy")
OF_SHORT_RUNS = ("decay", "warm_up", "clip", "burn_in", "fall_back", "patience")


@pytest.mark.parametrize(
    ("kind", "names"),
    [
        (
            "named",
            {
                *("preset", "box_source", "class_weights", "strong", "strong_labeled", "hue", "hierarchy", "augment"),
                *names_where(CATALOG, of_method=True),
            },
        ),
        ("per method", {*("optimizer", "learning_rate", "head_multiplier", "l2"), *OF_SHORT_RUNS}),
    ],
)
def test_rows_of_a_comparison_name_what_they_may_differ_in(kind, names):
    assert set(names_where(CATALOG, in_comparison=kind)) == names


def test_epochs_are_passes_over_the_unlabeled_images():
    assert Options(epochs=3, batch=2, accumulate=4).schedule(80) == (3, 10)
    assert Options(epochs=3, batch=50).schedule(10) == (3, 1)


def test_the_usual_protocol_is_changed_by_options():
    usual = data.Protocol("sliding_window", 801)
    assert Options().chosen_protocol(usual) == usual
    assert Options(eval_mode="whole").chosen_protocol(usual) == data.Protocol()
    assert Options(eval_mode="center_crop", crop=65).chosen_protocol(data.Protocol()).crop == 65
    assert Options(eval_scales="0.5,1", eval_flip=True).chosen_protocol(usual).scales == (0.5, 1.0)
