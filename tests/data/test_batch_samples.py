import cv2
import numpy as np
import pytest
import torch

from heatpose.data.backgrounds import Backgrounds
from heatpose.data.batch_layouts import Layout, warped
from heatpose.data.batch_samples import (
    BatchMaker,
    BatchStream,
    DrawingConfig,
    boxes_of_masks,
)
from heatpose.data.batch_scenery import BatchScenery, generated_textures, paint, random_lights
from heatpose.data.depth_samples import DepthConfig
from heatpose.data.samples import SampleConfig, SampleMaker, SampleStream
from heatpose.data.views import ViewConfig
from heatpose.geometry.boxes import box_of_mask
from heatpose.geometry.camera import Camera
from heatpose.objects.catalogue import ObjectModel
from heatpose.render.raycast import Renderer
from heatpose.render.splats import draw

DEVICE = torch.device("cpu")
VIEWS = ViewConfig(smallest=40, largest=70)
SMALL = SampleConfig(crop_size=64, views=VIEWS)
FEW = DrawingConfig(points=8_000)


@pytest.fixture
def objects(brick_mesh, cube_mesh):
    identity = np.eye(4)[None]
    return [
        ObjectModel(3, "brick", brick_mesh, brick_mesh.vertices, identity, 161.6),
        ObjectModel(7, "cube", cube_mesh, cube_mesh.vertices, identity, 138.6),
    ]


@pytest.fixture
def photos(tmp_path):
    rng = np.random.default_rng(0)
    for i, shape in enumerate([(60, 80, 3), (90, 70, 3)]):
        cv2.imwrite(str(tmp_path / f"{i}.png"), rng.integers(0, 256, shape, np.uint8))
    return Backgrounds(tmp_path)


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


def test_enough_is_seen_of_what_is_looked_for(objects):
    config = SampleConfig(
        crop_size=64, views=ViewConfig(smallest=40, largest=70, hidden=1.0, min_visible=0.6)
    )
    maker = maker_of(objects, config)
    layout = maker._layout(generator(2), 60)
    assert (maker._visible_fraction(layout) > 0.55).all()
    assert (layout.object_index[:, 1:] >= 0).any()


def test_samples_that_only_the_other_maker_can_draw_are_refused(objects):
    for config in (SampleConfig(stretched=True), SampleConfig(depth=DepthConfig())):
        with pytest.raises(ValueError, match="not stretched and have no depth"):
            maker_of(objects, config)


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


def test_backgrounds_come_from_photographs_most_of_the_time(photos):
    grey = Backgrounds()
    grey.photos = [np.full((50, 60, 3), 90, np.uint8)]
    drawn = BatchScenery(grey, DEVICE).draw(generator(), 200, 16)
    plain = (drawn - 90 / 255).abs().amax(dim=(1, 2, 3)) < 0.01
    assert plain.float().mean() == pytest.approx(0.85, abs=0.07)
    varied = BatchScenery(photos, DEVICE).draw(generator(), 4, 300)
    assert varied.shape == (4, 3, 300, 300) and (varied >= 0).all() and (varied <= 1).all()


def test_textures_are_all_different():
    textures = generated_textures(generator(), 6, 20)
    assert (textures >= 0).all() and (textures <= 1).all()
    assert textures.flatten(1).std(dim=1).min() > 0.01
    assert textures.mean(dim=(2, 3)).std(dim=0).min() > 0.05


def standing(objects, camera_height=900.0, b=1):
    """Layouts of one object on a table, looked at from straight above."""
    pose = torch.eye(4).repeat(b, 1, 1, 1)
    pose[:, :, :3, :3] = torch.diag(torch.tensor([1.0, -1, -1]))
    pose[:, :, 2, 3] = camera_height
    up = torch.tensor([[0.0, 0, -1]]).expand(b, 3)
    low = float(objects[1].mesh.lower[2])
    return Layout(
        torch.ones(b, 1, dtype=torch.int64), pose, up, torch.full((b,), low - camera_height)
    )


def test_tables_lie_under_objects_and_end_somewhere(objects):
    maker = maker_of(objects)
    maker.scenery.sizes = []
    b, size = 40, 80
    layout = standing(objects, b=b)
    matrix = torch.tensor([[40.0, 0, 39.5], [0, 40, 39.5], [0, 0, 1]]).expand(b, 3, 3)
    splats = draw(maker.strewn, layout.object_index, layout.camera_from_object, matrix, size)
    on_table = paint(generator(5), splats, maker.strewn, layout, matrix, maker.scenery, 0.0)
    bare = Layout(
        layout.object_index, layout.camera_from_object, layout.up, torch.full((b,), torch.nan)
    )
    without = paint(generator(5), splats, maker.strewn, bare, matrix, maker.scenery, 0.0)
    assert on_table.isfinite().all() and without.isfinite().all()
    background = (splats.instance < 0)[:, None].expand_as(on_table)
    same = torch.where(background, (on_table - without).abs(), 0).amax(dim=1) < 1e-6
    y, x = torch.meshgrid(torch.arange(size), torch.arange(size), indexing="ij")
    from_middle = torch.hypot(x - 39.5, y - 39.5) * (900 + 40) / 40  # mm on the table
    seen = splats.instance < 0
    assert not (same & seen)[:, from_middle < 140].float().mean() > 0.02
    assert same[:, from_middle > 830].all()


def test_objects_cast_shadows_on_tables(objects):
    maker = maker_of(objects)
    maker.scenery.sizes = []
    b, size = 60, 64
    layout = standing(objects, b=b)
    matrix = torch.tensor([[300.0, 0, 31.5], [0, 300, 31.5], [0, 0, 1]]).expand(b, 3, 3)
    index = torch.full_like(layout.object_index, -1)
    nothing = Layout(index, layout.camera_from_object, layout.up, layout.table)
    pictures = []
    for one in (layout, nothing):
        splats = draw(maker.strewn, one.object_index, one.camera_from_object, matrix, size)
        drawn = paint(generator(6), splats, maker.strewn, one, matrix, maker.scenery, 0.0)
        pictures.append(torch.where((splats.instance < 0)[:, None], drawn, torch.nan))
    darker = (pictures[0] < pictures[1] - 0.02).any(dim=1).float().mean(dim=(1, 2))
    lighter = (pictures[0] > pictures[1] + 1e-4).any(dim=1).float().mean()
    assert lighter == 0
    assert (darker > 0.02).float().mean() > 0.7


def test_few_points_are_enough_for_shadows(objects):
    # Fewer than shadows would take at most.
    maker = maker_of(objects, drawing=DrawingConfig(tables=1.0, points=500))
    assert maker(generator(), 4)["crop"].shape == (4, 64, 64, 3)


def test_lights_have_unit_directions_and_come_from_above_tables(objects):
    layout = standing(objects, b=500)
    lights = random_lights(generator(7), layout)
    lengths = lights.directions.norm(dim=2)
    assert torch.allclose(lengths, torch.ones_like(lengths), atol=1e-5)
    from_above = (lights.directions * layout.up[:, None]).sum(dim=2) > 0
    assert from_above.float().mean() > 0.8
    strength = lights.colours.mean(dim=2).sum(dim=1)
    assert strength.min() > 0.15 and strength.max() < 1.3
    on = (lights.colours.mean(dim=2) > 0).sum(dim=1)
    assert set(on.tolist()) == {1, 2, 3}
