import numpy as np
import pytest

from heatpose.objects.off import read_off

VERTICES = "0 0 0\n90 0 0\n90 90 0\n0 90 0\n"


def written(tmp_path, text):
    path = tmp_path / "part.off"
    path.write_text(text)
    return path


def test_polygons_become_fans_and_comments_are_passed_over(tmp_path):
    file = read_off(
        written(tmp_path, "OFF # a square\n# sizes\n4 1 0\n" + VERTICES + "4 0 1 2 3\n")
    )
    np.testing.assert_array_equal(file.faces, [[0, 1, 2], [0, 2, 3]])
    np.testing.assert_array_equal(file.vertices[2], [90, 90, 0])
    assert file.vertex_colours is None and file.face_colours is None


def test_counts_may_stand_beside_the_first_word(tmp_path):
    assert len(read_off(written(tmp_path, "OFF 4 1 0\n" + VERTICES + "3 0 1 2\n")).faces) == 1


@pytest.mark.parametrize("colours", [["255 51 0 255", "0 255 0 255"], ["1.0 0.2 0", "0.0 1.0 0"]])
def test_colours_of_vertices_and_faces(tmp_path, colours):
    one, two = colours
    coff = f"COFF\n3 1 0\n0 0 0 {one}\n9 0 0 {two}\n0 9 0 {one}\n3 0 1 2\n"
    file = read_off(written(tmp_path, coff))
    expected = [[255, 51, 0], [0, 255, 0], [255, 51, 0]]
    np.testing.assert_array_equal(file.vertex_colours, expected)

    file = read_off(written(tmp_path, f"OFF\n4 2 0\n{VERTICES}4 0 1 2 3 {one}\n3 0 1 2 {two}\n"))
    expected = [[255, 51, 0], [255, 51, 0], [0, 255, 0]]  # the square is two triangles
    np.testing.assert_array_equal(file.face_colours, expected)


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("", "does not begin with OFF or COFF"),
        ("NOFF\n1 1 0\n", "does not begin with OFF or COFF"),
        ("OFF\n", "lacks the numbers"),
        ("OFF\n4 2 0\n" + VERTICES + "3 0 1 2\n", "breaks off before the last of 2 faces"),
        ("OFF\n4 1 0\n" + VERTICES + "4 0 1 2\n", "a face of 4 corners has 3"),
    ],
)
def test_broken_files_are_refused(tmp_path, text, message):
    with pytest.raises(ValueError, match=message):
        read_off(written(tmp_path, text))
