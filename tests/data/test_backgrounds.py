import numpy as np
import pytest

from heatpose.data.backgrounds import Backgrounds, generated_texture, random_part
from heatpose.data.images import write_image
from heatpose.errors import DataError


def test_photographs_are_used_where_there_are_any(tmp_path, rng):
    write_image(tmp_path / "green.png", np.full((90, 120, 3), [10, 200, 30], np.uint8))
    backgrounds = Backgrounds(tmp_path)
    drawn = [backgrounds.draw(rng, 40, 50) for _ in range(40)]
    assert all(one.shape == (40, 50, 3) and one.dtype == np.uint8 for one in drawn)
    green = [np.abs(one.astype(int) - [10, 200, 30]).max() <= 2 for one in drawn]
    assert 0.6 < np.mean(green) < 1.0  # the others are generated


def test_parts_of_a_photograph_keep_its_proportions(rng):
    # The ramp rises by 1 a column: its slope in the part tells the scale along x, and alike y.
    ramp = np.zeros((200, 200, 3), np.uint8)
    ramp[..., 0] = np.arange(200)
    ramp[..., 1] = np.arange(200)[:, None]
    for _ in range(10):
        part = random_part(rng, ramp, 64, 48).astype(float)
        along_x = abs(part[30, 40, 0] - part[30, 5, 0]) / 35
        along_y = (part[55, 20, 1] - part[5, 20, 1]) / 50
        assert along_x == pytest.approx(along_y, rel=0.15)


def test_generated_textures_vary_within_and_between(rng):
    textures = [generated_texture(rng, 48, 64) for _ in range(10)]
    assert all(one.shape == (48, 64, 3) and one.std() > 1 for one in textures)
    assert len({one.tobytes() for one in textures}) == 10


def test_a_folder_that_is_missing_or_empty_is_named(tmp_path):
    with pytest.raises(DataError, match=r"no folder of background photographs at .*nowhere"):
        Backgrounds(tmp_path / "nowhere")
    with pytest.raises(DataError, match=r"holds no \.jpg or \.png photographs"):
        Backgrounds(tmp_path)
