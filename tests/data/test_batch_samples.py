from dataclasses import replace

import cv2
import numpy as np
import pytest
import torch

from heatpose.data import batch_samples, batch_scenery
from heatpose.data.backgrounds import Backgrounds
from heatpose.data.batch_layouts import random_layout, warped
from heatpose.data.batch_samples import (
    BatchMaker,
    BatchStream,
    DrawingConfig,
    boxes_of_masks,
)
from heatpose.data.batch_scenery import BatchScenery, Lights
from heatpose.data.samples import SampleConfig, SampleMaker, SampleStream, jittered
from heatpose.data.views import ViewConfig
from heatpose.geometry.boxes import box_of_mask
from heatpose.geometry.camera import Camera
from heatpose.render.raycast import Renderer

DEVICE = torch.device("cpu")
VIEWS = ViewConfig(smallest=40, largest=70)
SMALL = SampleConfig(crop_size=64, views=VIEWS)
FEW = DrawingConfig(points=8_000)


@pytest.fixture
def white_on_black(monkeypatch):
    """All light is the same from everywhere, and nothing is behind."""

    def lights(generator, layout):
        b = len(layout.up)
        none, one = torch.zeros(b, 3, 3), torch.ones(b, 1)
        return Lights(none + torch.tensor([0.0, 0, -1]), none, none[:, 0] + 1, 0 * one, one)

    monkeypatch.setattr(batch_scenery, "random_lights", lights)
    monkeypatch.setattr(
        BatchScenery, "draw", lambda self, generator, b, size: torch.zeros(b, 3, size, size)
    )


def white(model):
    return replace(model, mesh=replace(model.mesh, colours=np.full_like(model.mesh.colours, 255)))


def crop_camera(batch, row, size=64):
    return Camera.from_matrix(batch["camera_matrix"][row].double().numpy(), size, size)


def whiteness(batch):
    """How white the pixels are, (b, h, w), from 0 to 1."""
    return batch["crop"].double().mean(dim=3).numpy() / 255


def centre_of_mass(weights):
    y, x = np.mgrid[: weights.shape[0], : weights.shape[1]]
    return np.array([(weights * x).sum(), (weights * y).sum()]) / weights.sum()


def maker_of(objects, config=SMALL, backgrounds=None, drawing=FEW):
    return BatchMaker(objects, backgrounds or Backgrounds(), config, drawing, DEVICE)


def generator(seed=0):
    return torch.Generator().manual_seed(seed)


def test_the_same_number_gives_the_same_batch_and_another_a_different_one(objects, photos):
    stream = BatchStream(maker_of(objects, backgrounds=photos), 3, 10, seed=4)
    assert len(stream) == 10
    first, again, other = stream[3], stream[3], stream[4]
    assert all(torch.equal(first[name], again[name]) for name in first)
    assert not torch.equal(first["crop"], other["crop"])
    elsewhere = BatchStream(stream.maker, 3, 10, seed=5)[3]
    assert not torch.equal(elsewhere["crop"], first["crop"])


def test_batches_are_like_those_of_samples_one_by_one(objects):
    batch = maker_of(objects)(generator(), 5)
    one = SampleStream(SampleMaker(objects, Backgrounds(), SMALL), 1)[0]
    assert set(batch) == set(one)
    for name, value in one.items():
        assert batch[name].shape == (5, *value.shape) and batch[name].dtype == value.dtype


def test_crops_show_objects_where_their_cameras_say(objects):
    # Plain pictures of one object: what differs between two backgrounds is its surroundings.
    config = SampleConfig(crop_size=64, cut_outs=0.0, degraded=False, views=VIEWS)
    maker = maker_of(objects[1:], config, drawing=DrawingConfig(tables=0.0, points=30_000))
    batch = maker(generator(1), 16)
    renderer = Renderer({7: objects[1].mesh})
    overlaps, colours = [], []
    for crop, matrix, pose in zip(
        batch["crop"], batch["camera_matrix"], batch["camera_from_object"], strict=True
    ):
        fx, fy, cx, cy = matrix[0, 0], matrix[1, 1], matrix[0, 2], matrix[1, 2]
        camera = Camera(*map(float, (fx, fy, cx, cy)), 64, 64)
        rays = renderer.render([7], [pose.double().numpy()], camera)
        # The darkest channel over the lightest is that of the albedo, whatever the white light.
        inside = cv2.erode(rays.mask(0).astype(np.uint8), np.ones((5, 5))) > 0
        shown = crop.numpy()[inside].astype(float)
        ratio = shown[:, 0] / np.maximum(shown.sum(axis=1), 1)
        true = rays.albedo[inside][:, 0] / rays.albedo[inside].sum(axis=1)
        colours.append(np.corrcoef(ratio, true)[0, 1])
        overlaps.append(inside.sum())
    assert min(overlaps) > 300  # the object fills much of its crop
    assert np.median(colours) > 0.9


@pytest.mark.parametrize(("smallest", "largest"), [(40, 70), (150, 170)], ids=["far", "near"])
def test_outlines_lie_where_rays_see_them_to_a_tenth_of_a_pixel(
    objects, white_on_black, smallest, largest
):
    # Far objects are drawn at twice the resolution, near ones at that of the photograph.
    views = ViewConfig(smallest=smallest, largest=largest, n_others=0)
    config = SampleConfig(crop_size=64, cut_outs=0.0, degraded=False, box_cut=0.0, views=views)
    drawing = DrawingConfig(tables=0.0, points=60_000)
    batch = maker_of([white(objects[0])], config, drawing=drawing)(generator(1), 24)
    renderer, errors, areas = Renderer({3: objects[0].mesh}), [], []
    for row, drawn in enumerate(whiteness(batch)):
        camera = crop_camera(batch, row)
        fine = camera.warped(4.0, np.array([1.5, 1.5]), 256, 256)  # 4 x 4 rays a pixel
        pose = batch["camera_from_object"][row].double().numpy()
        true = renderer.render([3], [pose], fine).mask(0).reshape(64, 4, 64, 4).mean(axis=(1, 3))
        edge = np.pad(np.zeros((60, 60)), 2, constant_values=1)
        assert not (true * edge).any()  # all of it is in the crop
        zoom = camera.fx / views.camera.fx
        errors.append((centre_of_mass(drawn) - centre_of_mass(true)) / zoom)
        areas.append(drawn.sum() / true.sum())
    assert np.abs(np.mean(errors, axis=0)).max() < 0.1  # px of the photograph
    assert np.abs(errors).max() < 0.5
    assert np.mean(areas) == pytest.approx(1, abs=0.015)


@pytest.mark.parametrize("whole", [0.0, 1.0])
def test_crops_are_laid_around_what_is_visible_or_all_there_is(objects, white_on_black, whole):
    config = SampleConfig(
        crop_size=64,
        box_edge=0.0,
        box_cut=0.0,
        box_whole=whole,
        views=ViewConfig(smallest=60, largest=100, hidden=1.0),
        degraded=False,
    )
    maker = maker_of(objects, config)
    batch, layout = maker(generator(3), 12), maker._layout(generator(3), 12)
    renderer, errors, hidden = Renderer({o.object_id: o.mesh for o in objects}), [], 0
    for row, pose in enumerate(batch["camera_from_object"]):
        [same] = (layout.camera_from_object[:, 0] == pose).all(dim=(1, 2)).nonzero().flatten()
        index = layout.object_index[same]
        assert batch["object_index"][row] == index[0]
        poses = layout.camera_from_object[same][index >= 0].double().numpy()
        ids = [objects[i].object_id for i in index[index >= 0]]
        seen = renderer.render(ids, list(poses), crop_camera(batch, row))
        mask = seen.full_masks[0] if whole else seen.mask(0)
        left, top, right, bottom = box_of_mask(mask)
        side = max(right - left, bottom - top) * config.margin
        errors.append([(left + right) / 2 - 31.5, (top + bottom) / 2 - 31.5, side - 64])
        hidden += seen.visible_fraction(0) < 0.9
    assert hidden > 5
    assert np.abs(np.median(errors, axis=0)).max() < 1 and np.abs(errors).max(axis=1).mean() < 2.5


@pytest.mark.parametrize(("edge", "cut"), [(0.05, 0.0), (0.0, 1.0), (0.05, 0.25)])
def test_boxes_are_as_wrong_as_those_of_samples_one_by_one(edge, cut):
    config, count = SampleConfig(box_edge=edge, box_cut=cut, margin=1.5), 4000
    one = torch.tensor([9.5, 19.5, 49.5, 33.5])
    left_top, side = batch_samples._jittered_square(generator(), one.expand(count, -1), config)
    new = torch.cat([left_top + side[:, None] / 2, side[:, None]], dim=1).double().numpy()
    rng, box = np.random.default_rng(0), (9.5, 19.5, 49.5, 33.5)
    boxes = np.array([jittered(rng, box, config) for _ in range(count)])
    width, height = boxes[:, 2] - boxes[:, 0], boxes[:, 3] - boxes[:, 1]
    middle = (boxes[:, :2] + boxes[:, 2:]) / 2
    old = np.column_stack([middle, 1.5 * np.maximum(width, height)])
    # Four standard errors of a difference.
    apart = np.abs(new.mean(axis=0) - old.mean(axis=0))
    assert (apart < 4 * old.std(axis=0) * np.sqrt(2 / count)).all()
    np.testing.assert_allclose(new.std(axis=0), old.std(axis=0), rtol=0.06)
    # Not the same for all edges: centre and size move together where one edge is cut.
    np.testing.assert_allclose(np.corrcoef(new.T), np.corrcoef(old.T), atol=0.06)


def test_the_visible_fraction_is_that_of_rays(objects):
    maker = maker_of(objects, drawing=DrawingConfig(points=30_000))
    views = ViewConfig(smallest=60, largest=100, hidden=1.0)
    layout = random_layout(generator(2), maker.shapes, views, 20, table_share=0.5)
    renderer = Renderer({o.object_id: o.mesh for o in objects})
    expected = []
    for index, poses in zip(layout.object_index, layout.camera_from_object, strict=True):
        ids = [objects[i].object_id for i in index[index >= 0]]
        there = list(poses[index >= 0].double().numpy())
        expected.append(renderer.render(ids, there, views.camera).visible_fraction(0))
    fractions = maker._visible_fraction(layout).numpy()
    assert np.std(expected) > 0.1
    np.testing.assert_allclose(fractions, expected, atol=0.06)


def test_enough_is_seen_of_what_is_looked_for(objects):
    views = ViewConfig(smallest=40, largest=70, hidden=1.0, min_visible=0.6)
    maker = maker_of(objects, SampleConfig(crop_size=64, views=views))
    layout = maker._layout(generator(2), 60)
    assert (maker._visible_fraction(layout) > 0.55).all()
    alone = (layout.object_index[:, 1:] < 0).all(dim=1)
    assert alone.float().mean() < 0.3
    # Spare layouts come first in the place of those that hide too much.
    wanted = random_layout(generator(2), maker.shapes, views, 75, table_share=0.5)
    enough = maker._visible_fraction(wanted) >= 0.6
    assert alone.sum() == max(60 - int(enough.sum()), 0) and not enough[:60].all()


def test_what_will_be_shrunk_is_blurred_as_shrinking_would(objects, monkeypatch):
    extra = []

    def noted(generator, picture, harsh, extra_blur):
        extra.append(extra_blur)
        return picture

    monkeypatch.setattr(batch_samples, "degrade", noted)
    views = ViewConfig(smallest=30, largest=170)
    config = SampleConfig(crop_size=96, views=views, box_edge=0.0)
    batch = maker_of(objects, config)(generator(4), 16)
    zoom = batch["camera_matrix"][:, 0, 0] / views.camera.fx
    # Pixels of 1 / zoom px instead of 1 px: the variance of a box is a twelfth of its square.
    blurs, groups = torch.cat(extra), len(extra)
    torch.testing.assert_close(blurs, ((1 / zoom**2 - 1) / 12).clamp(0, 7), rtol=1e-3, atol=1e-3)
    assert (blurs > 0.1).any() and (blurs == 0).any()
    plain = replace(config, degraded=False)
    assert maker_of(objects, plain)(generator(4), 2) and len(extra) == groups


def test_pieces_cover_crops_in_the_end(objects, white_on_black):
    views = ViewConfig(smallest=40, largest=70, n_others=0)
    whole, covered = (
        whiteness(
            maker_of(
                [white(objects[0])],
                SampleConfig(crop_size=64, degraded=False, cut_outs=share, views=views),
                drawing=DrawingConfig(tables=0.0, points=8_000),
            )(generator(5), 24)
        )[:12]  # those after them are drawn with other numbers
        for share in (0.0, 1.0)
    )
    assert (covered <= whole).all()
    assert ((whole - covered).sum(axis=(1, 2)) > 0).mean() > 0.5
    assert ((covered == whole) | (covered == 0)).all()


@pytest.mark.parametrize("share", [0.0, 1.0])
def test_tables_come_as_often_as_asked_for(objects, share):
    maker = maker_of(objects, drawing=DrawingConfig(tables=share, points=8_000))
    tables = maker._layout(generator(6), 60).table.isfinite().float().mean()
    assert tables == 0 if share == 0 else tables > 0.7


def test_samples_that_only_the_other_maker_can_draw_are_refused(objects):
    with pytest.raises(ValueError, match="not stretched"):
        maker_of(objects, SampleConfig(stretched=True))


def test_boxes_are_those_of_each_mask():
    rng = np.random.default_rng(3)
    masks = np.zeros((5, 20, 30), bool)
    for mask in masks:
        rows, cols = rng.integers(0, 20, 6), rng.integers(0, 30, 6)
        mask[rows, cols] = True
    boxes = boxes_of_masks(torch.from_numpy(masks)).numpy()
    assert boxes.tolist() == [list(box_of_mask(mask)) for mask in masks]


def test_warping_a_camera_moves_its_pixels():
    camera = Camera(fx=500.0, fy=510.0, cx=31.0, cy=33.0, width=64, height=64)
    matrix = torch.from_numpy(camera.matrix).float()
    moved = warped(matrix, torch.tensor([2.0]), torch.tensor([[3.0, -4.0]]))
    expected = camera.warped(2.0, np.array([3.0, -4.0]), 64, 64).matrix
    assert np.allclose(moved[0].numpy(), expected, atol=1e-3)


def test_few_points_are_enough_for_shadows(objects):
    # Fewer than shadows would take at most.
    maker = maker_of(objects, drawing=DrawingConfig(tables=1.0, points=500))
    assert maker(generator(), 4)["crop"].shape == (4, 64, 64, 3)
