import json
from dataclasses import asdict, replace
from pathlib import Path

import pytest

from heatpose.create.plan import (
    STEPS,
    CreateConfig,
    Speeds,
    describe,
    duration,
    make_plan,
    plan_from_record,
)
from heatpose.errors import OptionError

SPEEDS = Speeds(
    raycast=0.2, pathtraced=2.0, keypoints=60.0, detector=15.0, estimate=0.3, fixed=10.0
)


@pytest.mark.parametrize("minutes", [20.0, 45.0, 600.0])
@pytest.mark.parametrize("pathtraced", [None, 1.0, 20.0])
@pytest.mark.parametrize("pace", [0.3, 1.0, 10.0])
def test_a_plan_fills_the_time_that_is_given(minutes, pathtraced, pace):
    speeds = Speeds(0.2 / pace, pathtraced, 60 * pace, 15 * pace, 0.3, 10.0)
    plan = make_plan(CreateConfig(minutes=minutes), speeds, 2)
    assert plan.total == pytest.approx(60 * minutes, rel=0.05)
    assert plan.seconds.keys() == STEPS.keys()


def test_the_time_of_each_step_is_what_its_work_takes():
    config = CreateConfig(minutes=45.0, views=5)
    plan = make_plan(config, SPEEDS, 2)
    per_image = {"raycast": 0.2, "pathtrace": 2.0}
    drawn = plan.raycast_scenes * per_image["raycast"] + plan.pathtraced_scenes * 2.0
    assert plan.seconds["scenes"] == pytest.approx(10 + 5 * drawn)
    assert plan.seconds["unseen"] == pytest.approx(10 + 5 * plan.unseen_scenes * 2.0)
    assert plan.seconds["keypoints"] == pytest.approx(10 + plan.keypoint_samples / 60)
    assert plan.seconds["detector"] == pytest.approx(10 + plan.detector_samples / 15)
    looked_at = plan.seconds["evaluation"] - 10  # thrice for calibration: alone, on tables, depth
    assert looked_at > 1 and plan.seconds["calibration"] == pytest.approx(10 + 3 * looked_at)


def test_more_time_makes_more_of_everything():
    short, long = (make_plan(CreateConfig(minutes=m), SPEEDS, 2) for m in (30.0, 60.0))
    for name in ("raycast_scenes", "pathtraced_scenes", "keypoint_samples", "detector_samples"):
        assert getattr(long, name) > getattr(short, name)


def test_a_detector_that_has_learned_others_leaves_time_to_the_keypoints():
    afresh, going_on = (
        make_plan(CreateConfig(init=Path("a"), detector_init=init), SPEEDS, 2)
        for init in (None, Path("b"))
    )
    assert going_on.keypoint_samples > 1.2 * afresh.keypoint_samples
    assert going_on.detector_samples < 0.7 * afresh.detector_samples
    assert going_on.total == pytest.approx(afresh.total, rel=0.02)


def test_where_path_tracing_cannot_be_used_there_is_none():
    plan = make_plan(CreateConfig(), replace(SPEEDS, pathtraced=None), 2)
    assert plan.pathtraced_scenes == 0 and plan.raycast_scenes > 0


@pytest.mark.parametrize("minutes", [20.0, 600.0])
def test_where_samples_are_drawn_on_the_device_the_time_for_scenes_is_the_networks(minutes):
    config = CreateConfig(minutes=minutes, on_device=True)
    plan = make_plan(config, replace(SPEEDS, pathtraced=None), 2)
    scenes = make_plan(CreateConfig(minutes=minutes), replace(SPEEDS, pathtraced=None), 2)
    assert (plan.raycast_scenes, plan.pathtraced_scenes) == (0, 0) and plan.unseen_scenes > 0
    assert plan.keypoint_samples > 1.03 * scenes.keypoint_samples
    assert plan.total == pytest.approx(60 * minutes, rel=0.05)
    assert "none, samples are drawn where they are learned from" in describe(plan, config)[1]


def test_too_little_time_is_said_and_still_makes_something_of_everything():
    config = CreateConfig(minutes=0.1)
    plan = make_plan(config, SPEEDS, 2)
    assert plan.total > 60 * 0.1
    assert (plan.raycast_scenes, plan.unseen_scenes) == (4, 2)
    assert make_plan(config, SPEEDS, 30).raycast_scenes == 30  # each object has to be seen
    assert plan.keypoint_samples == config.least_steps * config.keypoint_batch
    assert "more than the 0.1 minutes asked for" in describe(plan, config)[-1]


def test_a_plan_names_every_step_with_its_time():
    config = CreateConfig(minutes=45.0)
    plan = make_plan(config, SPEEDS, 2)
    lines = describe(plan, config)
    for number, title in enumerate(STEPS.values(), start=1):
        assert lines[number - 1].startswith(f"{number}. {title}")
    assert f"{plan.keypoint_samples} samples of 128 px (" in lines[3]
    assert lines[-1] == "in all 45 min"


def test_a_detector_looks_through_a_trunk_that_learned_for_long_unless_it_has_itself():
    fresh, other = CreateConfig(), CreateConfig(init=Path("other"))
    trained = CreateConfig(init=Path("other"), detector_init=Path("finder"))
    assert [one.on_trunk for one in (fresh, other, trained)] == [False, True, False]
    plan = make_plan(other, SPEEDS, 2)
    assert "on the trunk" in " ".join(describe(plan, other))
    assert "on the trunk" not in " ".join(describe(plan, trained))


def test_a_plan_comes_back_from_json():
    plan = make_plan(CreateConfig(), SPEEDS, 2)
    assert plan_from_record(json.loads(json.dumps(asdict(plan)))) == plan


def test_much_time_makes_networks_look_closer_unless_told_otherwise():
    short, long = CreateConfig(minutes=45), CreateConfig(minutes=600)
    assert (short.crop_side, short.image_side) == (128, 320)
    assert (long.crop_side, long.image_side) == (256, 640)
    assert CreateConfig(minutes=600, crop_size=96).crop_side == 96
    drawn = CreateConfig(minutes=45, on_device=True)
    assert (drawn.crop_side, drawn.image_side) == (192, 448)
    assert CreateConfig(minutes=45, on_device=True, image_size=640).image_side == 640


@pytest.mark.parametrize(
    ("options", "complaint"),
    [
        ({"minutes": 0}, "minutes must be positive, got 0"),
        ({"minutes": float("nan")}, "minutes must be positive, got nan"),
        ({"workers": 0}, "workers must be at least 1, got 0"),
        ({"crop_size": 100}, "crop_size must be a multiple of 32, got 100"),
        ({"seed": -1}, "seed must not be negative, got -1"),
        ({"init": Path("a"), "backbone": Path("b")}, "from a backbone, not both"),
    ],
)
def test_options_that_make_no_sense_are_refused(options, complaint):
    with pytest.raises(OptionError, match=complaint):
        CreateConfig(**options)


@pytest.mark.parametrize(
    ("seconds", "said"), [(0.2, "1 s"), (45, "45 s"), (125, "2 min"), (9000, "2.5 h")]
)
def test_durations_are_said_as_people_say_them(seconds, said):
    assert duration(seconds) == said
