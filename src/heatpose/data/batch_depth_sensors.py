"""What depth cameras make of the true depth of many pictures at once, in torch, on any device.

The same cameras as in `heatpose.render.depth_sensors`, which says where their numbers come from:
each picture is measured by one of them, and each has a strength of its own. Nothing here waits for
the device.
"""

import math

import torch
from torch import Generator, Tensor
from torch.nn import functional

from heatpose.data.batch_augment import gaussian_blur
from heatpose.data.batch_scenery import all_rays
from heatpose.render.depth_sensors import (
    BLOCK,
    GRAZING,
    KINDS,
    LIGHT_SPEED,
    MODULATION,
    DepthSensor,
    Kind,
)

AROUND = 15  # px, side of the surroundings that a corner is concave in
TEXTURE = 9  # px, side of what stereo looks for texture in
SMEARED = 3  # px that the light of a pixel reaches at most: for sigmas up to 0.8


def measure_depths(
    generator: Generator,
    depth: Tensor,
    normals: Tensor,
    scattered: Tensor,
    camera_matrix: Tensor,
    strength: Tensor,
) -> Tensor:
    """Return what depth cameras measure, (b, h, h), mm, NaN in their holes.

    Args:
        generator: draws which kind of camera measures a picture, and the noise.
        depth: the truth, (b, h, h), mm along z, NaN where nothing is.
        normals: of the surfaces, (b, h, h, 3), unit, camera frame, towards the camera.
        scattered: share of light that surfaces scatter, (b, h, h), in [0, 1].
        camera_matrix: ideal pinholes, (b, 3, 3), px.
        strength: as `DepthSensor` has it, (b,); 0 is a perfect camera.
    """
    b = len(depth)
    rays = functional.normalize(all_rays(camera_matrix, depth.shape[1]), dim=3)
    cosine = -(normals * rays).sum(dim=3)
    measured = torch.full_like(depth, torch.nan)
    order = torch.rand(b, generator=generator, device=depth.device).argsort()
    first = generator.initial_seed() % len(KINDS)  # the one that a few pictures have more often
    for i, rows in enumerate(order.chunk(len(KINDS))):
        seen = _Seen(
            KINDS[(first + i) % len(KINDS)],
            depth[rows],
            cosine[rows],
            scattered[rows],
            camera_matrix[rows, 0, 0].view(-1, 1, 1),
            strength[rows].view(-1, 1, 1),
        )
        measured[rows] = seen.measured(generator)
    return measured


class _Seen:
    """Pictures that one kind of camera looks at: maps (b, h, w), numbers (b, 1, 1)."""

    def __init__(
        self,
        kind: Kind,
        depth: Tensor,
        cosine: Tensor,
        scattered: Tensor,
        focal: Tensor,
        strength: Tensor,
    ) -> None:
        self.kind = kind
        self.depth, self.cosine, self.scattered = depth, cosine, scattered
        self.focal_baseline = focal * DepthSensor(kind).baseline  # px mm
        self.strength = strength

    def measured(self, generator: Generator) -> Tensor:
        """Return what is measured, mm, NaN in holes."""
        measured, holes = {
            "structured_light": self._structured_light,
            "stereo": self._stereo,
            "time_of_flight": self._time_of_flight,
        }[self.kind](generator)
        # Beyond some slant little light comes back; the limit varies by about 3 degrees.
        limit = GRAZING - math.radians(4) * (self.strength - 1)
        limit = limit + math.radians(6) * (self._patches(generator) - 1)
        holes |= self.cosine.clamp(0, 1).arccos() > limit
        measured = torch.where(holes | self.depth.isnan(), torch.nan, measured)
        return torch.where(self.strength > 0, measured, self.depth)

    def _structured_light(self, generator: Generator) -> tuple[Tensor, Tensor]:
        moved = self._displaced(generator, self.depth)
        noise = torch.randn(moved.shape, generator=generator, device=moved.device)
        noisy = moved + self._axial_noise(moved) * self.strength * noise
        dark = self.scattered * self.cosine < 0.04 * self.strength * self._patches(generator)
        return self._in_steps(noisy, self.strength / 8), self._hidden() | dark

    def _stereo(self, generator: Generator) -> tuple[Tensor, Tensor]:
        farther = -self.depth.nan_to_num(nan=torch.inf)
        near = -functional.max_pool2d(farther[:, None], BLOCK, 1, BLOCK // 2)[:, 0]
        moved = self._displaced(generator, torch.where(near.isfinite(), near, torch.nan))
        noise = torch.randn(moved.shape, generator=generator, device=moved.device)
        noise = _mean_around(noise, BLOCK) * (BLOCK * self.strength / 12)
        moved = self.focal_baseline / (self.focal_baseline / moved + noise)
        mean = _mean_around(self.scattered, TEXTURE)
        square = _mean_around(self.scattered**2, TEXTURE)
        contrast = (square - mean**2).clamp_min(0).sqrt() + 0.05 * self.scattered * self.cosine
        plain = contrast < 0.006 * self.strength * self._patches(generator)
        return self._in_steps(moved, self.strength / 32), self._hidden() | plain

    def _time_of_flight(self, generator: Generator) -> tuple[Tensor, Tensor]:
        lit = (self.scattered * self.cosine * (1000 / self.depth) ** 2).nan_to_num(0.0)
        per_mm = 4 * math.pi * MODULATION / LIGHT_SPEED
        phase = per_mm * (self.depth.nan_to_num(0.0) + 0.1 * self.strength * self._hollow())
        parts = torch.stack([lit * phase.cos(), lit * phase.sin()], dim=1)
        parts = gaussian_blur(parts, (0.4 + 0.1 * self.strength).flatten() ** 2, SMEARED)
        noise = torch.randn(parts.shape, generator=generator, device=parts.device)
        parts = parts + (0.75 * per_mm * self.strength)[:, None] * noise
        phase = torch.remainder(torch.atan2(parts[:, 1], parts[:, 0]), 2 * math.pi)
        return phase / per_mm, lit < 0.02 * self.strength * self._patches(generator)

    def _axial_noise(self, depth: Tensor) -> Tensor:
        """Return sigmas along z, mm, see `depth_sensors.axial_noise`."""
        metres = depth / 1000
        slanted = self.cosine.clamp(0, 1).arccos().clamp_max(math.radians(85))
        sigma = 0.0012 + 0.0019 * (metres - 0.4) ** 2
        steep = slanted**2 / (math.pi / 2 - slanted) ** 2
        return 1000 * (sigma + 0.0001 / metres.sqrt() * steep)

    def _in_steps(self, depth: Tensor, step: Tensor) -> Tensor:
        """Round disparities to whole steps, px; NaN beyond the last."""
        steps = (self.focal_baseline / (depth * step)).round()
        return self.focal_baseline / (torch.where(steps > 0, steps, torch.nan) * step)

    def _hidden(self) -> Tensor:
        """Say what a second eye does not see, see `depth_sensors.hidden_from`."""
        width = self.depth.shape[2]
        disparity = self.focal_baseline / self.depth
        # Only differences count: with the least taken away, few are wider than the picture.
        least = disparity.nan_to_num(nan=torch.inf).amin(dim=(1, 2), keepdim=True)
        disparity = (disparity - least).nan_to_num(0.0).clamp(0, width)
        column = torch.arange(width, device=disparity.device) - disparity + width
        nearest = torch.zeros(*disparity.shape[:2], 2 * width + 1, device=disparity.device)
        for side in (column.floor(), column.ceil()):
            nearest.scatter_reduce_(2, side.long(), disparity, "amax")
        return nearest.gather(2, column.round().long()) > disparity + 1.5

    def _displaced(self, generator: Generator, depth: Tensor) -> Tensor:
        """Let every pixel take the value of one nearby; no value that was not there."""
        height, width = depth.shape[1:]
        aside = torch.randn(2, *depth.shape, generator=generator, device=depth.device)
        rows, cols = (aside * (0.5 * self.strength)).round().long()
        rows = (rows + torch.arange(height, device=depth.device)[:, None]).clamp(0, height - 1)
        cols = (cols + torch.arange(width, device=depth.device)).clamp(0, width - 1)
        moved = depth.flatten(1).gather(1, (rows * width + cols).flatten(1)).view(depth.shape)
        return torch.where(moved.isnan(), depth, moved)

    def _patches(self, generator: Generator) -> Tensor:
        """Return factors around 1, in [0.5, 1.5], that change smoothly: holes have shapes."""
        b, height, width = self.depth.shape
        cells = (b, 1, height // 8 + 2, width // 8 + 2)
        coarse = 0.5 + torch.rand(cells, generator=generator, device=self.depth.device)
        return functional.interpolate(coarse, size=(height, width), mode="bilinear")[:, 0]

    def _hollow(self) -> Tensor:
        """Return how much deeper each pixel lies than its surroundings, at most 50 mm."""
        known = _mean_around(self.depth.isfinite().float(), AROUND)
        mean = _mean_around(self.depth.nan_to_num(0.0), AROUND) / known.clamp_min(1e-6)
        return (self.depth.nan_to_num(0.0) - mean).clamp(0, 50)


def _mean_around(maps: Tensor, side: int) -> Tensor:
    """Return the mean of the square around each pixel of maps (b, h, w)."""
    return functional.avg_pool2d(maps[:, None], side, 1, side // 2, count_include_pad=False)[:, 0]
