import numpy as np
import pytest

from heatpose.draw.mesh_views import KEYPOINT, PAPER, SIDES, draw_mesh
from heatpose.objects.mesh import Mesh


def tiles(picture):
    halves = np.split(picture, 2)
    return dict(zip(SIDES, [t for half in halves for t in np.split(half, 2, axis=1)], strict=True))


def amount(tile, colour):
    """How many pixels are nearly of a colour."""
    return int((np.abs(tile.astype(int) - colour).sum(axis=2) < 60).sum())


def test_the_object_is_seen_from_each_side_on_paper(brick_mesh):
    picture = draw_mesh(brick_mesh, size=160)
    assert picture.shape == (320, 320, 3) and picture.dtype == np.uint8
    for tile in tiles(picture).values():
        assert (tile[-1] == PAPER).all() and (tile[:, 0] == PAPER).all()  # nothing is cut off
        assert 0.15 < (np.abs(tile.astype(int) - PAPER).sum(axis=2) > 60).mean() < 0.6


def share(tile, colour):
    """How much of a picture has the hue of a colour, in whatever light."""
    tile = tile.astype(float)
    unit = tile / np.maximum(np.linalg.norm(tile, axis=2, keepdims=True), 1)
    return float((unit @ colour / np.linalg.norm(colour) > 0.985).mean())


def test_each_side_shows_what_is_there(cube_mesh):
    """Of a cube whose sides have a hue each, a camera sees the sides that face it."""
    hues = np.array(
        [[0, 1, 1], [1, 0, 1], [1, 0.5, 0], [0.5, 0, 1], [0.3, 1, 0], [1, 1, 0]]  # -x +x -y +y ..
    )
    mesh = Mesh(
        cube_mesh.triangles.reshape(-1, 3),
        np.arange(36, dtype=np.int32).reshape(-1, 3),
        np.repeat(np.concatenate([[-axis, axis] for axis in np.eye(3)]), 6, axis=0),
        colours=np.uint8(np.repeat(hues, 6, axis=0) * 200),
    )
    seen = {
        name: {i for i, hue in enumerate(hues) if share(tile, hue) > 0.02}
        for name, tile in tiles(draw_mesh(mesh, size=200)).items()
    }
    assert list(seen.values()) == [{1, 2, 5}, {1, 3, 5}, {0, 3, 5}, {5}]


def test_keypoints_are_dots_where_seen_and_rings_where_hidden(brick_mesh):
    grey = Mesh(brick_mesh.vertices, brick_mesh.faces, brick_mesh.normals)
    top = np.array([[5.0, -8.0, 72.0]])
    bottom = np.array([[5.0, -8.0, -48.0]])
    plain, above, below = (
        amount(tiles(draw_mesh(grey, points, size=240))["top (from +z)"], KEYPOINT)
        for points in (None, top, bottom)
    )
    assert plain == 0
    assert above > 25  # a dot of 4 px radius has 50 px, of which the axes cover none
    assert 0 < below < above


@pytest.mark.parametrize("shift", [0.0, 200.0])
def test_axes_start_at_the_origin_even_outside_the_object(cube_mesh, shift):
    moved = Mesh(cube_mesh.vertices + [shift, 0, 0], cube_mesh.faces, cube_mesh.normals)
    top = tiles(draw_mesh(moved, size=240))["top (from +z)"].astype(int)
    red = (top[..., 0] - top[..., 1:].max(axis=2)) > 100
    rows, cols = np.nonzero(red)
    assert len(rows) > 20
    # The picture is centred between the origin and the far side of the box.
    middle = 119.5
    origin = cols.min()
    if shift:
        assert origin < middle - 60
    else:
        assert abs(origin - middle) < 8
    assert abs(np.median(rows) - middle) < 8
