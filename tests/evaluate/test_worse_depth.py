import cv2
import numpy as np
import pytest

from heatpose.data.bop import BopDataset
from heatpose.data.bop_files import FrameCamera, write_scene_camera
from heatpose.errors import DataError
from heatpose.evaluate.worse_depth import (
    CONDITIONS,
    NO_DEPTH,
    TRUE_DEPTH,
    Condition,
    coarser,
    depth_under,
    holey,
    noisy,
)

IDS = (4, 7)


@pytest.fixture
def dataset(tmp_path):
    """One depth image of a slope with a hole, and the same as one depth camera measures it."""
    scene = tmp_path / "test" / "000004"
    for kind, farther in (("depth", 0), ("depth_stereo_0.5", 100)):
        (scene / kind).mkdir(parents=True)
        stored = np.tile(np.arange(5000, 5640, 4, dtype=np.uint16), (120, 1)) + farther
        stored[:10] = 0
        assert cv2.imwrite(str(scene / kind / "000007.png"), stored.astype(np.uint16))
    write_scene_camera(scene / "scene_camera.json", {7: FrameCamera(np.eye(3), 0.1)})
    return BopDataset(tmp_path)


def test_the_truth_and_what_a_camera_measures_are_read(dataset):
    true = depth_under(dataset, IDS, TRUE_DEPTH)
    assert true[50, 0] == 500 and np.isnan(true[:10]).all()
    np.testing.assert_allclose(
        depth_under(dataset, IDS, Condition("stereo", 0.5)), true + 10, atol=1e-3
    )
    assert depth_under(dataset, IDS, NO_DEPTH) is None
    with pytest.raises(DataError, match="has no depth_stereo_4 of image 7"):
        depth_under(dataset, IDS, Condition("stereo", 4))


@pytest.mark.parametrize("way", ["noise", "holes", "resolution"])
def test_depth_is_bad_in_the_same_way_each_time_and_not_at_all_at_zero(dataset, way):
    worst = CONDITIONS[way][-1]
    first, second = (depth_under(dataset, IDS, worst) for _ in range(2))
    np.testing.assert_array_equal(first, second)
    true = depth_under(dataset, IDS, TRUE_DEPTH)
    assert not np.array_equal(first, true, equal_nan=True)
    np.testing.assert_array_equal(depth_under(dataset, IDS, Condition(way, 0)), true)


def test_noise_has_its_spread_and_holes_stay(rng):
    depth = np.full((120, 160), 800, np.float32)
    depth[:, :40] = np.nan
    found = noisy(rng, depth, 10)
    assert np.nanstd(found) == pytest.approx(10, rel=0.05)
    assert np.nanmean(found) == pytest.approx(800, abs=1)
    np.testing.assert_array_equal(np.isnan(found), np.isnan(depth))


@pytest.mark.parametrize("share", [0.3, 0.9])
def test_holes_have_their_share_and_the_rest_stays(rng, share):
    depth = np.full((120, 160), 800, np.float32)
    found = holey(rng, depth, share)
    assert np.isnan(found).mean() == pytest.approx(share, abs=0.01)
    assert (found[np.isfinite(found)] == 800).all()


@pytest.mark.parametrize("shape", [(120, 160), (123, 165)])
def test_a_lower_resolution_repeats_some_of_the_pixels(rng, shape):
    depth = rng.uniform(500, 900, shape).astype(np.float32)
    found = coarser(rng, depth, 3)  # one of four
    assert found.shape == shape
    assert np.isin(found, depth).all()
    assert len(np.unique(found)) == len(range(2, shape[0], 4)) * len(range(2, shape[1], 4))
    assert found[4, 8] == found[7, 11] == depth[6, 10]


def test_conditions_have_names_for_people():
    named = [one.name for group in CONDITIONS.values() for one in group]
    assert len(named) == len(set(named)) == 21
    for name in ("structured light 0.5", "noise of 30 mm", "90% holes", "1/8 of the resolution"):
        assert name in named
    assert (NO_DEPTH.name, TRUE_DEPTH.name) == ("no depth", "true depth")
    assert Condition("holes").name == "true depth"
