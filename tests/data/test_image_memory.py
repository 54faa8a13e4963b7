import logging

import numpy as np
import pytest

from heatpose.data.image_memory import ImageMemory
from heatpose.data.images import read_image, write_image
from heatpose.errors import DataError


@pytest.fixture
def paths(tmp_path):
    """Ten pictures of 60 x 40 px, smooth as photographs are, the last three as JPEG."""
    y, x = np.mgrid[:40, :60]
    paths = [tmp_path / f"{i:06d}.{'png' if i < 7 else 'jpg'}" for i in range(10)]
    for number, path in enumerate(paths):
        write_image(path, np.stack([4 * x, 6 * y, np.full_like(x, 20 * number)], -1).astype("u1"))
    return paths


@pytest.mark.parametrize(
    ("limit", "differ"),
    [(1e6, 0), (20_000, 6), (3000, 6), (0, 0)],
    ids=["decoded", "as JPEG", "some as JPEG", "from the disk"],
)
def test_images_are_the_same_wherever_they_are_kept(paths, limit, differ):
    images = ImageMemory(paths, limit)
    assert len(images) == 10
    for number, path in enumerate(paths):
        wrong = images[number].astype(int) - read_image(path)
        assert images[number].shape == (40, 60, 3) and np.abs(wrong).max() <= differ


def test_decoded_images_are_not_read_again(paths):
    images = ImageMemory(paths, 1e6)
    assert images[3] is images[3]


def test_it_says_how_many_images_do_not_fit(paths, caplog):
    with caplog.at_level(logging.WARNING):
        ImageMemory(paths, 100)
    assert "0 of 10 images fit into 0.0 GB of memory" in caplog.text


@pytest.mark.parametrize("limit", [1e6, 20_000])
def test_a_damaged_image_is_found_when_images_are_read(paths, limit):
    for path in (paths[2], paths[8]):
        whole = path.read_bytes()
        path.write_bytes(whole[: len(whole) // 2])
        with pytest.raises(DataError, match=path.name):
            ImageMemory(paths, limit)
        path.write_bytes(whole)
