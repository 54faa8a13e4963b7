import cv2
import numpy as np
import pytest
import torch

from heatpose.data.batch_jpeg import jpeg, quantisation_steps


def picture(height, width, seed=0):
    """A uint8 picture (h, w, 3) with colours of several sizes and grain."""
    rng = np.random.default_rng(seed)
    large, small = (rng.normal(0, 40, (cells, cells, 3)) for cells in (4, 20))
    image = 120 + cv2.resize(large, (width, height), interpolation=cv2.INTER_CUBIC)
    image += cv2.resize(small, (width, height), interpolation=cv2.INTER_LINEAR)
    return np.uint8((image + rng.normal(0, 3, image.shape)).clip(0, 255))


def as_batch(images):
    return torch.from_numpy(np.stack(images)).permute(0, 3, 1, 2).float() / 255


@pytest.mark.parametrize("quality", [40, 49, 75, 95])
@pytest.mark.parametrize("size", [(64, 96), (61, 83)])
def test_pictures_are_what_opencv_writes_and_reads(quality, size):
    image = picture(*size)
    _, code = cv2.imencode(".jpg", image[..., ::-1], [cv2.IMWRITE_JPEG_QUALITY, quality])
    expected = cv2.imdecode(code, cv2.IMREAD_COLOR)[..., ::-1].astype(float)
    ours = jpeg(as_batch([image]), torch.tensor([quality]))[0].permute(1, 2, 0).numpy() * 255
    loss = np.abs(expected - image).mean()
    # Whole numbers inside libjpeg round some coefficients to the next step.
    assert np.abs(ours - expected).mean() < 1.5
    assert np.abs(ours - image).mean() == pytest.approx(loss, rel=0.015)
    assert (ours - expected).mean() == pytest.approx(0, abs=0.15)


def test_each_picture_has_its_own_quality():
    qualities = torch.arange(40, 96, 7)
    pictures = as_batch([picture(40, 56, seed) for seed in range(len(qualities))])
    together = jpeg(pictures, qualities)
    for number, quality in enumerate(qualities):
        alone = jpeg(pictures[number : number + 1], quality[None])[0]
        close = (together[number] - alone).abs() < 1e-3
        assert close.float().mean() > 0.99  # a sum in another order may round the other way


def test_steps_at_quality_50_are_those_of_the_standard():
    luminance, _ = quantisation_steps(torch.tensor([50, 25, 100]))
    # libjpeg: the table itself, twice as much, and all ones.
    assert luminance[:, 0].tolist() == [16, 32, 1]
    assert luminance[:, 63].tolist() == [99, 198, 1]
