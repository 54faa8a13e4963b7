"""What writing pictures as JPEG and reading them again does to them, for whole batches in torch."""

import math
from functools import cache

import torch
from torch import Tensor
from torch.nn import functional

# ITU-T T.81 (JPEG), tables K.1 and K.2: steps of the coefficients at quality 50.
LUMINANCE_STEPS = (
    (16, 11, 10, 16, 24, 40, 51, 61),
    (12, 12, 14, 19, 26, 58, 60, 55),
    (14, 13, 16, 24, 40, 57, 69, 56),
    (14, 17, 22, 29, 51, 87, 80, 62),
    (18, 22, 37, 56, 68, 109, 103, 77),
    (24, 35, 55, 64, 81, 104, 113, 92),
    (49, 64, 78, 87, 103, 121, 120, 101),
    (72, 92, 95, 98, 112, 100, 103, 99),
)
CHROMINANCE_STEPS = (
    (17, 18, 24, 47, 99, 99, 99, 99),
    (18, 21, 26, 66, 99, 99, 99, 99),
    (24, 26, 56, 99, 99, 99, 99, 99),
    (47, 66, 99, 99, 99, 99, 99, 99),
    *((99,) * 8,) * 4,
)


def jpeg(images: Tensor, quality: Tensor) -> Tensor:
    """Write each picture as JPEG and read it again, as libjpeg does with colours at half size.

    Args:
        images: (b, 3, h, w), in [0, 1].
        quality: (b,), 1 to 100, of libjpeg.
    """
    height, width = images.shape[2:]
    from_rgb, to_rgb = colour_matrices(images.device)
    luminance, chrominance = quantisation_steps(quality)
    padded = functional.pad(images, (0, -width % 16, 0, -height % 16), mode="replicate")
    planes = torch.einsum("oc,bchw->bohw", 255 * from_rgb, padded)
    bright = round_coefficients(planes[:, :1] - 128, luminance)  # zero is mid-grey
    colour = round_coefficients(functional.avg_pool2d(planes[:, 1:], 2), chrominance)
    colour = functional.interpolate(colour, scale_factor=2.0, mode="bilinear")
    planes = torch.cat([bright + 128, colour], dim=1)[:, :, :height, :width]
    return torch.einsum("oc,bchw->bohw", to_rgb / 255, planes).clamp_(0, 1)


def round_coefficients(planes: Tensor, steps: Tensor) -> Tensor:
    """Round the cosine transform of each block of 8 x 8 px.

    Args:
        planes: (b, c, h, w), h and w multiples of 8.
        steps: of each picture's coefficients, (b, 64).
    """
    b, channels, height, width = planes.shape
    transform = cosine_transform(planes.device)
    blocks = functional.pixel_unshuffle(planes, 8).view(b, channels, 64, -1)
    steps = steps[:, None, :, None]
    blocks = transform.T @ (torch.round(transform @ blocks / steps) * steps)
    return functional.pixel_shuffle(blocks.view(b, channels * 64, height // 8, width // 8), 8)


def quantisation_steps(quality: Tensor) -> tuple[Tensor, Tensor]:
    """Return luminance's and chrominance's steps, (b, 64) each, as libjpeg scales them.

    The formulas are those of ``jpeg_quality_scaling`` and ``jpeg_add_quant_table``.
    """
    percent = torch.where(quality < 50, torch.floor(5000 / quality), 200 - 2 * quality)
    luminance, chrominance = (
        torch.floor((table * percent[:, None] + 50) / 100).clamp(1, 255)
        for table in standard_steps(quality.device)
    )
    return luminance, chrominance


# Made once for each device: to send numbers there is to wait for it.
@cache
def standard_steps(device: torch.device) -> tuple[Tensor, Tensor]:
    """Return the steps at quality 50 of luminance and chrominance, (64,) each."""
    tables = (LUMINANCE_STEPS, CHROMINANCE_STEPS)
    luminance, chrominance = (
        torch.tensor(table, dtype=torch.float32, device=device).flatten() for table in tables
    )
    return luminance, chrominance


@cache
def colour_matrices(device: torch.device) -> tuple[Tensor, Tensor]:
    """Return the matrix from RGB to YCbCr, chroma zero for grey, and its inverse (JFIF)."""
    red, green, blue = 0.299, 0.587, 0.114
    ycbcr_from_rgb = torch.tensor(
        [
            [red, green, blue],
            [-red / (2 - 2 * blue), -green / (2 - 2 * blue), 0.5],
            [0.5, -green / (2 - 2 * red), -blue / (2 - 2 * red)],
        ],
        dtype=torch.float64,
    )
    rgb_from_ycbcr = torch.linalg.inv(ycbcr_from_rgb)
    return ycbcr_from_rgb.float().to(device), rgb_from_ycbcr.float().to(device)


@cache
def cosine_transform(device: torch.device) -> Tensor:
    """Return the orthogonal matrix (64, 64) from the pixels of a block to its coefficients."""
    number = torch.arange(8, dtype=torch.float64)
    one_way = torch.cos((2 * number + 1) * number[:, None] * math.pi / 16) / 2
    one_way[0] /= math.sqrt(2)
    return torch.kron(one_way, one_way).float().to(device)
