"""Bodies whose symmetries are known."""

import re

import numpy as np
import pytest
import trimesh

from heatpose.geometry.rotations import matrix_from_vector, random_rotation
from heatpose.geometry.transforms import make_transform, rotation_angle, transform_points
from heatpose.objects.mesh import Mesh
from heatpose.objects.surface import smooth_normals
from heatpose.objects.symmetry import symmetries_from_info
from heatpose.objects.symmetry_search import Symmetries, find_symmetries


def mesh_of(body, colours=None, pose=None):
    vertices, faces = np.asarray(body.vertices, float), np.asarray(body.faces, np.int32)
    if pose is not None:
        vertices = transform_points(pose, vertices)
    return Mesh(vertices, faces, smooth_normals(vertices, faces), colours=colours)


@pytest.fixture
def anywhere(rng):
    """A pose far from the origin, along no axis."""
    return make_transform(random_rotation(rng), np.array([40.0, -70, 20]))


def angles(found):
    """Whole degrees, to the nearest three: surfaces are sampled."""
    degrees = np.degrees(np.atleast_1d(rotation_angle(found.discrete[:, :3, :3])))
    return sorted((3 * np.round(degrees / 3)).tolist())


def assert_maps_to_itself(mesh, found):
    """Corners of a body land on corners."""
    for turn in found.discrete:
        moved = transform_points(turn, mesh.vertices)
        apart = np.linalg.norm(moved[:, None] - mesh.vertices, axis=2).min(axis=1)
        assert apart.max() < 0.05 * np.ptp(mesh.vertices, axis=0).max()


def test_a_brick_looks_the_same_after_three_half_turns(anywhere):
    mesh = mesh_of(trimesh.creation.box([60, 90, 130]), pose=anywhere)
    found = find_symmetries(mesh)
    assert angles(found) == [180, 180, 180]
    assert found.continuous == ()
    assert_maps_to_itself(mesh, found)


def test_a_square_post_has_seven(anywhere):
    """Two quarter turns, one half turn, four half turns across."""
    mesh = mesh_of(trimesh.creation.box([60, 60, 150]), pose=anywhere)
    found = find_symmetries(mesh)
    assert angles(found) == [90, 90, 180, 180, 180, 180, 180]
    assert_maps_to_itself(mesh, found)


def test_a_cube_has_twenty_three(anywhere):
    mesh = mesh_of(trimesh.creation.box([80, 80, 80]), pose=anywhere)
    found = find_symmetries(mesh)
    assert angles(found) == [90] * 6 + [120] * 8 + [180] * 9
    assert_maps_to_itself(mesh, found)


def test_a_hexagonal_nut_has_steps_of_sixty_degrees():
    body = trimesh.creation.cylinder(radius=50, height=30, sections=6)
    found = find_symmetries(mesh_of(body))
    assert angles(found) == [60, 60, 120, 120] + [180] * 7


def test_a_cylinder_is_round_and_can_be_turned_over(anywhere):
    body = trimesh.creation.cylinder(radius=30, height=110, sections=64)
    found = find_symmetries(mesh_of(body, pose=anywhere))
    [axis] = found.continuous
    assert abs(axis.direction @ anywhere[:3, 2]) == pytest.approx(1, abs=2e-3)
    across = anywhere[:3, 3] - axis.offset
    assert np.linalg.norm(across - axis.direction * (across @ axis.direction)) < 1
    assert angles(found) == [180]
    # In BOP's form it is read as it was meant.
    turns = symmetries_from_info(found.as_info(), 0.1)
    assert len(turns) == 2 * 32


def test_a_cone_is_round_but_has_a_top():
    found = find_symmetries(mesh_of(trimesh.creation.cone(radius=40, height=90, sections=64)))
    assert len(found.continuous) == 1 and len(found.discrete) == 0
    assert str(found) == "round about z"


def test_a_ball_is_round_about_three_axes():
    found = find_symmetries(mesh_of(trimesh.creation.icosphere(subdivisions=4, radius=50)))
    assert len(found.continuous) == 3 and len(found.discrete) == 0


def test_an_odd_body_has_none_and_bop_s_file_no_entry(rng):
    corners = rng.uniform(-50, 50, (12, 3)) * [1, 1.5, 0.7]
    found = find_symmetries(mesh_of(trimesh.convex.convex_hull(corners)))
    assert len(found.discrete) == 0 and found.continuous == ()
    assert found.as_info() == {} and str(found) == "none"


def test_colour_tells_sides_apart():
    """A brick with one end painted: only the half turn about its long axis is left."""
    body = trimesh.creation.box([60, 90, 130]).subdivide().subdivide().subdivide()
    colours = np.full((len(body.vertices), 3), 90, np.uint8)
    colours[body.vertices[:, 2] > 0] = [250, 20, 20]
    mesh = mesh_of(body, colours)
    assert angles(find_symmetries(mesh, with_colour=False)) == [180, 180, 180]
    found = find_symmetries(mesh)
    assert angles(found) == [180]
    assert str(found) == "180 degrees about z"


def test_a_handle_makes_a_mug_unlike_a_can():
    body = trimesh.creation.cylinder(radius=40, height=100, sections=64)
    handle = trimesh.creation.box([30, 10, 60], make_transform(np.eye(3), np.array([50.0, 0, 0])))
    found = find_symmetries(mesh_of(trimesh.util.concatenate([body, handle])))
    assert found.continuous == ()
    assert angles(found) == [180]  # turned over, with the handle on the same side


def test_words_name_axes():
    turn = make_transform(matrix_from_vector(np.array([0, 0, np.pi / 2])), np.zeros(3))
    skewed = make_transform(matrix_from_vector(np.pi * np.array([0.6, 0.8, 0])), np.zeros(3))
    found = Symmetries(np.stack([turn, skewed]), ())
    assert str(found) == "90 degrees about z; 180 degrees about (0.60, 0.80, 0.00)"


@pytest.mark.real
def test_the_objects_of_linemod_have_the_symmetries_that_bop_says(real_data):
    from heatpose.objects.mesh import read_mesh

    folder = real_data / "lm" / "models"
    found = {
        int(path.stem[4:]): find_symmetries(read_mesh(path, "mm"))
        for path in sorted(folder.glob("obj_*.ply"))
    }
    symmetric = {i: str(s) for i, s in found.items() if str(s) != "none"}
    assert symmetric.keys() == {10, 11}
    assert all(re.fullmatch("1(79|80) degrees about z", text) for text in symmetric.values())
