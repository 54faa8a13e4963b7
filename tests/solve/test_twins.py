"""Objects that are said to be symmetric and look different all around."""

from dataclasses import replace

import numpy as np
import pytest

from heatpose.geometry.camera import Camera
from heatpose.geometry.rotations import matrix_from_vector
from heatpose.geometry.transforms import make_transform, transform_points
from heatpose.objects.catalogue import ObjectModel
from heatpose.render.raycast import Renderer
from heatpose.render.shading import shade
from heatpose.solve.outline import CroppedObject
from heatpose.solve.pnp import Correspondences, PnPSolution
from heatpose.solve.twins import MOST_TWINS, turn_as_seen

CAN = 3
# Quarter turns about z, which are not their own inverses, and a half turn about x.
QUARTERS = [
    make_transform(matrix_from_vector(np.array([0.0, 0, np.pi / 2 * k])), np.zeros(3))
    for k in range(4)
]
TURNS = np.stack([*QUARTERS, np.diag([1.0, -1.0, -1.0, 1.0])])
POSE = make_transform(matrix_from_vector(np.array([0.9, -0.4, 0.3])), np.array([3.0, -2, 500]))
CAMERA = Camera(fx=600.0, fy=600.0, cx=95.5, cy=95.5, width=192, height=192)


@pytest.fixture
def can(can_mesh):
    return ObjectModel(CAN, "can", can_mesh, can_mesh.corners, TURNS, 144.0)


def cropped(model, true, pose):
    """An object that stands in one pose, and is found in another by keypoints that say so."""
    rendering = Renderer({CAN: model.mesh}).render([CAN], [true], CAMERA)
    seen = np.where(rendering.mask(0)[..., None], shade(rendering, CAMERA), 110).astype(np.uint8)
    pixels = CAMERA.project(transform_points(pose, model.keypoints))
    return CroppedObject(
        CAN,
        seen,
        Correspondences(model.keypoints, pixels, CAMERA),
        PnPSolution(pose, np.ones(len(pixels), bool), np.eye(6)),
    )


def turned(model, *objects, threads=1):
    return turn_as_seen(objects, {CAN: model}, Renderer({CAN: model.mesh}), threads)


@pytest.mark.parametrize("turn", TURNS, ids=["none", "quarter", "half", "back", "over"])
def test_an_object_is_turned_as_it_looks_and_its_keypoints_stay_where_they_are_seen(can, turn):
    [found] = turned(can, cropped(can, POSE, POSE @ turn))
    np.testing.assert_allclose(found.solution.camera_from_object, POSE, atol=1e-9)
    drawn = transform_points(found.solution.camera_from_object, found.keypoints.points)
    np.testing.assert_allclose(CAMERA.project(drawn), found.keypoints.pixels, atol=1e-6)


def test_objects_of_a_picture_are_turned_each_by_itself_on_any_number_of_threads(can):
    objects = [cropped(can, POSE, POSE @ turn) for turn in TURNS]
    for threads in (1, 3):
        for one in turned(can, *objects, threads=threads):
            np.testing.assert_allclose(one.solution.camera_from_object, POSE, atol=1e-9)


def test_what_looks_the_same_after_a_turn_stays_as_keypoints_have_it(can):
    grey = replace(can, mesh=replace(can.mesh, colours=np.full_like(can.mesh.colours, 120)))
    for turn in TURNS:
        one = cropped(grey, POSE, POSE @ turn)
        assert turned(grey, one)[0] is one


def test_what_has_no_symmetry_or_is_round_stays_as_it_is(can):
    for turns in (TURNS[:1], np.concatenate([TURNS] + [TURNS[1:2]] * (MOST_TWINS - 4))):
        one = cropped(can, POSE, POSE @ TURNS[1])
        assert turned(replace(can, symmetries=turns), one)[0] is one


def test_where_nothing_is_drawn_nothing_is_turned(can):
    behind = cropped(can, POSE, make_transform(np.eye(3), np.array([0.0, 0, -500])))
    assert turned(can, behind)[0] is behind
