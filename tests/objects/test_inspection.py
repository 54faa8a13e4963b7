import json

import numpy as np
import pytest
import trimesh

from heatpose.objects.inspection import find_topology, inspect_mesh
from heatpose.objects.mesh import Mesh, write_mesh


def changed(mesh, **changes):
    return Mesh(**{**vars(mesh), **changes})


def test_a_closed_box_has_nothing_to_say(tmp_path, brick_mesh):
    write_mesh(tmp_path / "part.ply", brick_mesh)
    found = inspect_mesh(tmp_path / "part.ply")
    record = json.loads(json.dumps(found.to_record()))
    assert record.pop("file").endswith("part.ply")
    assert record.pop("diameter_mm") == pytest.approx(np.linalg.norm([60, 90, 120]))
    assert record.pop("extents_mm") == pytest.approx([60, 90, 120])
    assert record.pop("box_centre_mm") == pytest.approx([5, -8, 12])
    assert record.pop("origin_to_centre_mm") == pytest.approx(np.sqrt(25 + 64 + 144))
    turns = record.pop("symmetries")["symmetries_discrete"]  # its corners differ in colour
    for row in turns:
        assert np.trace(np.reshape(row, (4, 4))) == pytest.approx(0, abs=0.01)  # half turns
    assert len(turns) == 3
    down = np.array(record.pop("down"))  # on each of its six sides
    assert len(down) == 6 and {tuple(np.abs(one)) for one in down} == set(map(tuple, np.eye(3)))
    assert record == {
        "coloured_symmetries": {},
        "unit": "mm",
        "unit_guessed": True,
        "vertices": 8,
        "faces": 12,
        "components": 1,
        "closed": True,
        "holes": 0,
        "boundary_edges": 0,
        "crowded_edges": 0,
        "inside_out": False,
        "degenerate_faces": 0,
        "unused_vertices": 0,
        "colour": "vertex colours",
        "warnings": [],
    }


def test_missing_faces_are_holes(cube_mesh):
    # The two triangles of one side, and one of the side across: a square and a triangular hole.
    found = find_topology(changed(cube_mesh, faces=cube_mesh.faces[3:]))
    assert (found.holes, found.boundary_edges, found.components) == (2, 7, 1)


def test_holes_that_touch_at_a_corner_count_as_one(cube_mesh):
    # A triangle of one side and one of the next, with the corner 0 in common.
    keep = np.ones(12, bool)
    keep[[0, 4]] = False
    found = find_topology(changed(cube_mesh, faces=cube_mesh.faces[keep]))
    assert (found.holes, found.boundary_edges) == (1, 6)


def test_vertices_at_one_place_close_a_surface(cube_mesh):
    apart = Mesh(
        cube_mesh.triangles.reshape(-1, 3),
        np.arange(36, dtype=np.int32).reshape(-1, 3),
        np.zeros((36, 3)),
    )
    assert find_topology(apart) == find_topology(cube_mesh)
    assert find_topology(apart).boundary_edges == 0


def test_surfaces_that_do_not_touch_are_counted(cube_mesh):
    faces = np.concatenate([cube_mesh.faces, cube_mesh.faces + 8])
    vertices = np.concatenate([cube_mesh.vertices, cube_mesh.vertices + 100])
    two = Mesh(vertices, faces, np.zeros((16, 3)))
    assert find_topology(two).components == 2


def test_inside_out_and_crowded_and_degenerate_are_told(cube_mesh):
    assert find_topology(changed(cube_mesh, faces=cube_mesh.faces[:, ::-1])).inside_out
    assert not find_topology(cube_mesh).inside_out
    empty = np.int32([*cube_mesh.faces, [0, 0, 1], [2, 2, 2]])
    assert find_topology(changed(cube_mesh, faces=empty)).degenerate_faces == 2
    # A third face on the edges 0 1 and 0 6; its third side goes through the cube.
    fin = find_topology(changed(cube_mesh, faces=np.int32([*cube_mesh.faces, [0, 1, 6]])))
    assert (fin.crowded_edges, fin.boundary_edges) == (2, 1)


def warnings_of(tmp_path, mesh, unit="mm"):
    write_mesh(tmp_path / "part.ply", mesh)
    return " | ".join(inspect_mesh(tmp_path / "part.ply", unit).warnings)


@pytest.mark.slow
def test_each_fault_is_a_warning(tmp_path, cube_mesh):
    def said(unit="mm", **changes):
        return warnings_of(tmp_path, changed(cube_mesh, **changes), unit)

    assert said() == ""
    assert "holes with 7 boundary edges" in said(faces=cube_mesh.faces[3:])
    assert "faces look inwards" in said(
        faces=cube_mesh.faces[:, ::-1].copy(), normals=-cube_mesh.normals
    )
    assert "1 faces have no area" in said(faces=np.int32([*cube_mesh.faces, [0, 0, 1]]))
    assert "origin lies outside" in said(vertices=cube_mesh.vertices + 41)
    assert "no colour" in said(colours=None)
    assert "flat: " in said(vertices=cube_mesh.vertices * [1, 1, 0.001])
    assert "unit: 8 inches or centimetres" in said(None, vertices=cube_mesh.vertices / 10)
    stray = np.vstack([cube_mesh.vertices, [[0, 0, 90]]])
    assert "1 vertices belong to no face" in said(
        vertices=stray, normals=np.ones((9, 3)), colours=np.zeros((9, 3), np.uint8)
    )


def test_many_faces_are_a_warning(tmp_path, monkeypatch, cube_mesh):
    monkeypatch.setattr("heatpose.objects.inspection.MANY_FACES", 11)
    assert "12 faces: rendering will be slow" in warnings_of(tmp_path, cube_mesh)


def test_the_kind_of_colour_is_named(tmp_path, cube_mesh):
    picture = np.zeros((16, 32, 3), np.uint8)
    mesh = changed(cube_mesh, colours=None, uv=np.zeros((8, 2)), texture=picture)
    write_mesh(tmp_path / "part.ply", mesh)
    assert inspect_mesh(tmp_path / "part.ply").colour == "texture 32 x 16"
    trimesh.creation.box([40, 50, 60]).export(tmp_path / "part.stl")
    assert inspect_mesh(tmp_path / "part.stl").colour == "none"


@pytest.mark.real
def test_the_ape_is_one_closed_surface_around_the_origin(real_data):
    found = inspect_mesh(real_data / "lmo" / "models" / "obj_000001.ply")
    assert (found.topology.components, found.topology.holes) == (1, 0)
    assert found.origin_to_centre < 1e-3
    assert found.warnings == ()
