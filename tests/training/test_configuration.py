"""Options from defaults, files and flags: one truth, checked before anything else is read."""

import dataclasses
import json
from pathlib import Path

import pytest
import yaml
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from rankmatch_keras.errors import UserError
from rankmatch_keras.training.catalog import names_where
from rankmatch_keras.training.configuration import (
    NOT_REPEATED,
    OWN_DATA,
    read_file,
    read_options,
    require_fitting_method,
    write_file,
)
from rankmatch_keras.training.options import CATALOG, Options
from rankmatch_keras.training.yaml_files import LARGEST_FILE


def test_later_sources_win(tmp_path):
    (tmp_path / "run.yaml").write_text("crop: 97\nbatch: 3\nset: {top_k: 6, temperature: 4}\n")
    options = read_options(
        {"crop": 65, "seed": 5, "batch": 2}, {"crop": 129, "set": ("top_k=8",)}, tmp_path / "run.yaml"
    )
    assert (options.crop, options.batch, options.seed) == (129, 3, 5)
    assert options.method_options() == {"top_k": 8, "temperature": 4}


@pytest.mark.parametrize("values", [{"threshold": 0.9}, {"threshold": 0.9, "method": "unimatch"}])
def test_two_ways_of_giving_one_option_that_disagree_are_refused(values):
    with pytest.raises(UserError, match="one value of threshold .* --threshold 0.9 and --set threshold=0.8"):
        read_options({}, {**values, "set": ("threshold=0.8",)})
    with pytest.raises(UserError, match="one value of top_k; found 6 and 8"):
        read_options({}, {"set": ("top_k=6", "top_k=8")})
    with pytest.raises(UserError, match="one value of seed"):
        read_options({}, {"seed": 1, "set": ("seed=2",)})
    with pytest.raises(UserError, match="one value of top_k; found 1 and true"):
        read_options({}, {"set": ("top_k=1", "top_k=true")})
    assert read_options({}, {"set": ("temperature=NaN", "temperature=NaN")}).set == ("temperature=NaN",)


def test_the_record_has_one_truth_whichever_way_an_option_is_given():
    for given_values in ({"threshold": 0.8}, {"set": ("threshold=0.8",)}, {"threshold": 0.8, "set": ["threshold=0.8"]}):
        options = read_options({}, given_values)
        assert (options.threshold, options.set) == (0.8, ())
    assert read_options({"rank_weight": 0.02}, {"set": ("rank_weight=0.5",)}).rank_weight == 0.5
    assert read_options({}, {"set": ("preset=reference",)}).preset == "reference"
    options = read_options({}, {"set": ("seed=2",)})
    assert (options.seed, options.set) == (2, ())
    options = read_options({"set": ("threshold=0.9",)}, {"threshold": 0.5})
    assert (options.threshold, options.set) == (0.5, ())
    assert read_options({"weights": "random"}, {}).weights is None


@pytest.mark.parametrize(
    ("values", "message"),
    [
        ({"set": ("treshold=0.8",)}, "an option of rankmatch; found 'treshold'. Did you mean '?threshold"),
        ({"set": ("top_k",)}, "as NAME=VALUE; found --set top_k"),
        ({"set": ("threshold=high",)}, "a number of at least 0 and at most 1 as --threshold; found 'high'"),
        ({"tresholt": 0.8}, "options of a run .*'tresholt'. Did you mean '?threshold"),
        ({"stage": 1}, "options of a run .*'stage'. Did you mean '?steps"),
        ({"labels": True}, "a whole number of at least 1 as --labels; found true"),
        ({"min_scale": 3.0}, "--min-scale up to --max-scale; found 3 and 2"),
        ({"seed": 2**32}, "at most .* as --seed"),
        ({"method": "rankmatsh"}, "a method; found 'rankmatsh'. Did you mean '?rankmatch"),
        ({"method": "supervised", "threshold": 0.9}, "flags for --method supervised; found --threshold"),
        ({"batch": 0}, "a whole number of at least 1 as --batch; found 0"),
        ({"jit": "maybe"}, "one of auto, on, off as --jit; found 'maybe'"),
        ({"method": "cotraining"}, "a second network for --method cotraining; found no --second-backbone"),
        ({"method": "unimatch", "second_backbone": "tiny"}, "but it trains one network"),
        ({"method": "cps", "second_weights": "imagenet"}, "the weights alone"),
        (
            {"normalize": "joint", "statistics": "labeled"},
            "--statistics all or labeled\\+weak with --normalize joint; found labeled",
        ),
        ({"method": "supervised", "selection": "adaptive"}, "flags for --method supervised; found --selection"),
        ({"decoder": "segfomer"}, "one of deeplab, segformer as --decoder; found 'segfomer'. Did you mean segformer"),
        ({"decoder": "dpt"}, "one of deeplab, segformer as --decoder; found 'dpt'"),
        ({"decoder": "segformer", "aspp_filters": 8}, "flags for --decoder segformer; found --aspp-filters"),
        ({"decoder": "segformer", "pool_norm": False}, "flags for --decoder segformer; found --pool-norm"),
        ({"decoder": "segformer", "network": "keras-cv"}, "--network keras or auto with --decoder segformer"),
        ({"burn_in": 1.0}, "at least 0 and at most 0.9 as --burn-in; found 1.0"),
    ],
)
def test_wrong_options_are_refused_before_anything_is_read(values, message):
    with pytest.raises(UserError, match=message):
        read_options(OWN_DATA, values)


def test_second_networks_that_fit():
    for values in ({"method": "cotraining", "second_backbone": "tiny"}, {"method": "cps"}, {"method": "rankmatch"}):
        require_fitting_method(Options(**values), set())
    require_fitting_method(Options(method="cps", second_backbone="tiny"), set())


def test_another_decoder_leaves_what_a_file_says_of_deeplab(tmp_path):
    (tmp_path / "run.yaml").write_text("aspp_filters: 8\npool_norm: true\n")
    options = read_options(OWN_DATA, {"decoder": "segformer"}, tmp_path / "run.yaml")
    assert (options.decoder, options.aspp_filters) == ("segformer", 8)
    assert Options().decoder == "deeplab"


def test_a_default_for_another_method_is_no_mistake():
    assert read_options({"threshold": 0.9}, {"method": "supervised"}).threshold == 0.9


def test_smoke_shrinks_what_is_not_given_explicitly(tmp_path):
    (tmp_path / "run.yaml").write_text("crop: 321\nepochs: 80\nweights: imagenet\n")
    options = read_options({}, {"smoke": True, "batch": 4}, tmp_path / "run.yaml")
    assert (options.crop, options.batch, options.steps, options.epochs, options.weights) == (65, 4, 2, None, None)


def test_one_duration_replaces_the_other():
    assert read_options({"epochs": 80}, {"steps": 7}).epochs is None
    assert read_options({"steps": 80}, {"epochs": 7}).steps is None


def test_files_may_say_the_same_in_richer_forms(tmp_path):
    text = "classes: [ground, cell]\njit: on\neval_scales: [0.5, 1]\nweights: random\nlearning_rate: 1e-3\nl2: 0\n"
    (tmp_path / "run.yaml").write_text(text)
    options = read_options({"weights": "imagenet"}, {}, tmp_path / "run.yaml")
    assert (options.classes, options.jit, options.eval_scales) == ("ground,cell", "on", "0.5,1")
    assert (options.weights, options.learning_rate, options.l2) == (None, 0.001, 0.0)


@pytest.mark.parametrize(
    ("content", "message"),
    [
        ("crops: 3", "'crops'. Did you mean '?crop"),
        ("- crop", "`option: value` lines; found list"),
        ("", "found nothing in"),
        ("crop: [1, 2]", "a whole number of at least 32 as --crop"),
        ("crop: !!python/object/apply:os.system [ls]", "cannot be read"),
        ("a: &a [*a]", "found 'a'|cannot be read"),
        ("crop: 3\n\tx", "cannot be read"),
        ("\0", "cannot be read"),
        ("[" * 5000, "cannot be read"),
        ("#" * (LARGEST_FILE + 1), "at most 1 MiB"),
        ("crop: 65\ncrop: 97", "crop is given twice"),
        ("crop: !!bool x", "cannot be read"),
        ("seed: no", "a whole number of at least 0.* as --seed; found false"),
        ("set: 5", "options of the method by name as --set; found 5"),
        ("set: {top_k: 2020-01-01}", "options of the method by name as --set"),
        ("set: {top_k: &a [*a]}", "options of the method by name as --set"),
        ("learning_rate: .inf", "a number of at least 0 as --learning-rate; found inf"),
    ],
)
def test_files_that_cannot_work_are_one_line(content, message, tmp_path):
    (tmp_path / "run.yaml").write_text(content)
    with pytest.raises(UserError, match=message):
        read_options({}, {}, tmp_path / "run.yaml")
    with pytest.raises(UserError, match="nowhere.yaml, which cannot be read"):
        read_file(tmp_path / "nowhere.yaml")


def values_of(option):
    # Some fit only together with others; of a hierarchy, the file is read.
    alone = ("method", "set", "stage", "smoke", "second_backbone", "second_weights", "statistics", "hierarchy")
    alone += ("decoder", "log")
    if option.name in alone:
        return st.just(option.default)
    if option.choices:
        return st.sampled_from(option.choices)
    words = st.text(st.characters(codec="utf-8", exclude_categories=("Cc", "Cs")), min_size=1, max_size=9)
    kinds = {
        bool: st.booleans(),
        int: st.integers(int(option.least or 0), int(option.most or 10**6)),
        float: st.floats(option.least or 0.0, option.most or 10.0),
        Path: words.filter(lambda word: word.strip("./")).map(lambda word: Path("/data") / word.strip("/")),
        str: words.filter(lambda word: word != "random"),
    }
    return kinds[option.kind] if option.default is not None else st.none() | kinds[option.kind]


@given(st.fixed_dictionaries({name: values_of(option) for name, option in CATALOG.items()}))
@settings(max_examples=60, deadline=None, suppress_health_check=list(HealthCheck))
def test_the_file_of_a_run_repeats_it(tmp_path, values):
    if values["steps"] is not None:
        values["epochs"] = values["time_budget"] = None  # a run has one duration
    values["augment"] = None  # whose code runs by the flag alone
    values["min_scale"], values["max_scale"] = sorted((values["min_scale"], max(0.1, values["max_scale"])))
    options = Options(**values)
    write_file(tmp_path / "run.yaml", options)
    again = read_options({"crop": 33, "epochs": 3, "weights": "imagenet"}, {}, tmp_path / "run.yaml")
    free = {name: getattr(options, name) for name in (*NOT_REPEATED, "resume")}
    assert dataclasses.replace(again, **free) == options


def test_the_file_leaves_out_what_was_for_another_method(tmp_path):
    options = read_options({"threshold": 0.9}, {"method": "supervised"})
    write_file(tmp_path / "run.yaml", options)
    assert read_options({}, {}, tmp_path / "run.yaml").threshold is None


def test_the_file_holds_every_option_but_those_of_the_single_run(tmp_path):
    write_file(tmp_path / "run.yaml", Options(out=tmp_path, set=("top_k=6",), images=Path("photos")))
    values = yaml.safe_load((tmp_path / "run.yaml").read_text())
    assert set(values) == set(CATALOG) - set(NOT_REPEATED)
    assert set(NOT_REPEATED) == {"out", "resume", "smoke", *names_where(CATALOG, flag="never")}
    assert values["images"] == str(Path.cwd() / "photos") and values["set"] == ["top_k=6"]
    json.dumps(values)
