"""Objects that stand on a plane of which nothing is known before."""

from dataclasses import replace

import numpy as np
import pytest
import trimesh

from heatpose.geometry.rotations import matrix_from_vector, random_rotation
from heatpose.geometry.transforms import make_transform, transform_points
from heatpose.objects.catalogue import ObjectModel
from heatpose.objects.mesh import Mesh
from heatpose.solve.probability import spread_of
from heatpose.solve.refine import covariance_of, perturbed
from heatpose.solve.table import FEWEST, Plane, Standing, contact_with, stand_together
from heatpose.types import Evidence, PoseEstimate

# A table as a camera sees it from above, some 35 degrees down: table's z is up.
CAMERA_FROM_TABLE = make_transform(
    matrix_from_vector(np.array([np.pi / 2 + 0.6, 0, 0])), [20.0, 60.0, 900.0]
)
PLACES = np.array([[-190, -80], [-60, 110], [70, -110], [190, 60], [0, 0], [120, 190]], float)
DOWN = [  # rotations that put one of six sides of a box down
    matrix_from_vector(np.array(vector) * np.pi / 2)
    for vector in ([0, 0, 0], [2, 0, 0], [1, 0, 0], [-1, 0, 0], [0, 1, 0], [0, -1, 0])
]


@pytest.fixture
def objects(brick_mesh, can_mesh):
    def model(object_id, mesh, diameter):
        return ObjectModel(object_id, "it", mesh, mesh.corners, np.eye(4)[None], diameter)

    return {1: model(1, brick_mesh, 161.0), 2: model(2, can_mesh, 144.0)}


def standing(model, place, side, turn, lifted=0.0, tilt=0.0):
    """A pose in which an object stands on the table, with a side of its own down."""
    side = DOWN[side if model.object_id == 1 else side % 2]  # a can rolls on its other sides
    about = matrix_from_vector(np.array([tilt, 0, 0])) @ matrix_from_vector(np.array([0, 0, turn]))
    rotation = about @ side
    lowest = (model.mesh.vertices @ rotation.T)[:, 2].min()
    return CAMERA_FROM_TABLE @ make_transform(rotation, [*place, lifted - lowest])


def scene(objects, rng, n=6):
    """Poses of n bricks and cans all over the table."""
    return [
        (1 + i % 2, standing(objects[1 + i % 2], PLACES[i], rng.integers(6), rng.uniform(0, 6)))
        for i in range(n)
    ]


def estimate(object_id, pose, probability=0.9):
    precision = np.diag(np.power([0.01, 0.01, 0.01, 1, 1, 1], -2.0))  # of turns about its origin
    covariance = covariance_of(precision, np.array(1.0), pose)
    return PoseEstimate(
        object_id, pose, 0.9, covariance, np.zeros((4, 2)), np.ones(4, bool), (0, 0, 9, 9),
        probability=probability,
    )  # fmt: skip


def off_by(pose, rng, distance=0.02, turn=0.03, aside=0.5):
    """Move an object as pictures get it wrong: along the line of sight, most of all."""
    rotation = matrix_from_vector(turn * rng.standard_normal(3)) @ pose[:3, :3]
    moved = pose[:3, 3] * (1 + distance * rng.standard_normal())
    return make_transform(rotation, moved + aside * rng.standard_normal(3))


def gap(model, pose):
    """How far over the table the lowest point of an object lies, mm."""
    on_table = np.linalg.inv(CAMERA_FROM_TABLE) @ pose
    return transform_points(on_table, model.mesh.vertices)[:, 2].min()


def errors(found, true):
    return np.array(
        [
            np.linalg.norm(one.camera_from_object[:3, 3] - pose[:3, 3])
            for one, (_, pose) in zip(found, true, strict=True)
        ]
    )


def test_objects_that_stand_where_they_should_stay_there(objects, rng):
    true = scene(objects, rng)
    found = stand_together([estimate(*one) for one in true], objects)
    for one, (_, pose) in zip(found, true, strict=True):
        np.testing.assert_allclose(one.camera_from_object, pose, atol=1e-4)


def test_together_they_know_better_how_far_away_they_are(objects, rng):
    before, after, tilts = [], [], []
    for _ in range(30):
        true = scene(objects, rng)
        seen = [estimate(i, off_by(pose, rng)) for i, pose in true]
        found = stand_together(seen, objects)
        before.append(errors(seen, true))
        after.append(errors(found, true))
        for old, new, (_, pose) in zip(seen, found, true, strict=True):
            up = pose[:3, :3].T @ CAMERA_FROM_TABLE[:3, 2]
            turned = [e.camera_from_object[:3, :3] @ up for e in (old, new)]
            tilts.append(np.arccos(np.clip(turned @ CAMERA_FROM_TABLE[:3, 2], -1, 1)))
    assert np.mean(before) > 13
    assert np.mean(after) < 0.62 * np.mean(before)
    assert np.median(tilts, axis=0)[1] < 0.75 * np.median(tilts, axis=0)[0]


def test_one_that_is_too_far_comes_back_along_the_line_of_sight(objects, rng):
    true = scene(objects, rng)
    seen = [estimate(i, pose) for i, pose in true]
    place = true[3][1][:3, 3]
    seen[3] = estimate(true[3][0], make_transform(true[3][1][:3, :3], 1.04 * place))
    found = stand_together(seen, objects)
    assert errors(seen, true)[3] > 30
    assert errors(found, true).max() < 15
    moved = found[3].camera_from_object[:3, 3]
    assert np.linalg.norm(np.cross(moved, place)) / np.linalg.norm(place) < 1  # mm beside it


@pytest.mark.parametrize("n", [1, FEWEST - 1])
def test_a_few_objects_say_nothing(objects, rng, n):
    seen = [estimate(*one) for one in scene(objects, rng, n)]
    found = stand_together(seen, objects)
    assert all(one is other for one, other in zip(found, seen, strict=True))
    assert stand_together([], objects) == []


def test_objects_that_stand_on_nothing_in_common_stay_where_they_are(objects):
    rng = np.random.default_rng(5)
    for _ in range(10):
        poses = [
            make_transform(random_rotation(rng), rng.uniform([-200, -200, 700], [200, 200, 1300]))
            for _ in range(4)
        ]
        seen = [estimate(1 + i % 2, pose) for i, pose in enumerate(poses)]
        found = stand_together(seen, objects)
        assert all(one is other for one, other in zip(found, seen, strict=True))


def test_one_that_stands_on_something_else_stays_there_and_the_others_agree(objects, rng):
    true = scene(objects, rng)
    true[2] = (true[2][0], standing(objects[true[2][0]], PLACES[2], 0, 0.4, lifted=160.0))
    seen = [estimate(i, off_by(pose, rng, 0.01)) for i, pose in true]
    found = stand_together(seen, objects)
    moved = [one.camera_from_object[:3, 3] for one in (found[2], seen[2])]
    np.testing.assert_allclose(*moved, atol=1)
    others = [0, 1, 3, 4, 5]
    assert errors(found, true)[others].mean() < 0.7 * errors(seen, true)[others].mean()


def test_one_that_leans_stays_as_it_leans_but_touches_the_table(objects, rng):
    true = scene(objects, rng)
    leaning = standing(objects[true[4][0]], PLACES[4], 0, 0.4, tilt=0.6)
    seen = [estimate(i, pose) for i, pose in true]
    seen[4] = estimate(true[4][0], make_transform(leaning[:3, :3], 1.02 * leaning[:3, 3]))
    [found] = stand_together(seen, objects)[4:5]
    model = objects[found.object_id]
    assert gap(model, seen[4].camera_from_object) < -9
    assert abs(gap(model, found.camera_from_object)) < 3
    turned = found.camera_from_object[:3, :3] @ leaning[:3, :3].T
    assert np.degrees(np.arccos((np.trace(turned) - 1) / 2)) < 0.5


def test_one_that_leans_by_little_more_than_its_rests_allow_stays_as_it_leans(objects, rng):
    true = scene(objects, rng)
    true[4] = (true[4][0], standing(objects[true[4][0]], PLACES[4], 0, 0.4, tilt=np.radians(12)))
    found = stand_together([estimate(*one) for one in true], objects)
    np.testing.assert_allclose(found[4].camera_from_object, true[4][1], atol=1e-3)


def test_what_is_seen_from_below_stands_on_nothing(objects, rng):
    """Cones, which stand one way up: a table between them and the camera would hide them."""
    shape = trimesh.creation.cone(40, 90, sections=64)
    mesh = Mesh(
        np.array(shape.vertices), np.array(shape.faces, np.int32), np.array(shape.vertex_normals)
    )
    cones = {1: replace(objects[1], mesh=mesh, keypoints=mesh.corners, diameter=100.0)}
    over = np.diag([1.0, -1, -1, 1])
    for turn, moves in ((np.eye(4), True), (over, False)):
        tables = CAMERA_FROM_TABLE @ turn
        poses = [tables @ make_transform(np.eye(3), [*place, 0]) for place in PLACES]
        seen = [estimate(1, off_by(pose, rng)) for pose in poses]
        found = stand_together(seen, cones)
        assert all((one is not other) == moves for one, other in zip(found, seen, strict=True))


def test_slopes_are_those_of_gap_and_lean(objects, rng):
    pose = off_by(standing(objects[1], PLACES[0], 2, 0.4, tilt=0.05), rng)
    there = Standing(pose, np.eye(6), objects[1].rests, 161.0, 1.0)
    normal = CAMERA_FROM_TABLE[:3, 2] + [0.03, -0.02, 0.01]
    plane = Plane(normal / np.linalg.norm(normal), CAMERA_FROM_TABLE[:3, 3], np.zeros((3, 3)))
    contact = contact_with(there, pose, plane)
    assert len(contact.residuals) == 3
    step = 1e-6
    for i, change in enumerate(step * np.eye(6)):
        moved = contact_with(there, perturbed(pose, change), plane).residuals
        slopes = (moved - contact.residuals) / step
        np.testing.assert_allclose(slopes, contact.by_pose[:, i], atol=1e-3)
    for i in range(2):
        other = replace(plane, normal=plane.normal + step * plane.across[i])
        slope = (contact_with(there, pose, other).residuals - contact.residuals) / step
        np.testing.assert_allclose(slope[0], contact.by_plane[0, i], atol=1e-2)
    higher = replace(plane, point=plane.point + step * plane.normal)
    slopes = (contact_with(there, pose, higher).residuals - contact.residuals) / step
    np.testing.assert_allclose(slopes, contact.by_plane[:, 2], atol=1e-6)


def test_an_object_moves_no_farther_in_more_steps(objects, rng, monkeypatch):
    seen = [estimate(i, off_by(pose, rng)) for i, pose in scene(objects, rng)]
    found = []
    for steps in (2, 12):
        monkeypatch.setattr("heatpose.solve.table.STEPS", steps)
        found.append(stand_together(seen, objects))
    for one, other, plain in zip(*found, seen, strict=True):
        moved = [
            e.camera_from_object[:3, 3] - plain.camera_from_object[:3, 3] for e in (one, other)
        ]
        np.testing.assert_allclose(*moved, atol=0.5)


def test_a_probable_plane_is_taken_before_an_improbable_one(objects, rng):
    """Three wrong poses, on a plane of their own 200 mm over the table, are asked first."""
    true = scene(objects, rng)
    up = np.append(CAMERA_FROM_TABLE[:3, 2] * 200, 0)[:, None] @ [[0, 0, 0, 1.0]]
    seen = [estimate(i, pose + up, 0.01) for i, pose in true[:3]]
    seen += [estimate(i, off_by(pose, rng, 0.01)) for i, pose in true[3:]]
    found = stand_together(seen, objects)
    assert errors(found[3:], true[3:]).max() < 12
    np.testing.assert_allclose(errors(found[:3], true[:3]), 200, atol=1)


def test_neither_the_order_nor_the_camera_s_turn_matters(objects, rng):
    seen = [estimate(i, off_by(pose, rng)) for i, pose in scene(objects, rng)]
    found = stand_together(seen, objects)
    order = [3, 0, 5, 1, 4, 2]
    shuffled = stand_together([seen[i] for i in order], objects)
    for i, one in zip(order, shuffled, strict=True):
        np.testing.assert_allclose(one.camera_from_object, found[i].camera_from_object, atol=1e-6)
    turn = make_transform(matrix_from_vector(np.array([0.1, -0.2, 0.5])), np.zeros(3))
    both = np.kron(np.eye(2), turn[:3, :3])
    turned = [
        replace(
            one,
            camera_from_object=turn @ one.camera_from_object,
            covariance=both @ one.covariance @ both.T,
        )
        for one in seen
    ]
    for one, plain in zip(stand_together(turned, objects), found, strict=True):
        np.testing.assert_allclose(
            one.camera_from_object, turn @ plain.camera_from_object, atol=0.05
        )
        np.testing.assert_allclose(
            one.covariance, both @ plain.covariance @ both.T, rtol=0.02, atol=0.02
        )


def test_it_says_how_sure_it_is(objects, rng):
    """Errors of what a picture gets wrong as it is taken to, in its own spreads: six of a pose."""
    squares = []
    for _ in range(40):
        true = scene(objects, rng)
        seen = []
        for i, pose in true:
            moved = off_by(pose, rng, 0.03, np.hypot(0.02, np.radians(3)), 2.0)
            seen.append(estimate(i, moved))
        for one, (_, pose) in zip(stand_together(seen, objects), true, strict=True):
            turn = pose[:3, :3] @ one.camera_from_object[:3, :3].T
            w = np.array(
                [turn[2, 1] - turn[1, 2], turn[0, 2] - turn[2, 0], turn[1, 0] - turn[0, 1]]
            )
            v = pose[:3, 3] - (turn @ one.camera_from_object[:3, 3])
            off = np.concatenate([w / 2, v])
            squares.append(off @ np.linalg.solve(one.covariance, off))
    assert 4 < np.mean(squares) < 9


def test_improbable_poses_move_nothing(objects, rng):
    """Two wrong poses that agree with each other, far over the table, against four right ones."""
    true = scene(objects, rng)
    seen = [estimate(i, off_by(pose, rng, 0.01)) for i, pose in true]
    for k in (0, 5):
        up = CAMERA_FROM_TABLE[:3, 2] * 60
        wrong = make_transform(true[k][1][:3, :3], true[k][1][:3, 3] + up)
        seen[k] = estimate(true[k][0], wrong, probability=1e-3)
    found = stand_together(seen, objects)
    assert errors(found, true)[1:5].max() < 12


def test_evidence_says_how_well_an_object_stands(objects, rng):
    known = Evidence(0.5, 0.8, 0.3, 1.0, 1.0, 0.1)
    true = scene(objects, rng)
    true[2] = (true[2][0], standing(objects[true[2][0]], PLACES[2], 0, 0.4, lifted=200.0))
    true[4] = (true[4][0], standing(objects[true[4][0]], PLACES[4], 0, 0.4, tilt=0.6))
    seen = [replace(estimate(i, pose), evidence=known) for i, pose in true]
    found = stand_together(seen, objects)
    assert [one.evidence.standing > 0.95 for one in found] == [i not in (2, 4) for i in range(6)]
    assert [one.evidence.standing for one in found[2:5:2]] == [0, 0]
    for one in found:
        model = objects[one.object_id]
        spread = spread_of(one.camera_from_object, one.covariance, model)
        moved = one.covariance is not seen[found.index(one)].covariance
        assert one.evidence == replace(
            known, standing=one.evidence.standing, spread=spread if moved else known.spread
        )
    apart = [seen[0], seen[2], seen[4]]
    assert [one.evidence.standing for one in stand_together(apart, objects)] == [0, 0, 0]


def test_a_pose_without_covariance_moves_too(objects, rng):
    true = scene(objects, rng)
    seen = [estimate(i, pose) for i, pose in true]
    far = make_transform(true[1][1][:3, :3], 1.04 * true[1][1][:3, 3])
    seen[1] = replace(
        estimate(true[1][0], far), covariance=np.full((6, 6), np.nan), probability=None
    )
    found = stand_together(seen, objects)
    assert errors(found, true)[1] < 12
    assert np.isfinite(found[1].covariance).all()
