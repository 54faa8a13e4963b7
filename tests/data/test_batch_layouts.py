from dataclasses import replace

import numpy as np
import pytest
import torch

from heatpose.data.batch_layouts import (
    Shapes,
    random_layout,
    random_rotations,
    turns_about_z,
    upright_rotations,
)
from heatpose.data.views import ViewConfig

CONFIG = ViewConfig(upright=0.5, hidden=0.6)


@pytest.fixture
def shapes(objects):
    return Shapes.of(objects, torch.device("cpu"))


def generator(seed=0):
    return torch.Generator().manual_seed(seed)


def assert_rotations(matrices):
    identity = torch.eye(3).expand_as(matrices)
    assert torch.allclose(matrices @ matrices.mT, identity, atol=1e-5)
    assert torch.allclose(torch.linalg.det(matrices), torch.ones(len(matrices)), atol=1e-5)


def test_rotations_are_rotations_and_none_is_favoured():
    matrices = random_rotations(generator(), 4000)
    assert_rotations(matrices)
    assert matrices.mean(dim=0).abs().max() < 0.05  # no axis tends anywhere


def test_upright_views_are_from_above_with_z_up_in_the_image():
    rotations, up = upright_rotations(generator(), 4000)
    assert_rotations(rotations)
    assert torch.equal(up, rotations[:, :, 2])
    # From above: up looks back at the camera, by the sine of the elevation.
    assert (up[:, 2] < 0.11).all() and up[:, 2].mean() == pytest.approx(-0.45, abs=0.03)
    level = up[:, 2].abs() < 0.2
    assert (up[level, 1] < 0).float().mean() > 0.99  # y points down in the image


def test_turns_about_z_are_those_of_the_plane():
    turned = turns_about_z(torch.tensor([np.pi / 2])) @ torch.tensor([1.0, 0, 5])
    assert torch.allclose(turned, torch.tensor([[0.0, 1, 5]]), atol=1e-6)


def test_objects_looked_for_lie_in_the_image_at_sizes_asked_for(shapes):
    layout = random_layout(generator(), shapes, CONFIG, 2000, table_share=0.5)
    place = layout.camera_from_object[:, 0, :3, 3]
    size = CONFIG.camera.fx * shapes.diameters[layout.object_index[:, 0]] / place[:, 2]
    assert size.min() > CONFIG.smallest - 0.01 and size.max() < CONFIG.largest + 0.01
    middle = (CONFIG.smallest * CONFIG.largest) ** 0.5  # log-uniform
    assert size.median() == pytest.approx(middle, rel=0.1)
    x, y = place[:, 0] / place[:, 2] * CONFIG.camera.fx, place[:, 1] / place[:, 2] * 573.6
    assert (x.abs() + size / 2 < 320.5).all() and (y.abs() + size / 2 < 240.5).all()
    assert_rotations(layout.camera_from_object[:, 0, :3, :3])


def test_all_on_a_table_stand_on_it(shapes):
    layout = random_layout(generator(1), shapes, CONFIG, 800, table_share=1.0)
    standing = layout.table.isfinite()
    assert standing.float().mean() > 0.75  # of those seen from high enough
    lowest = shapes.lows[layout.object_index.clamp_min(0)]
    poses = layout.camera_from_object
    feet = poses[..., :3, 3] + lowest[..., None] * poses[..., :3, 2]
    height = (feet * layout.up[:, None]).sum(dim=-1) - layout.table[:, None]
    there = (layout.object_index >= 0) & standing[:, None]
    assert height[there].abs().max() < 0.05
    # And their own z axes are up.
    assert torch.allclose(poses[there][:, :3, 2], layout.up[:, None].expand_as(feet)[there])
    assert (layout.table[standing] < 0).all()  # the camera is above


def test_without_tables_there_are_none(shapes):
    layout = random_layout(generator(2), shapes, CONFIG, 100, table_share=0.0)
    assert layout.table.isnan().all()


def test_others_are_other_objects_and_one_is_in_front_as_often_as_asked_for(shapes):
    layout = random_layout(generator(3), shapes, CONFIG, 3000, table_share=0.0)
    others = layout.object_index[:, 1:]
    assert (others != layout.object_index[:, :1]).all()
    assert (others[:, 0] >= 0).float().mean() == pytest.approx(0.6, abs=0.04)
    front = layout.camera_from_object[:, 1, 2, 3] < layout.camera_from_object[:, 0, 2, 3]
    assert front.all()
    beside = (others[:, 1:] >= 0).float().sum(dim=1).mean()
    assert beside == pytest.approx(CONFIG.n_others / 2, abs=0.1)


def test_one_in_front_hides_a_part(shapes):
    layout = random_layout(generator(5), shapes, CONFIG, 1000, table_share=0.0)
    place, other = (layout.camera_from_object[:, slot, :3, 3] for slot in (0, 1))
    radius, others_radius = (
        shapes.diameters[layout.object_index[:, slot].clamp_min(0)] / 2 for slot in (0, 1)
    )
    nearer = other[:, 2] / place[:, 2]
    aside = (other - nearer[:, None] * place).norm(dim=1)  # of the line of sight
    # Spheres around both would touch in the picture at 1.
    share = (aside / (nearer * radius + others_radius))[layout.object_index[:, 1] >= 0]
    assert share.min() > 0.149 and share.max() < 0.801
    assert share.mean() == pytest.approx((0.15 + 0.8) / 2, abs=0.03)


@pytest.mark.parametrize("share", [0.0, 0.5, 1.0])
def test_as_many_stand_upright_as_asked_for(shapes, share):
    config = replace(CONFIG, upright=share)
    layout = random_layout(generator(6), shapes, config, 1500, table_share=0.0)
    for slot in range(3):
        # Upright: z looks at the camera, or hardly away; of any direction 45 % look away more.
        away = layout.camera_from_object[:, slot, 2, 2] > 0.11
        assert away.float().mean() == pytest.approx(0.445 * (1 - share), abs=0.04 * (share < 1))


@pytest.mark.parametrize("share", [0.0, 1.0])
def test_nothing_stands_close_to_the_camera(shapes, share):
    close = ViewConfig(smallest=300, largest=470, hidden=1.0)  # px
    layout = random_layout(generator(7), shapes, close, 2000, table_share=share)
    depth = layout.camera_from_object[:, :, 2, 3]
    there = layout.object_index >= 0
    assert (there[:, 1:]).float().mean() > 0.3
    nearer = (depth / depth[:, :1])[there]
    assert nearer.min() > 0.399 and nearer.min() < 0.5  # some would have


def test_one_object_has_no_others(shapes):
    one = Shapes(shapes.diameters[:1], shapes.lows[:1], shapes.corners[:1])
    layout = random_layout(generator(4), one, CONFIG, 50, table_share=0.5)
    assert (layout.object_index[:, 0] == 0).all() and (layout.object_index[:, 1:] == -1).all()
