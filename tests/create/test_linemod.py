import json
from dataclasses import replace

import numpy as np
import pytest
from typer.testing import CliRunner

from heatpose.cli import app
from heatpose.create.linemod import TrainingTime, frames_by_scene, split_source
from heatpose.data.recognise import read_source
from heatpose.errors import DataError, OptionError


@pytest.fixture
def preprocessed(toy_lab, tmp_path):
    toy_lab.write_preprocessed(tmp_path / "lm")
    return tmp_path / "lm"


def many(source, count):
    """The source with so many frames of each scene."""
    frames = [
        replace(next(f for f in source.frames if f.scene_id == scene), image_id=i)
        for scene in (1, 5)
        for i in range(count)
    ]
    return replace(source, frames=frames)


def test_the_papers_split_is_a_tenth_of_each_object_drawn_by_the_seed(preprocessed):
    source = many(read_source(preprocessed), 40)
    split, again, other = (split_source(source, "paper", seed) for seed in (3, 3, 4))
    assert frames_by_scene(split, "test") == {1: 4, 5: 4}
    assert frames_by_scene(split, "train") == {1: 36, 5: 36}
    names = [[one.split for one in each.frames] for each in (split, again, other)]
    assert names[0] == names[1] != names[2]
    places = [(f.scene_id, f.image_id) for f in split.frames if f.split == "test"]
    assert [(t.scene_id, t.image_id) for t in split.targets["test"]] == places


def test_the_fields_split_is_that_of_the_lists(preprocessed):
    split = split_source(read_source(preprocessed), "field")
    for name, images in (("train", {0, 2, 4}), ("test", {1, 3})):
        assert {f.image_id for f in split.frames if f.split == name} == images
        assert {(t.scene_id, t.object_id) for t in split.targets[name]} == {(1, 1), (5, 5)}


def test_what_cannot_be_split_is_refused_by_name(preprocessed, toy_lab, tmp_path):
    toy_lab.write_bop(tmp_path / "bop")
    bop = read_source(tmp_path / "bop")
    with pytest.raises(OptionError, match=r"bop is .* without train\.txt and test\.txt"):
        split_source(bop, "field")
    assert frames_by_scene(split_source(bop, "paper"), "test") == {1: 1, 5: 1}
    strange = replace(bop, frames=[replace(bop.frames[0], scene_id=48)])
    with pytest.raises(DataError, match="is not LINEMOD: there is no model of scene 48"):
        split_source(strange, "paper")


def test_hours_are_those_of_all_samples():
    # 3.6 million samples: a millisecond each takes an hour
    time = TrainingTime(3_600_000, making=0.032, stepping=0.050)
    assert time.cpu_hours == pytest.approx(82)
    assert time.gpu_hours == pytest.approx(2)


SMALL = ["--crop-size", "64", "--batch-size", "8", "--epoch-samples", "8", "--workers", "0"]


def test_a_plan_says_what_would_be_done_and_does_nothing(preprocessed, tmp_path):
    command = ["reproduce", "linemod", "--data", str(preprocessed), "--out", str(tmp_path / "out")]
    result = CliRunner().invoke(app, [*command, "--protocol", "field", "--plan", *SMALL])
    assert result.exit_code == 0, result.output
    assert "6 frames to train on and 4 to test on, of 2 objects" in result.output
    assert "the published train.txt" in result.output and "2,000,000 crops" in result.output
    assert "GPU hours" in result.output
    assert not (tmp_path / "out").exists()


@pytest.mark.slow
@pytest.mark.filterwarnings("ignore::DeprecationWarning", "ignore::UserWarning")
def test_from_a_data_set_to_scores_by_its_protocol(preprocessed, tmp_path):
    out = tmp_path / "out"
    command = ["reproduce", "linemod", "--data", str(preprocessed), "--out", str(out), *SMALL]
    command += ["--samples", "8", "--n-keypoints", "6"]
    result = CliRunner().invoke(app, [*command, "--protocol", "field"])
    assert result.exit_code == 0, result.output
    assert "4 targets in true boxes: ADD(-S) 0.1d" in result.output
    scores = json.loads((out / "scores.json").read_text())
    assert (scores["protocol"], scores["boxes"], scores["targets"]) == ("field", "ground truth", 4)
    assert np.isfinite([scores["mean"][k] for k in ("add_s_0.1d", "add_s_0.05d", "proj_5px")]).all()
    trained = (out / "run" / "log.jsonl").stat().st_mtime_ns
    assert CliRunner().invoke(app, [*command, "--protocol", "field"]).exit_code == 0
    assert (out / "run" / "log.jsonl").stat().st_mtime_ns == trained
    result = CliRunner().invoke(app, [*command, "--protocol", "paper"])
    assert result.exit_code == 1 and "was begun with" in result.output
