"""What lens, sensor and file do to pictures, for whole batches in torch, on the device they are on.

The same changes as in `augment`, with the same chances and ranges. Pictures are float32
(b, 3, h, w) in [0, 1], RGB, and stay so. Every function takes the generator first, which lives on
the pictures' device; none moves anything, so labels stay true.

Nothing here waits for the device: what happens to which picture is drawn as one number for each,
(b, 1, 1, 1), and how many pictures undergo what costs most is known before they are chosen.
"""

import math
from collections.abc import Callable

import torch
from torch import Generator, Tensor
from torch.nn import functional

from heatpose.data.batch_jpeg import jpeg

LENS_REACH = 5  # px, half the width of a kernel: three times the largest sigma, 1.4
SHARPEN_REACH = 6  # px, for sigmas up to 2
EXTRA_REACH = 9  # px, where blur is added: for variances up to 9 px^2 in all
MOTION_REACH = 2  # px, half of the longest motion
ROUNDINGS = 1009  # places between whole numbers at which seeds round a number of pictures


def degrade(
    generator: Generator, images: Tensor, harsh: float = 0.0, extra_blur: Tensor | None = None
) -> Tensor:
    """Apply what happens on the way from scene to file, in its order, each part by chance.

    Args:
        generator: random numbers.
        images: to degrade, (b, 3, h, w).
        harsh: share of images that also get light, colours and edges that renderings never have.
        extra_blur: variance to add to each image's blur, (b,), px^2, at most 7: for images that
            will be shrunk.
    """
    exaggerated = some(generator, harsh, len(images))
    images = changed(images, exaggerated, lambda those: change_light(generator, those))
    images = blur(generator, images, extra_blur)
    images = changed(
        images,
        exaggerated,
        lambda those: exaggerate_colour(generator, sharpen(generator, those)),
    )
    images = change_colour(generator, images)
    images = add_noise(generator, images)
    return compress(generator, images)


def blur(generator: Generator, images: Tensor, extra_blur: Tensor | None = None) -> Tensor:
    """Defocus (always a little: no lens is perfect) and, now and then, motion.

    Args:
        generator: random numbers.
        images: (b, 3, h, w).
        extra_blur: variance to add to the defocus of each, (b,), px^2, at most 7.
    """
    b = len(images)
    slight, strong = uniform(generator, 0.3, 0.7, b), uniform(generator, 0.6, 1.4, b)
    variance = torch.where(chance(generator, 0.6, b), slight, strong).flatten() ** 2
    if extra_blur is None:
        images = gaussian_blur(images, variance, LENS_REACH)
    else:
        images = gaussian_blur(images, variance + extra_blur, EXTRA_REACH)
    return convolve(images, motion_kernels(generator, b))


def motion_kernels(generator: Generator, b: int) -> Tensor:
    """Draw kernels (b, 5, 5) of motion over 2 to 4 px; most are of none at all."""
    length = torch.randint(2, 5, (b, 1), generator=generator, device=generator.device)
    length = length * chance(generator, 0.15, b).view(b, 1)
    angle = uniform(generator, 0, math.pi, b).view(b, 1)
    along = torch.linspace(-0.5, 0.5, 2 * MOTION_REACH + 1, device=generator.device) * length
    taps = torch.arange(-MOTION_REACH, MOTION_REACH + 1, device=generator.device)[:, None, None]
    # Each place on the way counts for the pixels next to it as in bilinear interpolation.
    across = (1 - (taps - along * torch.cos(angle)).abs()).clamp(min=0)  # (5, b, places)
    down = (1 - (taps - along * torch.sin(angle)).abs()).clamp(min=0)
    return torch.einsum("ybp,xbp->byx", down, across) / along.shape[1]


def change_colour(generator: Generator, images: Tensor) -> Tensor:
    """Change exposure, contrast, white balance, saturation, hue and gamma."""
    b = len(images)
    balance = uniform(generator, 0.88, 1.12, b, channels=3)
    images = images * (uniform(generator, 0.7, 1.4, b) * balance)
    images = change_saturation(images, uniform(generator, 0.4, 1.5, b))
    images = change_contrast(images, uniform(generator, 0.6, 1.4, b))
    images = (images + uniform(generator, -0.08, 0.08, b)).clamp_(0, 1)
    images = torch.pow(images, uniform(generator, 0.75, 1.3, b))
    turned = some(generator, 0.5, b)
    turn = torch.deg2rad(uniform(generator, -18, 18, len(turned)))
    return changed(images, turned, lambda those: turn_hue(those, turn))


def change_light(generator: Generator, images: Tensor) -> Tensor:
    """Let light fall off across the picture, and now and then a shadow with soft edges on it."""
    b, _, height, width = images.shape
    fields = torch.stack(
        [
            functional.interpolate(
                uniform(generator, 0.45, 1.6, b * n * n).view(b, 1, n, n),
                size=(height, width),
                mode="bicubic",
            )
            for n in (2, 3, 4)
        ]
    )
    which = torch.randint(3, (b,), generator=generator, device=images.device)
    smooth = fields[which, torch.arange(b, device=images.device)].clamp(0.3, 2.0)  # (b, 1, h, w)
    gain = torch.where(chance(generator, 0.6, b), smooth, 1.0)

    centre = uniform(generator, 0, 1, b, channels=2)
    distance = polygon_distance(generator, centre, (0.15, 0.8), height, width)
    # A straight edge that a Gaussian has blurred is the normal distribution function.
    soft: Tensor = torch.special.ndtr(-distance[:, None] / uniform(generator, 0.5, 6, b))
    darkness = uniform(generator, 0.2, 0.7, b) * chance(generator, 0.4, b)
    return (images * gain * (1 - darkness * soft)).clamp(0, 1)


def sharpen(generator: Generator, images: Tensor) -> Tensor:
    """Sharpen as cameras do inside, up to far too much."""
    b = len(images)
    sigma = uniform(generator, 0.7, 2.0, b).flatten()
    moderate, strong = uniform(generator, 0.3, 1.5, b), uniform(generator, 1.5, 5, b)
    amount = torch.where(chance(generator, 0.7, b), moderate, strong) * chance(generator, 0.6, b)
    smooth = gaussian_blur(images, sigma**2, SHARPEN_REACH)
    return torch.lerp(smooth, images, 1 + amount).clamp_(0, 1)


def exaggerate_colour(generator: Generator, images: Tensor) -> Tensor:
    """Change contrast, brightness, saturation and each channel far beyond what cameras do.

    In the manner of CosyPose (Labbe et al., ECCV 2020), which does so to its training images.
    """
    b = len(images)
    saturation = uniform(generator, 0, 3, b)
    contrast = uniform(generator, math.log(0.25), math.log(4), b).exp()
    brightness = uniform(generator, math.log(0.3), math.log(3), b).exp()
    balance = uniform(generator, 0.6, 1.4, b, channels=3)
    shift = uniform(generator, -0.1, 0.1, b, channels=3)
    unbalanced = chance(generator, 0.4, b)
    images = change_saturation(images, torch.where(chance(generator, 0.6, b), saturation, 1.0))
    images = change_contrast(images, torch.where(chance(generator, 0.3, b), contrast, 1.0))
    images = images * torch.where(chance(generator, 0.4, b), brightness, 1.0)
    return (images * torch.where(unbalanced, balance, 1.0) + shift * unbalanced).clamp(0, 1)


def add_noise(generator: Generator, images: Tensor) -> Tensor:
    """Add sensor noise, partly the same in all channels."""
    b, _, height, width = images.shape
    device = generator.device
    strength = uniform(generator, 1, 10, b) / 255 * chance(generator, 0.8, b)
    alike = chance(generator, 0.5, b)
    own = torch.randn(images.shape, generator=generator, device=device)
    common = torch.randn((b, 1, height, width), generator=generator, device=device)
    images = images.addcmul(own, strength * torch.where(alike, 0.5, 1.0))
    return images.addcmul_(common, strength * alike).clamp_(0, 1)


def compress(generator: Generator, images: Tensor) -> Tensor:
    """Write and read the images as JPEG, half of them."""
    those = some(generator, 0.5, len(images))
    quality = torch.randint(40, 96, (len(those),), generator=generator, device=images.device)
    return changed(images, those, lambda written: jpeg(written, quality))


def cut_out(
    generator: Generator, crops: Tensor, pieces: Callable[[int], Tensor], share: float
) -> tuple[Tensor, Tensor]:
    """Cover parts of some crops, at most about a third, with pieces of other pictures.

    Args:
        generator: random numbers.
        crops: (b, 3, h, w).
        pieces: draws what covers b of them, (b, 3, h, w).
        share: of crops that are covered at all.

    Returns:
        The crops, and where they are covered, (b, h, w).
    """
    height, width = crops.shape[2:]
    those = some(generator, share, len(crops))
    b = len(those)
    covered = torch.zeros((len(crops), height, width), dtype=torch.bool, device=crops.device)
    if b == 0:
        return crops, covered
    count = torch.randint(1, 4, (b, 1, 1), generator=generator, device=crops.device)
    own = torch.zeros((b, height, width), dtype=torch.bool, device=crops.device)
    for number in range(3):
        centre = uniform(generator, 0.1, 0.9, b, channels=2)
        distance = polygon_distance(generator, centre, (0.04, 0.2), height, width)
        own |= (distance <= 0) & (number < count)
    cover = pieces(b)
    crops = changed(crops, those, lambda few: torch.where(own[:, None], cover, few))
    return crops, covered.index_copy(0, those, own)


def some(generator: Generator, share: float, b: int) -> Tensor:
    """Draw which rows are a share of all b, in any order.

    How many is known without waiting for the device: the share, rounded up or down by the seed of
    the generator, so that over many seeds it is what was asked for.
    """
    up = generator.initial_seed() % ROUNDINGS / ROUNDINGS
    drawn = torch.rand(b, generator=generator, device=generator.device)
    return drawn.argsort()[: int(share * b + up)]


def changed(images: Tensor, rows: Tensor, change: Callable[[Tensor], Tensor]) -> Tensor:
    """Return pictures of which those in some rows are changed."""
    return images.index_copy(0, rows, change(images[rows])) if len(rows) > 0 else images


def uniform(generator: Generator, low: float, high: float, b: int, channels: int = 1) -> Tensor:
    """Draw numbers between low and high, (b, channels, 1, 1)."""
    drawn = torch.rand((b, channels, 1, 1), generator=generator, device=generator.device)
    return low + (high - low) * drawn


def chance(generator: Generator, share: float, b: int) -> Tensor:
    """Draw which pictures are among a share of all, (b, 1, 1, 1), bool."""
    return uniform(generator, 0, 1, b) < share


def polygon_distance(
    generator: Generator, centre: Tensor, radii: tuple[float, float], height: int, width: int
) -> Tensor:
    """Draw convex polygons with three to seven corners on ellipses.

    Args:
        generator: random numbers.
        centre: of the ellipses, x and y, (b, 2, 1, 1), as shares of width and height.
        radii: smallest and largest radius, as shares of the shorter side.
        height: of the pictures, px.
        width: of the pictures, px.

    Returns:
        How far each pixel is outside of the side that it is farthest outside of, (b, h, w), px;
        zero and less inside.
    """
    b, device = len(centre), generator.device
    radius = uniform(generator, *radii, b, channels=2) * min(height, width)
    x = torch.arange(width, device=device) - centre[:, 0] * width  # (b, 1, w)
    y = torch.arange(height, device=device)[:, None] - centre[:, 1] * height  # (b, h, 1)

    angles = uniform(generator, 0, 2 * math.pi, b, channels=7).view(b, 7)
    corners = torch.randint(3, 8, (b, 1), generator=generator, device=device)
    # Corners too many fall on the first; the side between two that are one is a tangent.
    angles = torch.where(torch.arange(7, device=device) < corners, angles, angles[:, :1])
    start = angles.sort(dim=1).values
    stop = torch.cat([start[:, 1:], start[:, :1] + 2 * math.pi], dim=1)
    # On the unit circle, the side from a to b looks towards (a + b) / 2, cos((b - a) / 2) away.
    towards, away = (start + stop) / 2, torch.cos((stop - start) / 2)
    normal_x = torch.cos(towards) / radius[:, 0, 0]  # (b, 7)
    normal_y = torch.sin(towards) / radius[:, 1, 0]
    length = torch.hypot(normal_x, normal_y)
    sides = torch.stack([normal_x / length, normal_y / length, away / length])[..., None, None]
    distance = torch.full((b, height, width), -math.inf, device=device)
    for along_x, along_y, offset in sides.unbind(2):  # (b, 1, 1) each
        distance = torch.maximum(distance, along_x * x + (along_y * y - offset))
    return distance


def gaussian_blur(images: Tensor, variance: Tensor, reach: int) -> Tensor:
    """Blur each picture with its own Gaussian.

    Args:
        images: (b, 3, h, w).
        variance: (b,), px^2.
        reach: where the Gaussians are cut off, px; the same for all, as it must be known before.
    """
    places = torch.arange(-reach, reach + 1, device=images.device)
    weights = torch.exp(-(places**2) / (2 * variance[:, None]))
    weights = weights / weights.sum(dim=1, keepdim=True)
    return convolve(convolve(images, weights[:, None, :]), weights[:, :, None])


def convolve(images: Tensor, kernels: Tensor) -> Tensor:
    """Convolve each picture (b, 3, h, w) with its own symmetric kernel, (b, rows, cols)."""
    b, channels, height, width = images.shape
    rows, cols = kernels.shape[1] // 2, kernels.shape[2] // 2
    padded = functional.pad(images, (cols, cols, rows, rows), mode="replicate")
    result = functional.conv2d(
        padded.reshape(1, b * channels, height + 2 * rows, width + 2 * cols),
        kernels.repeat_interleave(channels, dim=0)[:, None],
        groups=b * channels,
    )
    return result.view(b, channels, height, width)


def change_saturation(images: Tensor, factor: Tensor) -> Tensor:
    """Scale how far colours are from grey. Leaves [0, 1]."""
    return torch.lerp(images.mean(dim=1, keepdim=True), images, factor)


def change_contrast(images: Tensor, factor: Tensor) -> Tensor:
    """Scale how far all values are from their mean in the picture. Leaves [0, 1]."""
    return torch.lerp(images.mean(dim=(1, 2, 3), keepdim=True), images, factor)


def turn_hue(images: Tensor, turn: Tensor) -> Tensor:
    """Turn the hue of each picture as HSV has it, so that largest and smallest channel remain.

    Args:
        images: (b, 3, h, w), in [0, 1].
        turn: (b, 1, 1, 1), radians; red turns to yellow first.
    """
    red, green, blue = images[:, :1], images[:, 1:2], images[:, 2:]
    value = images.amax(dim=1, keepdim=True)
    chroma = value - images.amin(dim=1, keepdim=True)
    scale = 1 / chroma.clamp(min=1e-6)
    hue = torch.where(  # sixths of the circle, from red
        value == red,
        (green - blue) * scale,
        torch.where(value == green, 2 + (blue - red) * scale, 4 + (red - green) * scale),
    )
    hue = hue + turn * (3 / math.pi)
    # A channel is at its least for two sixths, on half the circle from where it is largest.
    away = torch.cat([(hue + 5) % 6, (hue + 3) % 6, (hue + 1) % 6], dim=1)
    return value - chroma * torch.minimum(away, 4 - away).clamp(0, 1)
