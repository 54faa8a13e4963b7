from dataclasses import replace

import numpy as np
import pytest
import torch

from heatpose.data import batch_depth
from heatpose.data.backgrounds import Backgrounds
from heatpose.data.batch_depth import (
    background_depths,
    covered_depths,
    cut_depths,
    network_depths,
    without_parts,
)
from heatpose.data.batch_depth_sensors import measure_depths
from heatpose.data.batch_layouts import Shapes, random_layout, window
from heatpose.data.batch_samples import BatchMaker, DrawingConfig
from heatpose.data.batch_scenery import all_rays
from heatpose.data.depth_crops import crop_depth_around, network_depth
from heatpose.data.depth_samples import DepthConfig
from heatpose.data.samples import SampleConfig
from heatpose.data.views import ViewConfig
from heatpose.geometry.camera import Camera
from heatpose.render.depth_sensors import KINDS, DepthSensor, measure_depth
from heatpose.render.raycast import Renderer

SIDE = 120
CAMERA = Camera(fx=580.0, fy=580.0, cx=59.5, cy=59.5, width=SIDE, height=SIDE)
MATRIX = torch.from_numpy(CAMERA.matrix).float()
DEVICE = torch.device("cpu")
VIEWS = ViewConfig(smallest=40, largest=70)
PERFECT = DepthConfig(missing=0.0, holes=0.0, strength=0.0)


def generator(seed=0):
    return torch.Generator().manual_seed(seed)


@pytest.fixture
def scene():
    """A slanted wall, partly dark, and a box before it: depth, normals and albedo (h, w, ...)."""
    normal = np.array([0.6, 0.0, -0.8])
    rays = CAMERA.unproject(np.stack(np.meshgrid(*2 * [np.arange(SIDE)]), axis=-1), 1.0)
    depth = (-900.0 / (rays @ normal)).astype(np.float32)
    depth[40:80, 50:90] = 700.0
    depth[:, :5] = np.nan
    normals = np.tile(normal, (SIDE, SIDE, 1)).astype(np.float32)
    normals[40:80, 50:90] = [0, 0, -1]
    albedo = np.random.default_rng(9).uniform(0.3, 0.9, (SIDE, SIDE, 1)).astype(np.float32)
    albedo[90:] *= 0.04
    return depth, normals, albedo * np.ones(3, np.float32)


def measured_alone(scene, kind, strength, seed):
    rng = np.random.default_rng(seed)
    return measure_depth(rng, *scene, CAMERA, DepthSensor(kind, strength))


def measured_together(scene, kind, strength, seed):
    depth, normals, albedo = (torch.from_numpy(part)[None] for part in scene)
    of_kind = generator(len(KINDS) * seed + KINDS.index(kind))  # one picture has what the seed says
    scattered, strengths = albedo.mean(dim=3), torch.tensor([strength])
    return measure_depths(of_kind, depth, normals, scattered, MATRIX[None], strengths)[0].numpy()


@pytest.mark.parametrize("strength", [1.0, 3.0])
@pytest.mark.parametrize("kind", KINDS)
def test_cameras_measure_as_they_do_one_by_one(scene, kind, strength):
    """Holes as many and in the same places, noise as large, on the box, the wall and the dark."""
    ours, theirs = (
        np.stack([measured(scene, kind, strength, seed) for seed in range(8)])
        for measured in (measured_together, measured_alone)
    )
    holes = [np.isnan(each).mean(axis=0) for each in (ours, theirs)]
    assert np.abs(holes[0] - holes[1]).mean() < 0.03
    parts = [(slice(45, 75), slice(55, 85)), (slice(5, 35), slice(30, 115))]
    if kind == "time_of_flight":
        parts.append((slice(45, 75), slice(92, 97)))  # right beside the box it looks farther
    for part in parts:
        errors = [(each - scene[0])[:, *part] for each in (ours, theirs)]
        middle = [float(np.nanmedian(each)) for each in errors]
        spread = [float(np.nanmedian(np.abs(each))) for each in errors]
        assert spread[0] == pytest.approx(spread[1], rel=0.1, abs=0.02)
        assert middle[0] == pytest.approx(middle[1], abs=0.1 * spread[1] + 0.05)


def test_each_picture_has_a_camera_and_a_strength_of_its_own(scene):
    depth, normals, albedo = (torch.from_numpy(part)[None] for part in scene)
    depths = measure_depths(
        generator(),
        depth.repeat(6, 1, 1),
        normals.repeat(6, 1, 1, 1),
        albedo.mean(dim=3).repeat(6, 1, 1),
        MATRIX.repeat(6, 1, 1),
        torch.tensor([0.0, 0.0, 0.0, 0.0, 4.0, 4.0]),
    ).numpy()
    for same in depths[:4]:
        np.testing.assert_array_equal(same, scene[0])
    assert np.nanstd(depths[4] - scene[0]) > 2 and np.nanstd(depths[5] - scene[0]) > 2
    assert np.isnan(depths[:, :, :5]).all()


def random_depths(count):
    """Slopes and steps, with holes, (n, h, h), mm."""
    rng = np.random.default_rng(5)
    slopes = rng.uniform(-1, 1, (count, 2, 1, 1)) * np.stack(np.mgrid[:SIDE, :SIDE])
    depth = 800 + slopes.sum(axis=1)
    depth[:, 60:, 30:] += 300
    depth[rng.random(depth.shape) < 0.02] = np.nan
    return depth.astype(np.float32)


def test_crops_are_cut_as_one_by_one():
    depths, boxes = random_depths(3), [(20.3, 31.0, 80.1, 70.0), (-9.0, 2.0, 40.5, 60.0)]
    boxes.append((30.0, 40.0, 130.0, 119.0))  # two reach beyond the picture
    middles = torch.tensor([[(b[0] + b[2]) / 2, (b[1] + b[3]) / 2] for b in boxes])
    sides = torch.tensor([1.4 * max(b[2] - b[0], b[3] - b[1]) for b in boxes])
    cut = cut_depths(
        torch.from_numpy(depths), middles - sides[:, None] / 2, sides, 64, torch.full((3,), 580.0)
    ).numpy()
    for ours, depth, box in zip(cut, depths, boxes, strict=True):
        theirs, _ = crop_depth_around(depth, CAMERA, box, 64, 1.4)
        assert (np.isnan(ours) == np.isnan(theirs)).mean() > 0.97
        off = np.abs(ours - theirs)
        assert np.nanmedian(off) < 0.1 and np.nanmean(off > 1) < 0.03


def test_networks_are_shown_what_they_are_one_by_one():
    crops = random_depths(3)[:, :64, :64]
    crops[1, 10:54, 10:54] = np.nan  # nothing in the middle
    crops[2] = np.nan
    focals = torch.tensor([580.0, 700.0, 580.0])
    shown = network_depths(torch.from_numpy(crops), focals).numpy()
    for ours, crop, focal in zip(shown, crops, focals.tolist(), strict=True):
        theirs = network_depth(crop, Camera(focal, focal, 31.5, 31.5, 64, 64))
        np.testing.assert_array_equal(ours[1], theirs[1])
        rough = np.isnan(crop[16:48, 16:48]).all()
        np.testing.assert_allclose(ours[0], theirs[0], atol=0.1 if rough else 1e-4)


def test_behind_an_object_is_its_table_or_a_plane_that_it_touches_or_not(objects, monkeypatch):
    monkeypatch.setattr(batch_depth, "MOST_THINGS", 0)
    shapes = Shapes.of(objects, DEVICE)
    layout = random_layout(generator(1), shapes, VIEWS, 200, table_share=0.5)
    poses = layout.camera_from_object[:, 0]
    corners = (
        shapes.corners[layout.object_index[:, 0]] @ poses[:, :3, :3].mT + poses[:, None, :3, 3]
    )
    camera = torch.from_numpy(VIEWS.camera.matrix).float()
    matrix = window(camera.repeat(200, 1, 1), torch.zeros(200, 2), torch.full((200,), 0.1))
    depth, normal = background_depths(generator(2), layout, corners, matrix, 48)
    there = depth.isfinite().any(dim=2).any(dim=1)
    assert 0.7 < there.float().mean() < 0.9
    heights = (all_rays(matrix, 48) * depth[..., None] * normal[:, None, None]).sum(dim=3)
    planes = heights.flatten(1).nanmedian(dim=1).values[there]
    torch.testing.assert_close(heights.flatten(1).nanquantile(0.9, dim=1)[there], planes)
    gaps = (corners @ normal[..., None])[there, :, 0].amin(dim=1) - planes
    standing = layout.table.isfinite()[there]
    torch.testing.assert_close(planes[standing], layout.table[layout.table.isfinite() & there])
    torch.testing.assert_close(normal[there][standing], layout.up[there][standing])
    assert (gaps[~standing] > -0.1).all()  # mm
    assert 0.3 < (gaps[~standing] < 0.1).float().mean() < 0.7  # these touch it


def test_things_stand_before_what_is_behind(objects, monkeypatch):
    shapes = Shapes.of(objects, DEVICE)
    layout = random_layout(generator(1), shapes, VIEWS, 100, table_share=0.0)
    place = layout.camera_from_object[:, 0, :3, 3]
    corners = place[:, None] + torch.tensor([[-50.0, -50, -50], [50, 50, 50]])
    matrix = MATRIX.repeat(100, 1, 1)
    both = []
    for most in (0, 3):
        monkeypatch.setattr(batch_depth, "MOST_THINGS", most)
        both.append(background_depths(generator(2), layout, corners, matrix, SIDE)[0])
    plain, full = both
    changed = full.nan_to_num(0.0) != plain.nan_to_num(0.0)
    assert changed.any(dim=2).any(dim=1).float().mean() > 0.5
    assert changed.flatten(1).float().mean(dim=1).max() < 0.5
    level = place[:, 2].view(-1, 1, 1).expand_as(full)
    assert (full[changed] >= 0.2 * level[changed] - 0.1).all()
    known = changed & plain.isfinite()
    assert (full[known] <= torch.maximum(plain, 0.2 * level + 0.1)[known]).all()


def test_what_covers_a_crop_is_nearer_than_its_middle():
    crops, focals = torch.from_numpy(random_depths(4)), torch.full((4,), 580.0)
    crops[3] = torch.nan
    covered = torch.zeros(4, SIDE, SIDE, dtype=torch.bool)
    covered[:, 10:30, 20:50] = True
    new = covered_depths(generator(), crops, focals, covered)
    assert torch.equal(new[~covered].nan_to_num(), crops[~covered].nan_to_num())
    middle = crops.flatten(1).nanmedian(dim=1).values
    pieces = new[:3, 10:30, 20:50].flatten(1)
    assert (pieces == pieces[:, :1]).all() and (pieces[:, 0] < middle[:3]).all()
    assert new[3].isnan().all()


@pytest.mark.parametrize(("missing", "holes"), [(0.0, 0.0), (1.0, 0.0), (0.0, 1.0), (0.3, 0.5)])
def test_depth_is_missing_as_often_as_asked_for(missing, holes):
    crops = torch.full((400, 32, 32), 700.0)
    left = without_parts(generator(), crops, DepthConfig(missing=missing, holes=holes)).isfinite()
    share = left.flatten(1).float().mean(dim=1)
    assert (share == 0).float().mean() == pytest.approx(missing, abs=0.06)
    some = ((share > 0) & (share < 1)).float().mean()
    assert some == pytest.approx((1 - missing) * holes, abs=0.1)
    assert holes < 1 or share.min() > 0.5


def maker_of(objects, config, tables=0.5):
    drawing = DrawingConfig(tables=tables, points=30_000)
    return BatchMaker(objects, Backgrounds(), config, drawing, DEVICE)


def test_colours_and_labels_are_the_same_with_depth_and_without(objects):
    config = SampleConfig(crop_size=64, views=VIEWS)
    plain = maker_of(objects, config)(generator(4), 6)
    both = maker_of(objects, replace(config, depth=DepthConfig()))(generator(4), 6)
    assert all(torch.equal(both[name], plain[name]) for name in plain)
    assert both["depth"].shape == (6, 2, 64, 64) and both["depth"].dtype == torch.float32
    again = maker_of(objects, replace(config, depth=DepthConfig()))(generator(4), 6)
    assert torch.equal(again["depth"], both["depth"])


def test_lens_and_sensor_of_the_colours_change_no_depth(objects):
    config = SampleConfig(crop_size=64, cut_outs=0.0, views=VIEWS, depth=DepthConfig())
    plain = maker_of(objects, replace(config, degraded=False))(generator(4), 6)
    degraded = maker_of(objects, config)(generator(4), 6)
    first = slice(0, 3)  # drawn before any colours were changed
    assert torch.equal(degraded["depth"][first], plain["depth"][first])
    assert not torch.equal(degraded["crop"], plain["crop"])


def test_most_of_what_faces_a_good_camera_is_measured(objects, monkeypatch):
    monkeypatch.setattr(batch_depth, "NOTHING_BEHIND", 1.0)
    monkeypatch.setattr(batch_depth, "MOST_THINGS", 0)
    views = replace(VIEWS, n_others=0)
    measured = []
    for strength in (0.0, 0.5):
        depth = DepthConfig(missing=0.0, holes=0.0, strength=strength)
        config = SampleConfig(crop_size=64, views=views, depth=depth)
        batch = maker_of(objects, config, tables=0.0)(generator(1), 16)
        measured.append(batch["depth"][:, 1].sum())
    assert 0.6 * measured[0] < measured[1] < measured[0]


@pytest.mark.parametrize(("smallest", "largest"), [(40, 70), (150, 170)], ids=["far", "near"])
def test_depth_lies_where_rays_meet_the_object(objects, monkeypatch, smallest, largest):
    """Alone before nothing: what is measured is its silhouette, and as deep as it is."""
    monkeypatch.setattr(batch_depth, "NOTHING_BEHIND", 1.0)
    monkeypatch.setattr(batch_depth, "MOST_THINGS", 0)
    views = ViewConfig(smallest=smallest, largest=largest, n_others=0)
    config = SampleConfig(crop_size=64, cut_outs=0.0, box_cut=0.0, views=views, depth=PERFECT)
    batch = maker_of(objects[:1], config, tables=0.0)(generator(1), 16)
    renderer, aside, errors = Renderer({3: objects[0].mesh}), [], []
    y, x = np.mgrid[:64, :64]
    for matrix, pose, (relative, measured) in zip(
        *(
            batch[name].double().numpy()
            for name in ("camera_matrix", "camera_from_object", "depth")
        ),
        strict=True,
    ):
        camera = Camera.from_matrix(matrix, 64, 64)
        true = renderer.depth(3, pose, camera)
        zoom = camera.fx / views.camera.fx
        seen = np.isfinite(true)
        ours, theirs = (
            np.array([(mask * x).sum(), (mask * y).sum()]) / mask.sum() for mask in (measured, seen)
        )
        aside.append((ours - theirs) / zoom)
        assert measured.sum() == pytest.approx(seen.sum(), rel=0.1)
        shared = seen & (measured > 0)
        half_width = np.median(true[shared]) * 64 / (2 * camera.fx)
        off = relative[shared] - true[shared] / half_width
        errors.append(np.median(np.abs(off - np.median(off))))
    assert np.abs(np.mean(aside, axis=0)).max() < 0.15  # px of the photograph
    assert np.max(errors) < 0.03  # halves of the crop's width
