import itertools

import numpy as np
import pytest
import torch

from heatpose.data import samples as samples_module
from heatpose.data.backgrounds import Backgrounds
from heatpose.data.depth_samples import DepthConfig
from heatpose.data.samples import SampleConfig, SampleMaker, SampleStream, jittered
from heatpose.data.views import ViewConfig, random_pose
from heatpose.geometry.boxes import box_of_mask

SMALL = SampleConfig(crop_size=64, views=ViewConfig(smallest=30, largest=70))


@pytest.fixture
def maker(objects):
    return SampleMaker(objects, Backgrounds(), SMALL)


def test_the_same_number_gives_the_same_sample_and_another_a_different_one(maker):
    stream = SampleStream(maker, 10, seed=4)
    first, again, other = stream[3], stream[3], stream[4]
    assert all(torch.equal(first[name], again[name]) for name in first)
    assert not torch.equal(first["crop"], other["crop"])
    assert not torch.equal(SampleStream(maker, 10, seed=5)[3]["crop"], first["crop"])


def test_a_stream_ends(maker):
    assert len(list(itertools.islice(SampleStream(maker, 3), 5))) == 3


@pytest.mark.filterwarnings("ignore:This DataLoader will create")  # on one core
def test_processes_give_what_one_gives(maker):
    stream = SampleStream(maker, 8, seed=1)
    alone = torch.stack([stream[i]["crop"] for i in range(8)])
    loader = torch.utils.data.DataLoader(stream, batch_size=8, num_workers=2)
    assert torch.equal(next(iter(loader))["crop"], alone)


def test_samples_say_what_they_are(maker):
    sample = SampleStream(maker, 1)[0]
    assert sample["crop"].shape == (64, 64, 3) and sample["crop"].dtype == torch.uint8
    assert sample["object_index"].dtype == torch.int64
    assert sample["camera_matrix"].shape == (3, 3)
    assert sample["camera_from_object"].shape == (4, 4)


def test_the_crop_shows_the_object_where_its_camera_says(objects):
    # A cube in a colour that nothing else has, no cut-outs: its crop pixels are its silhouette.
    plain = SampleConfig(
        crop_size=64, cut_outs=0.0, views=ViewConfig(smallest=50, largest=70, n_others=0)
    )
    maker = SampleMaker(objects[1:], Backgrounds(), plain)
    overlaps = []
    for number in range(30):
        sample = maker(np.random.default_rng([1, number]))
        mask = maker.renderer.render([7], [sample.camera_from_object], sample.camera).mask(0)
        assert mask[8:-8, 8:-8].mean() > 0.1
        # Edges of the picture are where those of the silhouette are, against shifted ones.
        overlaps.append(
            [edge_strength(sample.crop, np.roll(mask, shift, axis=1)) for shift in (-6, 0, 6)]
        )
    strengths = np.mean(overlaps, axis=0)
    assert strengths[1] > 1.15 * max(strengths[0], strengths[2])


def edge_strength(crop, mask):
    grey = crop.mean(axis=2)
    gradient = np.hypot(*np.gradient(grey))
    outline = mask ^ (
        mask
        & np.roll(mask, 1, 0)
        & np.roll(mask, -1, 0)
        & np.roll(mask, 1, 1)
        & np.roll(mask, -1, 1)
    )
    return gradient[outline].mean() / gradient.mean()


def test_objects_are_looked_for_equally_often_and_never_hidden(maker):
    samples = [maker(np.random.default_rng([2, number])) for number in range(120)]
    share = np.mean([sample.object_index for sample in samples])
    assert 0.35 < share < 0.65  # 120 draws of a half, over 3 standard deviations


def edges_moved(**config):
    box = (100.0, 200.0, 180.0, 240.0)
    moved = [jittered(np.random.default_rng(n), box, SampleConfig(**config)) for n in range(800)]
    return np.array(moved) - box


def test_every_edge_of_a_box_scatters_for_itself():
    moved = edges_moved(box_edge=0.05, box_cut=0.0)
    np.testing.assert_allclose(moved.mean(axis=0), 0, atol=0.6)
    np.testing.assert_allclose(moved.std(axis=0), 0.05 * 80, rtol=0.12)
    correlation = np.corrcoef(moved.T) - np.eye(4)
    assert np.abs(correlation).max() < 0.15


def test_cuts_move_one_edge_inwards_by_up_to_a_third():
    moved = edges_moved(box_edge=0.0, box_cut=1.0) * [1, 1, -1, -1] / [80, 40, 80, 40]
    assert ((np.abs(moved) > 1e-9).sum(axis=1) == 1).all()
    assert moved.min() > -1e-9 and 0.3 < moved.max() <= 1 / 3
    np.testing.assert_allclose((moved > 1e-9).mean(axis=0), 0.25, atol=0.06)


def test_boxes_are_never_empty():
    moved = edges_moved(box_edge=2.0, box_cut=1.0) + [100.0, 200.0, 180.0, 240.0]
    assert (moved[:, 2:] - moved[:, :2] >= 0.2 * 80 - 1e-9).all()


def test_others_in_front_hide_more_but_leave_enough_to_see(objects):
    fractions = {}
    for hidden in (0.0, 1.0):
        views = ViewConfig(smallest=50, largest=70, n_others=0, hidden=hidden)
        maker = SampleMaker(objects, Backgrounds(), SampleConfig(crop_size=64, views=views))
        shares = []
        for number in range(60):
            rng = np.random.default_rng([2, number])
            index = number % 2
            pose = random_pose(rng, objects[index].diameter, views)
            camera = maker._patch_camera(index, pose)
            others = maker._surroundings(rng, index, pose, camera)
            placed = [(index, pose), *others]
            ids = [objects[i].object_id for i, _ in placed]
            rendering = maker.renderer.render(ids, [p for _, p in placed], camera)
            shares.append(rendering.visible_fraction(0))
            assert all(other[2, 3] < pose[2, 3] for _, other in others)
        fractions[hidden] = np.array(shares)
    assert (fractions[0.0] == 1).all()
    assert np.median(fractions[1.0]) < 0.8
    assert fractions[1.0].min() > views.min_visible - 0.1  # which is measured coarsely


def test_samples_can_be_stretched_and_left_as_they_are_rendered(objects, monkeypatch):
    monkeypatch.setattr(samples_module, "degrade", lambda *a: pytest.fail("it was degraded"))
    views = ViewConfig(smallest=60, largest=90, n_others=0)
    tight = {"margin": 1.0, "box_edge": 0.0, "box_cut": 0.0, "cut_outs": 0.0}
    bare = SampleConfig(crop_size=64, views=views, stretched=True, degraded=False, **tight)
    maker = SampleMaker(objects, Backgrounds(), bare)
    for number in range(6):
        sample = maker(np.random.default_rng(number))
        seen = (
            maker.renderer.render(
                [objects[sample.object_index].object_id], [sample.camera_from_object], sample.camera
            ).instance
            == 0
        )
        rows, cols = np.flatnonzero(seen.any(axis=1)), np.flatnonzero(seen.any(axis=0))
        # The object fills its crop from edge to edge, both ways.
        assert rows[0] <= 2 and rows[-1] >= 61 and cols[0] <= 2 and cols[-1] >= 61
    with pytest.raises(ValueError, match="stretched samples have no depth"):
        SampleConfig(stretched=True, depth=DepthConfig())


@pytest.mark.parametrize("whole", [0.0, 1.0])
def test_boxes_lie_around_what_is_visible_or_all_there_is(objects, monkeypatch, whole):
    views = ViewConfig(smallest=60, largest=100, hidden=1.0)
    maker = SampleMaker(objects, Backgrounds(), SampleConfig(box_whole=whole, views=views))
    boxes, hidden = [], 0

    def noted(rng, picture, depth, camera, box, config, backgrounds):
        boxes.append((box, camera))
        return picture, None, camera

    monkeypatch.setattr(samples_module, "cut_sample", noted)
    drawn, render = [], maker._render
    monkeypatch.setattr(maker, "_render", lambda *args: drawn.append(render(*args)) or drawn[-1])
    for number in range(12):
        maker(np.random.default_rng(number))
        (box, camera), seen = boxes[-1], drawn[-1]
        scale = len(seen.depth) // camera.height
        mask = (seen.full_masks[0] if whole else seen.mask(0))[::scale, ::scale]
        np.testing.assert_allclose(box, box_of_mask(mask), atol=1.5)
        hidden += seen.visible_fraction(0) < 0.9
    assert hidden > 5
