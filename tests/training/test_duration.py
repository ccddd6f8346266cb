"""How long a run trains, by hand-made speeds and clocks."""

import json
from types import SimpleNamespace

import numpy as np
import pytest
from short_runs import StopAfter, assert_same_weights

from rankmatch_keras.errors import UserError
from rankmatch_keras.training import assembly, rehearsal
from rankmatch_keras.training import train as train_module
from rankmatch_keras.training.configuration import OWN_DATA, read_options
from rankmatch_keras.training.duration import Speed, chosen_duration
from rankmatch_keras.training.training_options import seconds_of

# With a burn-in of a fifth a step takes 0.2 x 1 s + 0.8 x 2.25 s = 2 s.
SPEED = Speed(start=20.0, labeled=1.0, all=2.25, evaluation=5.0, scoring=10.0)


@pytest.mark.parametrize(
    ("values", "speed", "steps", "interval"),
    [
        # 600 s - 30 s since the begin - 20 s - 12 x 5 s - 10 s leave 480 s: 240 steps.
        ({"time_budget": "10m"}, SPEED, 240, 20),
        # Labels alone have no burn-in: 480 s / 2.25 s = 213, a whole number of intervals of 17.
        ({"time_budget": "10m", "method": "supervised"}, SPEED, 204, 17),
        # A quarter of 570 s is enough for two evaluations of 60 s: 570 s - 20 s - 120 s - 10 s.
        ({"time_budget": "10m"}, Speed(20.0, 1.0, 2.25, 60.0, 10.0), 210, 105),
        ({"time_budget": "10m", "interval": 50}, SPEED, 200, 50),
        # 120 images in batches of 4 and 30 passes: 900 steps; half an hour has room for 840.
        ({}, Speed(20.0, 0.1, 0.225, 5.0, 10.0), 900, 75),
        ({}, SPEED, 840, 70),
        # 96 s - 20 s - 12 x 2 s - 10 s: 21 steps, and no 21 evaluations of 2 s.
        ({"time_budget": "126s"}, Speed(20.0, 1.0, 2.25, 2.0, 10.0), 20, 2),
    ],
)
def test_the_steps_that_fit(values, speed, steps, interval, capsys):
    found = chosen_duration(read_options(OWN_DATA, values), 120, lambda: speed, lambda: 30.0)
    assert (found.steps, found.interval) == (steps, interval)
    assert f"{steps} steps, evaluated every {interval}: about " in capsys.readouterr().out


def test_a_time_that_is_too_short_is_refused():
    # 30 s + 20 s + 2 x 5 s + 10 s + 2 s.
    with pytest.raises(UserError, match="a --time-budget of more than 72 s; found 60s. Start and scoring take that"):
        chosen_duration(read_options(OWN_DATA, {"time_budget": "60s"}), 120, lambda: SPEED, lambda: 30.0)


def test_a_given_duration_is_not_measured():
    options = read_options(OWN_DATA, {"epochs": 3})
    assert chosen_duration(options, 0, None, None) == options
    options = read_options(OWN_DATA, {"steps": 4, "interval": 10})
    assert chosen_duration(options, 0, None, None).interval == 4


@pytest.mark.parametrize(
    ("steps", "interval"), [(3, 3), (10, 5), (20, 5), (23, 23), (60, 5), (70, 7), (90, 9), (100, 10), (800, 80)]
)
def test_the_usual_interval_divides_the_steps_into_twelve_at_most(steps, interval):
    assert chosen_duration(read_options(OWN_DATA, {"steps": steps}), 0, None, None).interval == interval


@pytest.mark.parametrize(("text", "seconds"), [("90s", 90), ("30m", 1800), ("2h", 7200), (" 1.5 h", 5400)])
def test_times(text, seconds):
    assert seconds_of(text) == seconds


@pytest.mark.parametrize("text", ["30", "m", "30 min", "-3m", "0s", "1e3m", "nan h", "99999999h", "30m 2h", "٣m" * 9])
def test_what_is_no_time(text):
    with pytest.raises(UserError, match="a time with its unit as --time-budget; found .*Write e.g. 30m"):
        read_options(OWN_DATA, {"time_budget": text}).check_duration()


def test_one_duration():
    assert read_options({"steps": 100, "epochs": 2}, {"time_budget": "30m"}).steps is None
    with pytest.raises(UserError, match="one duration; found --steps 5 and --time-budget 30m"):
        read_options(OWN_DATA, {"steps": 5, "time_budget": "30m"}).check_duration()


class Clock:
    """Every look at it takes a second."""

    def __init__(self):
        self.now = 0.0

    def __call__(self):
        self.now += 1.0
        return self.now


@pytest.mark.usefixtures("no_pictures")
def test_a_rehearsal_leaves_no_trace(train, also, tmp_path, monkeypatch, capsys):
    """A run with a time budget is the run of as many steps, also where it is cut and resumed."""
    values = {"val_limit": 1, "burn_in": 0.5, "method": "fixmatch", "seed": 3}
    open_ones = values | {"steps": None, "interval": None, "time_budget": "26s"}
    also(StopAfter(1))
    with monkeypatch.context() as patch, pytest.raises(KeyboardInterrupt):
        clock = SimpleNamespace(perf_counter=Clock())
        for module in (rehearsal, train_module, assembly):
            patch.setattr(module, "time", clock)
        # 26 s - 18 looks at the clock - 2 evaluations of 1 s - 2 images to score leave 4 s, for steps of 1 s.
        train(tmp_path / "timed", **open_ones)
    assert "4 steps, evaluated every 2: about 26 s in all" in capsys.readouterr().out
    also()
    timed = train(
        tmp_path / "timed", **values | {"steps": None, "interval": None, "time_budget": "26s"}, resume=True
    ).run
    options = json.loads(timed.config.read_text())["options"]
    assert (options["time_budget"], options["steps"], options["interval"]) == ("26s", 4, 2)
    assert "steps: 4\n" in (text := timed.options.read_text()) and "time_budget: null\n" in text
    plain = train(tmp_path / "plain", **values, interval=2).run
    assert_same_weights(timed, plain)
    with np.load(timed.state) as one, np.load(plain.state) as other:
        assert {name[4:] for name in one.files} == {name[4:] for name in other.files}
    with pytest.raises(UserError, match="--time-budget 26s, as the run has; found --time-budget 1h"):
        train(tmp_path / "timed", **open_ones | {"time_budget": "1h"}, resume=True)
