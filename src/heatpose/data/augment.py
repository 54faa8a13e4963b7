"""What lens, sensor and file do to a picture, and what may cover it.

Every function takes the generator first and returns a new uint8 image (h, w, 3), RGB; `cut_out`
also says where. None moves anything, so labels stay true.
"""

import cv2
import numpy as np

from heatpose.data.backgrounds import Backgrounds
from heatpose.geometry.arrays import Array, Image, Mask


def degrade(rng: np.random.Generator, image: Image, harsh: float = 0.0) -> Image:
    """Apply what happens on the way from scene to file, in its order, each part by chance.

    Args:
        rng: random numbers.
        image: to degrade.
        harsh: share of images that also get light, colours and edges that renderings never have.
    """
    exaggerated = harsh > 0 and rng.random() < harsh
    if exaggerated:
        image = change_light(rng, image)
    image = blur(rng, image)
    if exaggerated:
        image = sharpen(rng, image)
        image = exaggerate_colour(rng, image)
    image = change_colour(rng, image)
    image = add_noise(rng, image)
    return compress(rng, image)


def blur(rng: np.random.Generator, image: Image) -> Image:
    """Defocus (always a little: no lens is perfect) and, now and then, motion."""
    sigma = rng.uniform(0.3, 0.7) if rng.random() < 0.6 else rng.uniform(0.6, 1.4)
    image = np.asarray(cv2.GaussianBlur(image, (0, 0), float(sigma)))
    if rng.random() < 0.15:
        length = int(rng.integers(2, 5))
        kernel = np.zeros((2 * length + 1, 2 * length + 1), np.float32)
        angle = rng.uniform(0, np.pi)
        reach = np.array([np.cos(angle), np.sin(angle)]) * length / 2
        start, stop = np.round(length - reach).astype(int), np.round(length + reach).astype(int)
        cv2.line(kernel, tuple(start.tolist()), tuple(stop.tolist()), 1.0)
        image = np.asarray(cv2.filter2D(image, -1, kernel / kernel.sum()))
    return image


def change_colour(rng: np.random.Generator, image: Image) -> Image:
    """Change exposure, contrast, white balance, saturation, hue and gamma."""
    colours = image.astype(np.float32) / 255
    colours *= rng.uniform(0.7, 1.4) * rng.uniform(0.88, 1.12, 3)
    grey = colours.mean(axis=2, keepdims=True)
    colours = grey + (colours - grey) * rng.uniform(0.4, 1.5)
    middle = colours.mean()
    colours = middle + (colours - middle) * rng.uniform(0.6, 1.4) + rng.uniform(-0.08, 0.08)
    colours = np.clip(colours, 0, 1) ** rng.uniform(0.75, 1.3)
    changed = (colours * 255).astype(np.uint8)
    if rng.random() < 0.5:
        hsv = cv2.cvtColor(changed, cv2.COLOR_RGB2HSV)
        turned = hsv[..., 0].astype(np.int16) + int(rng.integers(-9, 10))
        hsv[..., 0] = turned % 180
        changed = cv2.cvtColor(hsv, cv2.COLOR_HSV2RGB)
    return np.asarray(changed, np.uint8)


def change_light(rng: np.random.Generator, image: Image) -> Image:
    """Let light fall off across the picture, and now and then a shadow with soft edges on it."""
    height, width = image.shape[:2]
    gain = np.ones((height, width), np.float32)
    if rng.random() < 0.6:
        coarse = rng.uniform(0.45, 1.6, (int(rng.integers(2, 5)), int(rng.integers(2, 5))))
        smooth = cv2.resize(
            coarse.astype(np.float32), (width, height), interpolation=cv2.INTER_CUBIC
        )
        gain *= np.clip(smooth, 0.3, 2.0)
    if rng.random() < 0.4:
        shadow = np.zeros((height, width), np.float32)
        centre = rng.uniform(0, 1, 2) * [width, height]
        outline = random_outline(rng, centre, rng.uniform(0.15, 0.8, 2) * min(height, width))
        cv2.fillPoly(shadow, [outline.astype(np.int32)], (1.0,))
        soft = cv2.GaussianBlur(shadow, (0, 0), float(rng.uniform(0.5, 6)))
        gain *= 1 - rng.uniform(0.2, 0.7) * soft
    return np.asarray(np.clip(image * gain[..., None], 0, 255), np.uint8)


def sharpen(rng: np.random.Generator, image: Image) -> Image:
    """Sharpen as cameras do inside, up to far too much."""
    if rng.random() < 0.4:
        return image
    smooth = cv2.GaussianBlur(image, (0, 0), float(rng.uniform(0.7, 2.0))).astype(np.float32)
    amount = rng.uniform(0.3, 1.5) if rng.random() < 0.7 else rng.uniform(1.5, 5)
    return np.asarray(np.clip(image + amount * (image - smooth), 0, 255), np.uint8)


def exaggerate_colour(rng: np.random.Generator, image: Image) -> Image:
    """Change contrast, brightness, saturation and each channel far beyond what cameras do.

    In the manner of CosyPose (Labbe et al., ECCV 2020), which does so to its training images.
    """
    colours = image.astype(np.float32) / 255
    if rng.random() < 0.6:
        grey = colours.mean(axis=2, keepdims=True)
        colours = grey + (colours - grey) * rng.uniform(0, 3)
    if rng.random() < 0.3:
        middle = colours.mean()
        colours = middle + (colours - middle) * np.exp(rng.uniform(np.log(0.25), np.log(4)))
    if rng.random() < 0.4:
        colours = colours * np.exp(rng.uniform(np.log(0.3), np.log(3)))
    if rng.random() < 0.4:
        colours = colours * rng.uniform(0.6, 1.4, 3) + rng.uniform(-0.1, 0.1, 3)
    return np.asarray(np.clip(colours, 0, 1) * 255, np.uint8)


def add_noise(rng: np.random.Generator, image: Image) -> Image:
    """Add sensor noise, partly the same in all channels."""
    if rng.random() < 0.2:
        return image
    strength = rng.uniform(1, 10)
    noise = rng.standard_normal(image.shape, np.float32) * strength
    if rng.random() < 0.5:
        noise = 0.5 * noise + rng.standard_normal((*image.shape[:2], 1), np.float32) * strength
    return np.asarray(np.clip(image + noise, 0, 255), np.uint8)


def compress(rng: np.random.Generator, image: Image) -> Image:
    """Write and read the image as JPEG, half of the time."""
    if rng.random() < 0.5:
        return image
    quality = int(rng.integers(40, 96))
    _, code = cv2.imencode(".jpg", image[..., ::-1], [cv2.IMWRITE_JPEG_QUALITY, quality])
    decoded = np.asarray(cv2.imdecode(code, cv2.IMREAD_COLOR), np.uint8)
    return np.ascontiguousarray(decoded[..., ::-1])


def cut_out(rng: np.random.Generator, image: Image, backgrounds: Backgrounds) -> tuple[Image, Mask]:
    """Cover parts of the image, at most about a third, with pieces of background.

    Returns:
        The image, and where it is covered, (h, w).
    """
    height, width = image.shape[:2]
    covered, where = image.copy(), np.zeros((height, width), bool)
    for _ in range(rng.integers(1, 4)):
        mask = np.zeros((height, width), np.uint8)
        centre = rng.uniform(0.1, 0.9, 2) * [width, height]
        radii = rng.uniform(0.04, 0.2, 2) * min(height, width)
        cv2.fillPoly(mask, [random_outline(rng, centre, radii).astype(np.int32)], (1,))
        piece = backgrounds.draw(rng, height, width)
        covered[mask > 0] = piece[mask > 0]
        where |= mask > 0
    return covered, where


def random_outline(rng: np.random.Generator, centre: Array, radii: Array) -> Array:
    """Draw three to seven corners (n, 2), px, of a polygon on an ellipse."""
    angles = np.sort(rng.uniform(0, 2 * np.pi, rng.integers(3, 8)))
    outline: Array = centre + radii * np.stack([np.cos(angles), np.sin(angles)], axis=1)
    return outline
