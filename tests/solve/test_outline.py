"""Outlines of rendered objects, whose true poses are known."""

from dataclasses import replace

import numpy as np
import pytest

from heatpose.data.backgrounds import generated_texture
from heatpose.data.crops import crop_around
from heatpose.geometry.boxes import box_of_points
from heatpose.geometry.rotations import matrix_from_vector
from heatpose.geometry.transforms import invert, make_transform, transform_points
from heatpose.objects.keypoints import select_keypoints
from heatpose.render.raycast import Renderer
from heatpose.render.shading import shade
from heatpose.solve.outline import CroppedObject, refine_with_outlines
from heatpose.solve.pnp import Correspondences, solve_pnp
from heatpose.solve.refine import perturbed

BRICK, CUBE = 3, 7
POSE = make_transform(matrix_from_vector(np.array([0.9, -0.4, 0.3])), np.array([30.0, -20, 700]))
NEARER = make_transform(matrix_from_vector(np.array([0.2, 0.5, 0.1])), np.array([75.0, -10, 560]))


@pytest.fixture
def meshes(brick_mesh, cube_mesh):
    return {BRICK: brick_mesh, CUBE: cube_mesh}


@pytest.fixture
def renderer(meshes):
    return Renderer(meshes)


def photograph(renderer, poses, camera, rng):
    """A picture of objects before a texture."""
    rendering = renderer.render(list(poses), list(poses.values()), camera)
    image = generated_texture(rng, camera.height, camera.width)
    seen = rendering.instance >= 0
    image[seen] = shade(rendering, camera)[seen]
    return image


def cropped(image, camera, meshes, object_id, pose, shrunk=0.0):
    """An object in its crop, its keypoints drawn towards their middle by a share."""
    mesh = meshes[object_id]
    points = select_keypoints(mesh, "fps", 8)
    box = box_of_points(camera.project(transform_points(pose, mesh.vertices)))
    crop, crop_camera = crop_around(image, camera, box, 256, 1.4)
    pixels = crop_camera.project(transform_points(pose, points))
    pixels += shrunk * (pixels.mean(axis=0) - pixels)
    covariances = np.tile(36 * np.eye(2), (len(points), 1, 1))
    matches = Correspondences(points, pixels, crop_camera, covariances, np.full(len(points), 0.8))
    [solution] = solve_pnp([matches])
    return CroppedObject(object_id, crop, matches, solution)


def off(pose, truth=POSE):
    """How far a pose is too far away, as a share of the distance."""
    return pose[2, 3] / truth[2, 3] - 1


def test_an_outline_takes_back_what_all_keypoints_have_wrong(meshes, renderer, camera, rng):
    for shrunk in (0.04, -0.04):
        image = photograph(renderer, {BRICK: POSE}, camera, rng)
        seen = cropped(image, camera, meshes, BRICK, POSE, shrunk)
        assert off(seen.solution.camera_from_object) == pytest.approx(shrunk, rel=0.2)
        [fit] = refine_with_outlines([seen], camera, renderer)
        assert abs(off(fit.camera_from_object)) < 0.01
        assert fit.contrast > 0.5
        assert fit.open_share == 1.0


def test_a_true_pose_stays(meshes, renderer, camera, rng):
    image = photograph(renderer, {BRICK: POSE}, camera, rng)
    [fit] = refine_with_outlines([cropped(image, camera, meshes, BRICK, POSE)], camera, renderer)
    assert abs(off(fit.camera_from_object)) < 0.01  # of half a pixel in 50
    assert fit.offset < 1
    assert np.linalg.eigvalsh(fit.covariance).min() > 0


def test_where_nothing_is_to_be_seen_the_keypoints_are_believed(meshes, renderer, camera):
    black = np.zeros((camera.height, camera.width, 3), np.uint8)
    seen = cropped(black, camera, meshes, BRICK, POSE, 0.02)
    [fit] = refine_with_outlines([seen], camera, renderer)
    np.testing.assert_allclose(fit.camera_from_object, seen.solution.camera_from_object, atol=0.05)
    assert fit.contrast == pytest.approx(0, abs=1e-9)


def test_what_another_object_hides_is_not_compared(meshes, renderer, camera, rng):
    """The same picture with and without knowing what stands in front."""
    image = photograph(renderer, {BRICK: POSE, CUBE: NEARER}, camera, rng)
    brick = cropped(image, camera, meshes, BRICK, POSE, 0.04)
    cube = cropped(image, camera, meshes, CUBE, NEARER)
    [alone] = refine_with_outlines([brick], camera, renderer)
    knowing = refine_with_outlines([brick, cube], camera, renderer)[0]
    assert alone.open_share == 1.0
    assert 0.3 < knowing.open_share < 0.9
    assert abs(off(knowing.camera_from_object)) < 0.01
    assert knowing.contrast > alone.contrast


def test_an_object_beyond_the_edge_of_the_photograph(meshes, renderer, camera, rng):
    """The black that crops show beyond the photograph is no surrounding."""
    pose = POSE.copy()
    pose[0, 3] = -camera.cx / camera.fx * pose[2, 3]  # half of it is cut off
    image = photograph(renderer, {BRICK: pose}, camera, rng)
    seen = cropped(image, camera, meshes, BRICK, pose, 0.04)
    [fit] = refine_with_outlines([seen], camera, renderer)
    assert fit.open_share < 0.8
    assert abs(off(fit.camera_from_object, pose)) < 0.015


def test_too_little_to_compare_gives_none(meshes, renderer, camera, rng):
    """Hidden all over by a large object in front."""
    image = photograph(renderer, {BRICK: POSE}, camera, rng)
    brick = cropped(image, camera, meshes, BRICK, POSE)
    near = make_transform(np.eye(3), POSE[:3, 3] / 4)
    cube = cropped(image, camera, meshes, CUBE, near)
    assert refine_with_outlines([brick, cube], camera, renderer)[0] is None
    assert refine_with_outlines([], camera, renderer) == []


def test_a_keypoint_behind_the_camera_has_no_fit_and_no_warning(meshes, renderer, camera, rng):
    image = photograph(renderer, {BRICK: POSE}, camera, rng)
    seen = cropped(image, camera, meshes, BRICK, POSE)
    points = seen.keypoints.points.copy()
    points[0] = transform_points(invert(POSE), np.array([[0.0, 0, -100]]))[0]
    lost = replace(seen, keypoints=replace(seen.keypoints, points=points))
    assert refine_with_outlines([lost], camera, renderer) == [None]


def test_a_step_that_leads_behind_the_camera_is_not_taken(
    meshes, renderer, camera, rng, monkeypatch
):
    """The third of five does: the second is the last that counts."""
    image = photograph(renderer, {BRICK: POSE}, camera, rng)
    seen = cropped(image, camera, meshes, BRICK, POSE, 0.04)
    taken = []

    def step(pose, change):
        taken.append(perturbed(pose, change))
        return taken[-1] if len(taken) < 3 else -taken[-1]

    monkeypatch.setattr("heatpose.solve.outline.perturbed", step)
    [fit] = refine_with_outlines([seen], camera, renderer)
    assert len(taken) == 3
    np.testing.assert_array_equal(fit.camera_from_object, taken[1])


def test_what_is_hardly_there_hides_nothing(meshes, renderer, camera, rng):
    """A cube in front of the brick that few keypoints support, beside one that all do."""
    image = photograph(renderer, {BRICK: POSE}, camera, rng)
    brick = cropped(image, camera, meshes, BRICK, POSE, 0.04)
    away = make_transform(np.eye(3), np.array([-150.0, 100, 700]))
    sure = cropped(image, camera, meshes, CUBE, away)
    guess = cropped(image, camera, meshes, CUBE, NEARER)
    few = replace(guess.solution, inliers=np.arange(len(guess.keypoints.points)) < 4)
    open_share = [
        refine_with_outlines([brick, sure, one], camera, renderer)[0].open_share
        for one in (guess, replace(guess, solution=few))
    ]
    assert open_share[0] < 0.9 and open_share[1] == 1.0
