import json
import logging

import numpy as np
import PIL.Image
import pytest
import trimesh
from scipy.spatial.distance import pdist

from heatpose.errors import DataError, MeshError
from heatpose.objects.mesh import (
    Mesh,
    diameter,
    face_areas,
    read_mesh,
    read_mesh_with_unit,
    sample_surface,
    write_mesh,
)

SUFFIXES = ["ply", "obj", "stl", "glb", "off"]


@pytest.fixture
def textured(cube_mesh, rng):
    return Mesh(
        cube_mesh.vertices,
        cube_mesh.faces,
        cube_mesh.normals,
        uv=rng.random((8, 2)),
        texture=rng.integers(0, 255, (16, 32, 3), np.uint8),
    )


def as_trimesh(mesh, **visual):
    return trimesh.Trimesh(mesh.vertices, mesh.faces, process=False, **visual)


def places(points):
    """The different points, sorted, as a set that does not know how vertices are shared."""
    return np.unique(np.round(points, 3), axis=0)


@pytest.mark.parametrize("kind", ["coloured", "textured", "grey"])
def test_what_is_written_comes_back(tmp_path, kind, cube_mesh, textured):
    grey = Mesh(cube_mesh.vertices, cube_mesh.faces, cube_mesh.normals)
    mesh = {"coloured": cube_mesh, "textured": textured, "grey": grey}[kind]
    write_mesh(tmp_path / "part.ply", mesh)
    back = read_mesh(tmp_path / "part.ply", "mm")
    np.testing.assert_array_equal(back.faces, mesh.faces)
    for name in ("vertices", "normals", "colours", "uv", "texture"):
        there, here = getattr(back, name), getattr(mesh, name)
        assert (there is None) == (here is None), name
        if here is not None:
            np.testing.assert_allclose(there, here, rtol=1e-6, err_msg=name)


def test_the_corners_of_the_box_are_those_of_a_brick(brick_mesh):
    np.testing.assert_allclose(brick_mesh.corners, brick_mesh.vertices)  # both x slowest


def test_a_failed_write_leaves_the_old_file(tmp_path, cube_mesh, monkeypatch):
    path = tmp_path / "part.ply"
    write_mesh(path, cube_mesh)
    before = path.read_bytes()
    monkeypatch.setattr("os.fsync", lambda _: (_ for _ in ()).throw(OSError(28, "No space left")))
    with pytest.raises(DataError, match=r"part\.ply: No space left"):
        write_mesh(path, cube_mesh)
    assert path.read_bytes() == before
    assert list(tmp_path.iterdir()) == [path]


@pytest.mark.parametrize("suffix", SUFFIXES)
def test_every_format_gives_the_same_surface(tmp_path, suffix, brick_mesh):
    path = tmp_path / f"part.{suffix}"
    as_trimesh(brick_mesh).export(path)
    mesh = read_mesh(path, "mm")
    np.testing.assert_array_equal(places(mesh.vertices), places(brick_mesh.vertices))
    areas = np.sort(face_areas(mesh))
    np.testing.assert_allclose(areas, np.sort(face_areas(brick_mesh)), rtol=1e-6)
    first, second, third = np.moveaxis(mesh.triangles - mesh.centre, 1, 0)
    assert np.einsum("fi,fi->", first, np.cross(second, third)) / 6 == pytest.approx(60 * 90 * 120)
    np.testing.assert_allclose(mesh.extents, [60, 90, 120])
    np.testing.assert_allclose(mesh.centre, [5, -8, 12])


@pytest.mark.parametrize("suffix", ["obj", "stl", "glb", "off"])
def test_a_box_without_normals_gets_flat_sides(tmp_path, suffix, cube_mesh):
    path = tmp_path / f"part.{suffix}"
    as_trimesh(cube_mesh).export(path)
    mesh = read_mesh(path, "mm")
    assert len(mesh.vertices) == 24  # each corner once for each of its sides
    across = np.cross(*np.moveaxis(np.diff(mesh.triangles, axis=1), 1, 0))
    across /= np.linalg.norm(across, axis=1, keepdims=True)
    for corner in range(3):
        np.testing.assert_allclose(mesh.normals[mesh.faces[:, corner]], across, atol=1e-6)


def test_a_ply_keeps_its_vertices_one_to_one(tmp_path, brick_mesh):
    as_trimesh(brick_mesh).export(tmp_path / "part.ply", vertex_normal=False)
    mesh = read_mesh(tmp_path / "part.ply", "mm")
    np.testing.assert_allclose(mesh.vertices, brick_mesh.vertices)
    np.testing.assert_array_equal(mesh.faces, brick_mesh.faces)
    outwards = np.einsum("ni,ni->n", mesh.normals, brick_mesh.normals)
    assert (outwards > 0.8).all()


@pytest.mark.parametrize("suffix", ["ply", "obj", "glb"])
def test_vertex_colours_stay_with_their_vertices(tmp_path, suffix, cube_mesh):
    path = tmp_path / f"part.{suffix}"
    as_trimesh(cube_mesh, vertex_colors=cube_mesh.colours).export(path)
    mesh = read_mesh(path, "mm")
    corners = np.round(mesh.vertices / 80 + 0.5)  # 0 or 1
    np.testing.assert_allclose(mesh.colours, corners * 200 + 40, atol=1)


@pytest.mark.parametrize("suffix", ["obj", "glb"])
def test_textures_stay_with_their_vertices(tmp_path, suffix, textured):
    path = tmp_path / f"part.{suffix}"
    picture = PIL.Image.fromarray(textured.texture)
    material = trimesh.visual.material.PBRMaterial(baseColorTexture=picture)
    if suffix == "obj":
        material = trimesh.visual.material.SimpleMaterial(picture)
    look = trimesh.visual.TextureVisuals(uv=textured.uv, material=material)
    as_trimesh(textured, visual=look).export(path)
    mesh = read_mesh(path, "mm")
    np.testing.assert_array_equal(mesh.texture, textured.texture)
    for vertex, uv in zip(mesh.vertices, mesh.uv, strict=True):
        old = np.abs(textured.vertices - vertex).sum(axis=1).argmin()
        np.testing.assert_allclose(uv, textured.uv[old], atol=1e-6)


@pytest.mark.parametrize(("unit", "mm"), [("mm", 1.0), ("cm", 10.0), ("m", 1000.0), ("inch", 25.4)])
def test_the_unit_asked_for_scales_to_millimetres(tmp_path, unit, mm, brick_mesh):
    write_mesh(tmp_path / "part.ply", brick_mesh)
    mesh, found = read_mesh_with_unit(tmp_path / "part.ply", unit)
    np.testing.assert_allclose(mesh.extents, np.array([60, 90, 120]) * mm, rtol=1e-6)
    np.testing.assert_allclose(mesh.normals, brick_mesh.normals, atol=1e-6)
    assert not found.guessed


def test_a_guessed_unit_is_said_aloud(tmp_path, caplog):
    trimesh.creation.box([0.076, 0.078, 0.092]).export(tmp_path / "part.stl")
    with caplog.at_level(logging.INFO, "heatpose"):
        mesh = read_mesh(tmp_path / "part.stl")
    assert "extents 0.076 x 0.078 x 0.092: taken for metres" in caplog.text
    np.testing.assert_allclose(mesh.extents, [76, 78, 92], rtol=1e-5)


def test_a_missing_texture_is_a_warning_and_grey(tmp_path, caplog):
    (tmp_path / "part.obj").write_text(
        "mtllib part.mtl\nv 0 0 0\nv 90 0 0\nv 0 90 0\nvt 0 0\nvt 1 0\nvt 0 1\n"
        "usemtl skin\nf 1/1 2/2 3/3\n"
    )
    (tmp_path / "part.mtl").write_text("newmtl skin\nKd 1 1 1\nmap_Kd skin.png\n")
    mesh = read_mesh(tmp_path / "part.obj", "mm")
    assert "skin.png is missing" in caplog.text
    assert mesh.colours is None and mesh.texture is None

    caplog.clear()
    (tmp_path / "part.mtl").unlink()
    mesh = read_mesh(tmp_path / "part.obj", "mm")
    assert "part.mtl is missing" in caplog.text
    assert mesh.colours is None and mesh.texture is None


PLY = (
    "ply\nformat ascii 1.0\nelement vertex 3\nproperty float x\nproperty float y\n"
    "property float z\nelement face {}\nproperty list uchar int vertex_indices\nend_header\n"
    "0 0 0\n90 0 0\n0 90 0\n{}\n"
)


@pytest.mark.parametrize(
    ("name", "content", "message"),
    [
        ("part.step", "", r"part\.step is not one of \.ply \.obj"),
        ("part.ply", "", r"part\.ply cannot be read"),
        ("part.glb", "no", r"part\.glb cannot be read"),
        ("part.stl", "", r"part\.stl has no faces"),
        ("part.obj", "v 0 0 0\nv 1 0 0\nv 0 1 0\n", r"part\.obj has no faces"),
        ("part.ply", PLY.format(0, ""), r"part\.ply has no faces"),
        ("part.ply", PLY.format(2, "3 0 1 2"), r"breaks off: it has 1 of 2 faces"),
        ("part.ply", PLY.format(1, "3 0 1 7"), r"face with vertex 7, of 3"),
        (
            "part.obj",
            "v 0 0 0\nv nan 0 0\nv 0 1 0\nf 1 2 3\n",
            r"a vertex 1 at \[nan, 0\.0, 0\.0\]",
        ),
        ("part.obj", "v 1 1 1\nv 1 1 1\nv 1 1 1\nf 1 2 3\n", r"part\.obj has no extent"),
        ("part.off", "OFF\n3 1 0\n0 0 0\n1 0 0\n0 1 0\n", r"breaks off before the last of 1 faces"),
    ],
)
def test_an_unusable_file_is_named_with_its_fault(tmp_path, name, content, message):
    (tmp_path / name).write_text(content)
    with pytest.raises(MeshError, match=message):
        read_mesh(tmp_path / name)


def test_a_missing_file_is_named(tmp_path):
    with pytest.raises(MeshError, match=r"nothing\.ply is missing"):
        read_mesh(tmp_path / "nothing.ply")


def test_diameter_is_the_largest_distance_between_vertices(rng):
    for points in [
        rng.normal(size=(1500, 3)),
        rng.normal(size=(300, 3)) * [1, 1, 0],  # flat
        rng.normal(size=(50, 1)) * [[1, 2, 3]],  # on a line
        (lambda p: p / np.linalg.norm(p, axis=1, keepdims=True))(rng.normal(size=(1200, 3))),
    ]:
        mesh = Mesh(points, np.array([[0, 1, 2]], np.int32), np.zeros_like(points))
        assert diameter(mesh) == pytest.approx(pdist(points).max(), rel=1e-12)


def test_samples_lie_evenly_on_the_surface(brick_mesh, rng):
    points = sample_surface(brick_mesh, 60_000, rng)
    to_side = np.abs(np.abs(points - brick_mesh.centre) - brick_mesh.extents / 2)
    assert (to_side.min(axis=1) < 1e-9).all()
    on_top = to_side[:, 2] < 1e-9  # both sides across z: 2 * 60 * 90 of 46800 mm^2
    assert on_top.mean() == pytest.approx(2 * 60 * 90 / 46_800, abs=0.01)
    # Even within a side: the mean of |x| over 60 mm is 15 mm, of x^2 300 mm^2.
    x = points[on_top, 0] - 5
    assert np.abs(x).mean() == pytest.approx(15, abs=0.3)
    assert np.square(x).mean() == pytest.approx(300, abs=8)


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"normals": np.zeros((7, 3))}, r"got \(8, 3\) and \(7, 3\)"),
        ({"faces": np.zeros((2, 4), np.int32)}, r"faces must be \(f, 3\), got \(2, 4\)"),
        ({"colours": np.zeros((2, 3), np.uint8)}, r"colours must be \(8, 3\), got \(2, 3\)"),
        ({"uv": np.zeros((8, 2))}, "uv and texture come together"),
        (
            {"uv": np.zeros((7, 2)), "texture": np.zeros((2, 2, 3), np.uint8)},
            r"uv must be \(8, 2\), got \(7, 2\)",
        ),
    ],
)
def test_a_mesh_checks_its_shapes(cube_mesh, changes, message):
    with pytest.raises(ValueError, match=message):
        Mesh(**{**vars(cube_mesh), **changes})


@pytest.mark.real
@pytest.mark.parametrize("folder", ["lmo/models", "lm/models", "ycbv/models"])
def test_diameters_are_those_of_models_info(real_data, folder):
    infos = json.loads((real_data / folder / "models_info.json").read_text())
    textured = folder.startswith("ycbv")
    # Pictures of 4096 x 4096 take their time.
    for object_id, info in list(infos.items())[: 2 if textured else None]:
        mesh = read_mesh(real_data / folder / f"obj_{int(object_id):06d}.ply", "mm")
        assert diameter(mesh) == pytest.approx(info["diameter"], rel=1e-5), object_id
        assert (mesh.texture is not None) == textured
        assert (mesh.colours is not None) == (not textured)
