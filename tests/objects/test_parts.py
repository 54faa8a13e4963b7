import numpy as np
import PIL.Image
import pytest
import trimesh
from trimesh.transformations import rotation_matrix, scale_matrix, translation_matrix
from trimesh.visual.material import PBRMaterial

from heatpose.objects.mesh import face_areas, read_mesh


def box(**visual):
    return trimesh.Trimesh(*vars_of(trimesh.creation.box([40, 50, 60])), process=False, **visual)


def vars_of(shape):
    return shape.vertices, shape.faces


def plain(colour):
    return box(visual=trimesh.visual.TextureVisuals(material=PBRMaterial(baseColorFactor=colour)))


def pictured(picture, uv, factor=None):
    material = PBRMaterial(baseColorTexture=PIL.Image.fromarray(picture), baseColorFactor=factor)
    return box(visual=trimesh.visual.TextureVisuals(uv=uv, material=material))


@pytest.fixture
def picture(rng):
    return rng.integers(0, 255, (16, 32, 3), np.uint8)


def write_scene(path, *placed):
    scene = trimesh.Scene()
    for surface, transform in placed:
        scene.add_geometry(surface, transform=transform)
    scene.export(path)
    return path


def look_up(mesh, uv):
    """The colour of a mesh's texture at uv, with no blending."""
    height, width = mesh.texture.shape[:2]
    col, row = int(uv[0] * width), int((1 - uv[1]) * height)
    return mesh.texture[row, col]


def test_parts_of_a_scene_are_in_their_places(tmp_path):
    far, large = translation_matrix([100, 0, 0]), scale_matrix(2)
    path = write_scene(tmp_path / "two.glb", (plain([255, 0, 0, 255]), far), (box(), large))
    mesh = read_mesh(path, "mm")
    np.testing.assert_allclose(mesh.lower, [-40, -50, -60])
    np.testing.assert_allclose(mesh.upper, [120, 50, 60])
    assert face_areas(mesh).sum() == pytest.approx(14_800 * (1 + 4))
    # One has a colour, so the other is grey.
    red = (mesh.colours == [255, 0, 0]).all(axis=1)
    assert set(map(tuple, mesh.colours[~red])) == {(153, 153, 153)}
    assert (mesh.vertices[red, 0] > 79).all()


def test_a_turned_stretched_and_mirrored_part_still_looks_outwards(tmp_path):
    transform = rotation_matrix(0.7, [1, 2, 3]) @ np.diag([-1.0, 2, 0.5, 1])
    ball = trimesh.creation.icosphere(subdivisions=3, radius=30)
    normals = np.array(ball.vertex_normals)  # computed here, so that they are written
    mesh = read_mesh(write_scene(tmp_path / "ball.glb", (ball, transform)), "mm")
    np.testing.assert_allclose(mesh.vertices, ball.vertices @ transform[:3, :3].T, atol=1e-4)
    first, second, third = np.moveaxis(mesh.triangles, 1, 0)
    assert np.einsum("fi,fi->", first, np.cross(second, third)) > 0
    # An ellipsoid's normal is not its radius: the file's own follow the planes.
    expected = normals @ np.linalg.inv(transform[:3, :3])
    expected /= np.linalg.norm(expected, axis=1, keepdims=True)
    np.testing.assert_allclose(mesh.normals, expected, atol=1e-4)


def test_a_plain_material_becomes_vertex_colours(tmp_path):
    mesh = read_mesh(write_scene(tmp_path / "red.glb", (plain([200, 10, 0, 255]), np.eye(4))), "mm")
    np.testing.assert_array_equal(mesh.colours, np.tile([200, 10, 0], (len(mesh.vertices), 1)))


def test_a_colour_multiplies_the_picture(tmp_path, rng, picture):
    surface = pictured(picture, rng.random((8, 2)), factor=[255, 51, 0, 255])
    mesh = read_mesh(write_scene(tmp_path / "part.glb", (surface, np.eye(4))), "mm")
    np.testing.assert_allclose(mesh.texture, picture * [1, 0.2, 0], atol=0.51)


def test_several_pictures_and_plain_colours_become_one_picture(tmp_path, rng, picture):
    other = rng.integers(0, 255, (8, 8, 3), np.uint8)
    # Centres of pixels; the second picture is repeated: uv of -1.5 to 1.5.
    first_uv = (rng.integers(0, 16, (8, 2)) + 0.5) / [32, 16]
    second_uv = (rng.integers(-12, 12, (8, 2)) + 0.5) / 8
    aside, above = translation_matrix([100, 0, 0]), translation_matrix([0, 0, 100])
    path = write_scene(
        tmp_path / "three.glb",
        (pictured(picture, first_uv), np.eye(4)),
        (pictured(other, second_uv), aside),
        (plain([10, 200, 30, 255]), above),
    )
    mesh = read_mesh(path, "mm")
    assert mesh.uv.min() >= 0 and mesh.uv.max() <= 1
    corners = box().vertices
    for vertex, uv in zip(mesh.vertices, mesh.uv, strict=True):
        seen = look_up(mesh, uv)
        if vertex[2] > 60:
            np.testing.assert_array_equal(seen, [10, 200, 30])
            continue
        old = np.abs(corners + [100 * (vertex[0] > 50), 0, 0] - vertex).sum(axis=1).argmin()
        source, at = (other, second_uv[old] % 1) if vertex[0] > 50 else (picture, first_uv[old])
        height, width = source.shape[:2]
        np.testing.assert_array_equal(seen, source[int((1 - at[1]) * height), int(at[0] * width)])


def test_faces_of_their_own_colour_get_their_own_vertices(tmp_path, rng):
    surface = box()
    surface.visual.face_colors = rng.integers(0, 255, (12, 3), np.uint8)
    surface.export(tmp_path / "part.ply")
    mesh = read_mesh(tmp_path / "part.ply", "mm")
    for corner in range(3):
        np.testing.assert_array_equal(
            mesh.colours[mesh.faces[:, corner]], surface.visual.face_colors[:, :3]
        )


def test_texture_coordinates_of_ply_faces_divide_vertices(tmp_path):
    PIL.Image.new("RGB", (4, 4), (9, 8, 7)).save(tmp_path / "skin.png")
    (tmp_path / "part.ply").write_text(
        "ply\nformat ascii 1.0\ncomment TextureFile skin.png\nelement vertex 4\n"
        "property float x\nproperty float y\nproperty float z\nelement face 2\n"
        "property list uchar int vertex_indices\nproperty list uchar float texcoord\nend_header\n"
        "0 0 0\n90 0 0\n90 90 0\n0 90 0\n"
        "3 0 1 2 6 0 0 1 0 1 1\n3 0 2 3 6 0.5 0 0.5 0.5 0 0.5\n"
    )
    mesh = read_mesh(tmp_path / "part.ply", "mm")
    expected = [[[0, 0], [1, 0], [1, 1]], [[0.5, 0], [0.5, 0.5], [0, 0.5]]]
    np.testing.assert_allclose(mesh.uv[mesh.faces], expected)
    np.testing.assert_allclose(mesh.triangles[:, :, 2], 0)
    assert mesh.texture.shape == (4, 4, 3)
