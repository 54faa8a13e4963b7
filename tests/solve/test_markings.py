"""Objects that only their colours tell which way round they are."""

from dataclasses import replace

import numpy as np
import pytest

from heatpose.geometry.rotations import matrix_from_vector
from heatpose.geometry.transforms import (
    invert,
    make_transform,
    rotation_angle,
    transform_points,
)
from heatpose.objects.catalogue import ObjectModel
from heatpose.objects.mesh import diameter
from heatpose.render.raycast import Renderer
from heatpose.solve.markings import OPPONENT, Markings, colour_volume
from heatpose.types import PoseEstimate

CAN, BRICK = 5, 3
POSE = make_transform(matrix_from_vector(np.array([1.3, 0.4, 0.2])), np.array([40.0, -30, 700]))
ROUND = {"symmetries_continuous": [{"axis": [0, 0, 1], "offset": [0, 0, 0]}]}


def model_of(object_id, mesh):
    return ObjectModel(object_id, "", mesh, mesh.corners, np.eye(4)[None], diameter(mesh))


@pytest.fixture
def objects(brick_mesh, can_mesh):
    return {CAN: model_of(CAN, can_mesh), BRICK: model_of(BRICK, brick_mesh)}


@pytest.fixture
def renderer(objects):
    return Renderer({i: model.mesh for i, model in objects.items()})


@pytest.fixture
def markings(objects, renderer):
    return Markings(objects, renderer)


def photograph(renderer, camera, object_id, pose=POSE):
    """A picture of an object, lit from the left by light with a tint, and its depth."""
    drawn = renderer.render([object_id], [pose], camera)
    light = np.clip(0.45 - 0.5 * drawn.normals[..., :1], 0.1, 1) * [1.0, 0.9, 0.8]
    return np.uint8(np.clip(drawn.albedo * light, 0, 1) * 255), drawn.depth


def at(pose, object_id):
    return PoseEstimate(
        object_id=object_id,
        camera_from_object=pose,
        score=0.5,
        covariance=np.eye(6),
        keypoints=np.full((8, 2), np.nan),
        inliers=np.zeros(8, bool),
        box=(300.0, 200.0, 400.0, 300.0),
    )


def degrees(pose, other):
    return np.degrees(rotation_angle(pose[:3, :3].T @ other[:3, :3]))


@pytest.mark.parametrize("object_id", [CAN, BRICK])
def test_whatever_turn_the_markings_say_how_it_is(markings, renderer, camera, object_id):
    image, _ = photograph(renderer, camera, object_id)
    turns = markings.turns(object_id)
    for turn in turns[1 :: len(turns) // 4]:
        found = markings(at(POSE @ invert(turn), object_id), image, camera, None)
        assert degrees(found.camera_from_object, POSE) < 4


def test_far_fewer_turns_than_all_find_the_best_of_all(
    markings, objects, renderer, camera, monkeypatch
):
    image, _ = photograph(renderer, camera, CAN)
    monkeypatch.setattr("heatpose.solve.markings.FIRST", 0)
    thorough = Markings(objects, renderer)
    thorough.scores(at(POSE, CAN), image, camera, None)
    monkeypatch.undo()
    for turn in markings.turns(CAN)[2::29]:
        wrong = at(POSE @ invert(turn), CAN)
        quick = markings.scores(wrong, image, camera, None)
        everything = thorough.scores(wrong, image, camera, None)
        assert np.isfinite(everything).all() and np.isfinite(quick).sum() < 0.5 * len(quick)
        assert quick.argmax() == everything.argmax()
        there = np.isfinite(quick)
        np.testing.assert_array_equal(quick[there], everything[there])


@pytest.mark.parametrize("object_id", [CAN, BRICK])
def test_what_is_right_stays(markings, renderer, camera, object_id):
    image, depth = photograph(renderer, camera, object_id)
    assert markings(at(POSE, object_id), image, camera, None) is None
    assert markings(at(POSE, object_id), image, camera, depth) is None


def test_keypoints_that_agree_are_those_of_the_new_pose(markings, objects, renderer, camera):
    image, _ = photograph(renderer, camera, BRICK)
    corners = objects[BRICK].keypoints @ POSE[:3, :3].T + POSE[:3, 3]
    wrong = at(POSE @ invert(markings.turns(BRICK)[1]), BRICK)
    found = markings(replace(wrong, keypoints=camera.project(corners)), image, camera, None)
    assert found.inliers.all()


def test_to_keypoints_of_shape_all_turns_are_alike(objects, renderer, camera):
    """The better one is taken by however little, and keypoints agree with it as before."""
    image, _ = photograph(renderer, camera, BRICK)
    markings = Markings(objects, renderer, "shape")
    wrong = at(POSE @ invert(markings.turns(BRICK)[1]), BRICK)
    wrong = replace(wrong, inliers=np.arange(8) < 6)
    other, _ = photograph(renderer, camera, BRICK, wrong.camera_from_object)
    both = np.uint8(0.55 * image + 0.45 * other)  # 0.03 better
    for picture in (image, both):
        found = markings(wrong, picture, camera, None)
        assert degrees(found.camera_from_object, POSE) < 1
        np.testing.assert_array_equal(found.inliers, wrong.inliers)
    assert Markings(objects, renderer)(wrong, both, camera, None) is None


def test_a_picture_that_says_nothing_turns_nothing(markings, camera):
    grey = np.full((camera.height, camera.width, 3), 128, np.uint8)
    for object_id in (CAN, BRICK):
        assert markings(at(POSE, object_id), grey, camera, None) is None


def test_an_object_out_of_sight_or_hardly_seen_stays(markings, renderer, camera):
    image, depth = photograph(renderer, camera, CAN)
    for place in ([2000.0, 0, 700], [2000.0, 2000, 700], [0.0, 0, -700]):
        aside = make_transform(POSE[:3, :3], np.array(place))
        assert markings(at(aside, CAN), image, camera, None) is None
    hidden = np.where(np.isfinite(depth), np.float32(400), np.float32(2000))
    assert markings.scores(at(POSE, CAN), image, camera, hidden) is None


def test_depth_tells_what_hides_an_object(markings, renderer, camera):
    """Something that is painted like the back of the can stands before most of it."""
    turn = markings.turns(CAN)[36]
    image, depth = photograph(renderer, camera, CAN)
    back, _ = photograph(renderer, camera, CAN, POSE @ turn)
    rows, _ = np.nonzero(np.isfinite(depth))
    lower = int(np.quantile(rows, 0.35))
    image[lower:], depth[lower:] = back[lower:], depth[lower:] - 100
    wrong = at(POSE @ turn, CAN)
    found = markings(wrong, image, camera, depth)
    assert degrees(found.camera_from_object, POSE) < 4
    assert markings(wrong, image, camera, None) is None


def test_a_volume_has_the_colours_of_the_surface(objects, rng):
    volume = colour_volume(objects[CAN].mesh)
    vertices, colours = objects[CAN].mesh.vertices, objects[CAN].mesh.colours
    still = np.eye(4)[None]
    there = volume(vertices, still)[:, 0]
    off = np.abs(there - colours / 255 @ OPPONENT.T).max(axis=1)
    assert np.median(off) < 0.02 and (off < 0.2).mean() > 0.8  # where fields meet they are mixed
    for factor in (0.9, 1.1, 1000.0):  # inside, around and far away: what is near there
        assert (volume(factor * vertices, still)[..., 0] > 0.1).all()
    quarter = make_transform(matrix_from_vector(np.radians([0, 0, 90])), [1, 2, 3])
    points = rng.uniform(-50, 50, (500, 3))
    moved = transform_points(invert(quarter), points)
    both = volume(moved, np.stack([quarter, np.eye(4)]))
    assert (both[:, 0] == volume(points, still)[:, 0]).mean() > 0.99
    assert (both[:, 1] == volume(moved, still)[:, 0]).all()
    with pytest.raises(ValueError, match="no colours"):
        colour_volume(replace(objects[CAN].mesh, colours=None))
