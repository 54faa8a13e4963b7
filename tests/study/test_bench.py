from dataclasses import replace

import numpy as np
import pytest

from heatpose.data.bop import Target, write_targets
from heatpose.data.samples import SampleMaker
from heatpose.errors import DataError
from heatpose.objects.chosen_keypoints import ChosenKeypoints, write_chosen
from heatpose.study.bench import Bench, FewImages, SampleMemory
from heatpose.study.rows import StudyOptions, TestSet
from heatpose.study.studies import make_study


@pytest.fixture
def bench(small_bop):
    root = small_bop()
    return Bench(StudyOptions(root / "models_eval", (TestSet(root),), 16, crop_size=64))


@pytest.fixture
def study(bench):
    return make_study("ladder", bench.options, 2)


def test_rows_that_see_the_same_draw_it_once(bench, study, monkeypatch):
    box, points = (bench.samples(row) for row in study.rows[:2])
    first = box(np.random.default_rng([0, 5]))
    monkeypatch.setattr(SampleMaker, "__call__", lambda *a: pytest.fail("it was drawn"))
    assert points(np.random.default_rng([0, 5])) is first
    assert [len(one.keypoints) for one in box.objects] == [9, 9]
    assert [len(one.keypoints) for one in points.objects] == [32, 32]


def test_samples_of_another_kind_are_others(bench, study):
    bare, augmented = (bench.samples(study.rows[i]) for i in (0, 4))
    one, other = (source(np.random.default_rng([0, 5])) for source in (bare, augmented))
    assert not np.array_equal(one.crop, other.crop)


def test_symmetries_are_ignored_where_a_row_says_so(bench, study):
    ignoring, knowing = (bench.objects(study.rows[i]) for i in (2, 3))
    assert [len(one.symmetries) for one in ignoring] == [1, 1]
    assert [len(one.symmetries) for one in knowing] == [1, 2]


def test_frames_come_with_their_true_boxes_and_depth(bench):
    [test_set] = bench.options.datasets
    frames = bench.frames(test_set)
    assert [len(one.detections) for one in frames] == [2, 2]
    assert frames[0].read().depth is not None


def test_a_full_memory_lets_the_oldest_go(bench, study):
    sample = bench.samples(study.rows[0])(np.random.default_rng(0))
    memory = SampleMemory(2.5 * (sample.crop.nbytes + 1000))
    for number in range(3):
        memory.keep((0, number), sample)
    assert [memory.find((0, n)) is sample for n in range(3)] == [False, True, True]


def test_objects_get_the_first_of_the_keypoints_that_were_chosen(bench, study, tmp_path):
    path = tmp_path / "learned.json"
    models = {model.object_id: model for model in bench.models}
    corners = {i: model.mesh.vertices for i, model in models.items()}
    points = {i: np.resize(corners[i], (12 if i == 2 else 20, 3)) for i in corners}
    chosen = [ChosenKeypoints(i, "", models[i].diameter, p, {}) for i, p in points.items()]
    write_chosen(path, chosen, {}, "learned")
    row = study.rows[1]
    first = replace(row, chosen=path, network=replace(row.network, n_keypoints=12))
    for model in bench.objects(first):
        np.testing.assert_allclose(model.keypoints, points[model.object_id][:12], atol=1e-3)
    many = replace(row, chosen=path, network=replace(row.network, n_keypoints=16))
    with pytest.raises(DataError, match=r"has 12 keypoints of object 2, at least 16 are needed"):
        bench.objects(many)


def test_few_images_are_spread_over_a_data_set(small_bop):
    root = small_bop()
    targets = [Target(5, image, 1 + image % 2) for image in range(10)]
    write_targets(root / "test_targets_bop19.json", targets)
    few = FewImages(root, "test", 4).targets()
    assert [one.image_id for one in few] == [0, 3, 6, 9]
    assert (
        FewImages(root, "test", 11).targets() == FewImages(root, "test", None).targets() == targets
    )
