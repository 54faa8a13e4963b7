"""Patches of rendered objects, whose true poses are known."""

from dataclasses import replace

import numpy as np
import pytest

from heatpose.geometry.boxes import box_of_points
from heatpose.geometry.rotations import matrix_from_vector
from heatpose.geometry.transforms import make_transform, rotation_angle, transform_points
from heatpose.objects.catalogue import ObjectModel
from heatpose.render.raycast import Renderer
from heatpose.render.shading import Lighting, shade
from heatpose.solve import patches
from heatpose.solve.patches import refine_with_patches
from heatpose.types import Evidence, PoseEstimate

CAN = 3
POSE = make_transform(matrix_from_vector(np.array([0.9, -0.4, 0.3])), np.array([30.0, -20, 500]))
EVIDENCE = Evidence(0.8, 0.9, 0.7, 0.5, 1.0, 0.02)
# A degree, and half a pixel to the side; four in depth.
SPREADS = np.array([0.02, 0.02, 0.02, 2.0, 2.0, 15.0])


@pytest.fixture
def objects(can_mesh):
    corners, one = can_mesh.corners, np.eye(4)[None]
    return {CAN: ObjectModel(CAN, "can", can_mesh, corners, one, 144.0)}


@pytest.fixture
def renderer(objects):
    return Renderer({CAN: objects[CAN].mesh})


def photograph(renderer, camera, lighting=None):
    """The can before grey."""
    rendering = renderer.render([CAN], [POSE], camera)
    return np.where(rendering.mask(0)[..., None], shade(rendering, camera, lighting), 110).astype(
        np.uint8
    )


def estimate(pose, objects, camera, covariance=None):
    """A pose that is as unsure as `SPREADS`, about the object's origin."""
    if covariance is None:
        left = np.eye(6)
        x, y, z = pose[:3, 3]
        left[3:, :3] = [[0, -z, y], [z, 0, -x], [-y, x, 0]]
        covariance = left @ np.diag(SPREADS**2) @ left.T
    vertices = transform_points(POSE, objects[CAN].mesh.vertices)
    return PoseEstimate(
        object_id=CAN,
        camera_from_object=pose,
        score=0.7,
        covariance=covariance,
        keypoints=np.zeros((8, 2)),
        inliers=np.ones(8, bool),
        box=box_of_points(camera.project(vertices)),
        evidence=EVIDENCE,
        probability=0.6,
    )


def moved(turn, shift):
    """The true pose, turned about the object's origin, rad, and moved, mm."""
    return make_transform(matrix_from_vector(np.array(turn)) @ POSE[:3, :3], POSE[:3, 3] + shift)


def error(pose, objects):
    """The largest distance of a corner of its box from where that is, mm."""
    corners = objects[CAN].mesh.corners
    return np.linalg.norm(
        transform_points(pose, corners) - transform_points(POSE, corners), axis=1
    ).max()


@pytest.mark.parametrize(
    ("turn", "shift"),
    [
        ([0.0, 0.0, 0.08], [0.0, 0, 0]),
        ([0.06, -0.06, 0.0], [0.0, 0, 0]),
        ([0.0, 0.0, 0.02], [3.0, -3, 0]),
        ([0.0, 0.0, 0.0], [0.0, 0, 15]),
    ],
    ids=["in the plane", "out of it", "beside", "behind"],
)
def test_edges_inside_bring_a_pose_nearer(objects, renderer, camera, turn, shift):
    image = photograph(renderer, camera)
    wrong = estimate(moved(turn, np.array(shift)), objects, camera)
    [found] = refine_with_patches([wrong], image, camera, objects, renderer)
    before = error(wrong.camera_from_object, objects)
    assert error(found.camera_from_object, objects) < before / 2
    assert found.evidence == EVIDENCE and found.probability == 0.6 and found.box == wrong.box
    # Surer than before, in every direction.
    assert np.linalg.eigvalsh(wrong.covariance - found.covariance).min() > 0


def test_light_of_other_strength_from_elsewhere_does_not_matter(objects, renderer, camera):
    dim = Lighting(
        directions=np.array([[0.6, -0.5, -0.6]]),
        colours=np.array([[0.35, 0.3, 0.25]]),
        ambient=np.full(3, 0.2),
        specular=0.0,
    )
    image = photograph(renderer, camera, dim)
    wrong = estimate(moved([0.0, 0.04, 0.06], np.zeros(3)), objects, camera)
    [found] = refine_with_patches([wrong], image, camera, objects, renderer)
    turns = [
        np.degrees(rotation_angle(one.camera_from_object[:3, :3] @ POSE[:3, :3].T))
        for one in (wrong, found)
    ]
    assert turns[0] == pytest.approx(4.1, abs=0.1) and turns[1] < 2


def test_a_true_pose_stays(objects, renderer, camera):
    """To less than half a percent of its distance: where it ends, all of it, says no more."""
    [found] = refine_with_patches(
        [estimate(POSE, objects, camera)], photograph(renderer, camera), camera, objects, renderer
    )
    assert error(found.camera_from_object, objects) < 2.5


def test_the_surer_a_pose_the_less_it_moves(objects, renderer, camera):
    image = photograph(renderer, camera)
    wrong = estimate(moved([0.0, 0.02, 0.03], np.zeros(3)), objects, camera)
    ways = []
    for surer in (1, 30, 300, 1e7):
        given = replace(wrong, covariance=wrong.covariance / surer)
        [found] = refine_with_patches([given], image, camera, objects, renderer)
        turn = found.camera_from_object[:3, :3] @ wrong.camera_from_object[:3, :3].T
        ways.append(np.degrees(rotation_angle(turn)))
    assert ways[0] > 1.5 and ways[0] > 1.3 * ways[1] and ways[1] > 1.3 * ways[2], ways
    assert 0.05 < ways[2] < 1.5 and ways[3] < 0.01, ways


def test_many_rounds_lead_no_farther_than_the_pose_before_lets_them(
    objects, renderer, camera, monkeypatch
):
    image = photograph(renderer, camera)
    wrong = estimate(moved([0.0, 0.02, 0.03], np.zeros(3)), objects, camera)
    wrong = replace(wrong, covariance=wrong.covariance / 100)
    poses = []
    for rounds in (2, 8):
        monkeypatch.setattr(patches, "ROUNDS", rounds)
        [found] = refine_with_patches([wrong], image, camera, objects, renderer)
        poses.append(found.camera_from_object)
    np.testing.assert_allclose(poses[0], poses[1], atol=0.15)


@pytest.mark.parametrize("nothing", ["black", "another texture", "behind the camera", "no pose"])
def test_where_patches_say_nothing_all_stays_as_it_was(objects, renderer, camera, rng, nothing):
    pose, image = moved([0.0, 0.0, 0.03], np.zeros(3)), photograph(renderer, camera)
    covariance = None
    if nothing == "black":
        image = np.zeros_like(image)
    elif nothing == "another texture":
        image = rng.integers(0, 255, image.shape, np.uint8)
    elif nothing == "behind the camera":
        pose[2, 3] = -500
    else:
        covariance = np.full((6, 6), np.nan)
    given = estimate(pose, objects, camera, covariance)
    [found] = refine_with_patches([given], image, camera, objects, renderer)
    assert found is given


def test_each_object_is_refined_by_itself_whatever_the_threads(objects, renderer, camera):
    image = photograph(renderer, camera)
    poses = [moved([0.0, 0.0, turn], np.zeros(3)) for turn in (0.01, 0.02, 0.03)]
    given = [estimate(pose, objects, camera) for pose in poses]
    together = refine_with_patches(given, image, camera, objects, renderer, threads=3)
    for one, found in zip(given, together, strict=True):
        [alone] = refine_with_patches([one], image, camera, objects, renderer)
        np.testing.assert_array_equal(found.camera_from_object, alone.camera_from_object)
    assert refine_with_patches([], image, camera, objects, renderer) == []
