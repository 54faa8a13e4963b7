import numpy as np
import PIL.Image

from heatpose.objects.textures import missing_textures, pack_textures


def test_every_file_that_cannot_be_read_is_told(tmp_path):
    PIL.Image.new("RGB", (4, 4)).save(tmp_path / "good.png")
    (tmp_path / "broken.png").write_bytes((tmp_path / "good.png").read_bytes()[:30])
    (tmp_path / "part.mtl").write_text(
        "newmtl a\nmap_Kd good.png\nnewmtl b\n  map_kd broken.png\nnewmtl c\nmap_Kd gone.png\n"
    )
    (tmp_path / "part.obj").write_text("mtllib part.mtl\nv 0 0 0\n")
    problems = missing_textures(tmp_path / "part.obj")
    assert len(problems) == 2
    assert "broken.png cannot be read" in problems[0]
    assert problems[1].endswith("gone.png is missing")


def test_the_texture_of_a_ply_is_named_in_a_comment(tmp_path):
    path = tmp_path / "part.ply"
    path.write_bytes(
        b"ply\nformat ascii 1.0\ncomment TextureFile my skin.png\nend_header\n\xff\xfe"
    )
    assert missing_textures(path) == [f"{tmp_path / 'my skin.png'} is missing"]
    assert missing_textures(tmp_path / "part.stl") == []


def test_equal_pictures_are_stored_once(rng):
    picture = rng.integers(0, 255, (4, 8, 3), np.uint8)
    uvs = [rng.random((3, 2)), rng.random((5, 2))]
    common, uv = pack_textures([picture, picture.copy()], uvs)
    np.testing.assert_array_equal(common, picture)
    np.testing.assert_allclose(uv, np.concatenate(uvs))


def test_a_picture_repeated_very_often_is_not_written_out(rng):
    picture, other = rng.integers(0, 255, (2, 4, 8, 3), np.uint8)
    uvs = [np.array([[0.0, 0.0], [99.25, 80.5]]), rng.random((3, 2))]
    common, uv = pack_textures([picture, other], uvs)
    assert common.shape == (8, 8, 3)
    np.testing.assert_allclose(uv[1], [0.25, 0.5 + 0.5 / 2])  # in the upper half
