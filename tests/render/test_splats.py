import numpy as np
import pytest
import torch

from heatpose.geometry.camera import Camera
from heatpose.geometry.rotations import random_rotation
from heatpose.geometry.transforms import make_transform
from heatpose.render import splats
from heatpose.render.raycast import Renderer
from heatpose.render.splats import covered, draw, strew, surfaces

SIZE = 96
CAMERA = Camera(fx=500.0, fy=500.0, cx=47.5, cy=47.5, width=SIZE, height=SIZE)
DEVICE = torch.device("cpu")


@pytest.fixture
def renderer(brick_mesh, cube_mesh):
    return Renderer({3: brick_mesh, 7: cube_mesh})


@pytest.fixture
def strewn(renderer):
    return strew(renderer, [3, 7], 40_000, DEVICE)


def pose_at(rng, x=0.0, y=0.0, z=1500.0):
    return make_transform(random_rotation(rng), np.array([x, y, z]))


def drawn(strewn, index, poses, camera=CAMERA, size=SIZE):
    """One picture of objects in poses."""
    return draw(
        strewn,
        torch.tensor([index]),
        torch.from_numpy(np.stack(poses)).float()[None],
        torch.from_numpy(camera.matrix).float()[None],
        size,
    )


def test_a_picture_is_what_rays_see(strewn, renderer):
    rng = np.random.default_rng(0)
    overlaps, areas, depths = [], [], []
    for _ in range(20):
        poses = [pose_at(rng, z=1500), pose_at(rng, x=60, y=-40, z=1400)]
        splats = drawn(strewn, [0, 1], poses)
        rays = renderer.render([3, 7], poses, CAMERA)
        for i in range(2):
            ours, theirs = (splats.instance[0] == i).numpy(), rays.mask(i)
            overlaps.append((ours & theirs).sum() / (ours | theirs).sum())
            areas.append(ours.sum() / theirs.sum())
        both = (splats.instance[0].numpy() == rays.instance) & (rays.instance >= 0)
        depths.append(np.median(np.abs(splats.depth[0].numpy() - rays.depth)[both]))
    assert np.median(overlaps) > 0.96
    # Outlines neither grow nor shrink: a percent of area would be half a percent of distance.
    assert np.mean(areas) == pytest.approx(1, abs=0.006)
    assert np.median(depths) < 2.5  # mm, half a pixel here


def test_surfaces_have_their_normals_and_colours(strewn, renderer):
    poses = [pose_at(np.random.default_rng(1), z=900), pose_at(np.random.default_rng(2), x=80)]
    splats = drawn(strewn, [0, 1], poses)
    rays = renderer.render([3, 7], poses, CAMERA)
    seen = surfaces(splats, strewn, torch.from_numpy(np.stack(poses)).float()[None])
    assert len(seen.slot) == (splats.instance >= 0).sum()
    row, column = seen.row.numpy(), seen.column.numpy()
    both = seen.slot.numpy() == rays.instance[row, column]
    assert both.mean() > 0.9
    agreement = (seen.normals.numpy() * rays.normals[row, column]).sum(axis=1)
    colours = np.abs(seen.albedo.numpy() - rays.albedo[row, column])
    for slot in (0, 1):
        own = both & (seen.slot.numpy() == slot)
        assert own.sum() > 200
        assert np.median(agreement[own]) > 0.99
        assert np.median(colours[own]) < 0.02


def test_near_objects_have_no_holes(strewn, renderer):
    # So near that points lie several pixels apart.
    pose = pose_at(np.random.default_rng(2), z=330)
    ours = (drawn(strewn, [1], [pose]).instance[0] == 0).numpy()
    theirs = renderer.render([7], [pose], CAMERA).mask(0)
    few = strew(renderer, [3, 7], 1_500, DEVICE)
    coarse = (drawn(few, [1], [pose]).instance[0] == 0).numpy()
    assert (theirs & ~ours).sum() < 0.01 * theirs.sum()
    assert (theirs & ~coarse).sum() < 0.03 * theirs.sum()
    assert (coarse & ~theirs).sum() < 0.03 * theirs.sum()


def test_what_is_not_there_or_behind_the_camera_is_not_drawn(strewn):
    rng = np.random.default_rng(3)
    poses = [pose_at(rng), pose_at(rng, z=-1500.0)]
    alone = drawn(strewn, [0], poses[:1])
    for index, pose in ((-1, pose_at(rng)), (1, poses[1])):
        both = drawn(strewn, [0, index], [poses[0], pose])
        assert torch.equal(both.instance, alone.instance)
        assert torch.equal(both.depth, alone.depth)


def test_pictures_of_a_batch_do_not_touch_each_other(strewn):
    rng = np.random.default_rng(4)
    # Partly outside, where a slip of an index would reach the next picture.
    poses = [pose_at(rng, x, y) for x in (-140, 0, 140) for y in (-140, 140)]
    matrix = torch.from_numpy(CAMERA.matrix).float()
    batch = draw(
        strewn,
        torch.tensor([[i % 2] for i in range(6)]),
        torch.from_numpy(np.stack(poses)).float()[:, None],
        matrix.expand(6, 3, 3),
        SIZE,
    )
    for i, pose in enumerate(poses):
        alone = drawn(strewn, [i % 2], [pose])
        assert torch.equal(alone.instance[0], batch.instance[i])
        assert torch.equal(alone.points[0], batch.points[i])


def test_a_silhouette_is_whole_whatever_stands_before_it(strewn):
    rng = np.random.default_rng(5)
    pose = pose_at(rng)
    alone = drawn(strewn, [0], [pose]).instance[0] == 0
    matrix = torch.from_numpy(CAMERA.matrix).float()[None]
    whole = covered(strewn, torch.tensor([0]), torch.from_numpy(pose).float()[None], matrix, SIZE)
    assert torch.equal(whole[0], alone)
    hidden = drawn(strewn, [0, 1], [pose, pose_at(rng, z=900.0)]).instance[0] == 0
    assert (hidden & ~alone).sum() == 0 and hidden.sum() < alone.sum()


def test_too_many_objects_or_points_are_refused(strewn, renderer):
    with pytest.raises(ValueError, match="at most 32 objects a picture, got 33"):
        drawn(strewn, [0] * 33, [np.eye(4)] * 33)
    with pytest.raises(ValueError, match="2 objects of 134217728 points are too many"):
        strew(renderer, [3, 7], 2**27, DEVICE)


def test_only_pictures_with_wide_gaps_are_closed_widely(renderer, monkeypatch):
    few = strew(renderer, [3, 7], 2_000, DEVICE)
    rng = np.random.default_rng(6)
    poses = np.stack([pose_at(rng, z=z) for z in (4000.0, 500.0, 4000.0, 900.0)])
    matrices = torch.from_numpy(CAMERA.matrix).float().expand(4, 3, 3)
    closed = []
    close = splats._close
    monkeypatch.setattr(
        splats,
        "_close",
        lambda keys, level: closed.append((level, len(keys))) or close(keys, level),
    )
    batch = draw(
        few, torch.zeros(4, 1, dtype=int), torch.tensor(poses).float()[:, None], matrices, SIZE
    )
    assert closed[0] == (0, 4) and len(closed) > 1
    assert (
        sum(count for _, count in closed[1:]) == 2
    )  # the two that are near, each at its own level
    for i, pose in enumerate(poses):
        alone = drawn(few, [0], [pose])
        assert torch.equal(alone.instance[0], batch.instance[i])
        assert torch.equal(alone.points[0], batch.points[i])


@pytest.mark.parametrize("level", [0, 1, 3])
def test_gaps_are_closed_by_the_least_and_then_the_most_of_neighbours(level):
    keys = torch.randint(1000, (3, 24, 24), generator=torch.Generator().manual_seed(level))
    closed, reach = splats._close(keys, level), 2 ** (level + 1)
    least, most = torch.empty_like(keys), torch.empty_like(keys)
    for y, x in np.ndindex(24, 24):
        before = keys[:, max(y - reach + 1, 0) : y + 1, max(x - reach + 1, 0) : x + 1]
        least[:, y, x] = before.amin(dim=(1, 2))
    for y, x in np.ndindex(24, 24):
        most[:, y, x] = least[:, y : y + reach, x : x + reach].amax(dim=(1, 2))
    assert torch.equal(closed, most)
