"""The camera: a pinhole, with or without lens distortion."""

from collections.abc import Sequence
from dataclasses import dataclass, replace
from math import isfinite

import numpy as np

from heatpose.geometry.arrays import Array


@dataclass(frozen=True)
class Camera:
    """A pinhole camera, with OpenCV's lens distortion where the lens has any.

    Pixel centres lie at whole numbers: the top left pixel spans [-0.5, 0.5) both ways.
    """

    fx: float  # focal lengths, px
    fy: float
    cx: float  # principal point, px
    cy: float
    width: int  # image size, px
    height: int
    distortion: tuple[float, ...] = ()  # k1 k2 p1 p2 k3 [k4 k5 k6]; empty for an ideal pinhole

    def __post_init__(self) -> None:
        numbers = (self.fx, self.fy, self.cx, self.cy, *self.distortion)
        if not all(map(isfinite, numbers)):
            raise ValueError(f"camera values must be finite, got {numbers}")
        if self.fx <= 0 or self.fy <= 0:
            raise ValueError(f"focal lengths must be positive, got fx={self.fx}, fy={self.fy}")
        if self.width <= 0 or self.height <= 0:
            raise ValueError(f"image size must be positive, got {self.width} x {self.height}")
        if len(self.distortion) not in (0, 5, 8):
            raise ValueError(
                f"distortion must have 0, 5 or 8 coefficients, got {len(self.distortion)}"
            )

    @classmethod
    def from_matrix(
        cls, matrix: Array, width: int, height: int, distortion: Sequence[float] = ()
    ) -> "Camera":
        """Build from a calibration matrix K, (3, 3), px, without skew.

        Four distortion coefficients (k1 k2 p1 p2) are taken as five with k3 = 0, and
        coefficients that are all zero as none.

        Raises:
            ValueError: the matrix is not of the form [[fx, 0, cx], [0, fy, cy], [0, 0, 1]].
        """
        k = np.asarray(matrix, float)
        if k.shape != (3, 3) or not np.isfinite(k).all():
            raise ValueError(f"K must be 3 x 3 finite numbers, got {k.tolist()}")
        if k[0, 1] != 0 or k[1, 0] != 0 or not np.array_equal(k[2], [0, 0, 1]):
            raise ValueError(f"K must be [[fx, 0, cx], [0, fy, cy], [0, 0, 1]], got {k.tolist()}")
        coefficients = tuple(float(c) for c in distortion)
        if len(coefficients) == 4:
            coefficients = (*coefficients, 0.0)
        return cls(
            fx=float(k[0, 0]),
            fy=float(k[1, 1]),
            cx=float(k[0, 2]),
            cy=float(k[1, 2]),
            width=width,
            height=height,
            distortion=coefficients if any(coefficients) else (),
        )

    @property
    def matrix(self) -> Array:
        """The calibration matrix K, (3, 3), px."""
        return np.array([[self.fx, 0, self.cx], [0, self.fy, self.cy], [0, 0, 1]], float)

    @property
    def ideal(self) -> "Camera":
        """The same camera without distortion: the one that sees the undistorted image."""
        return replace(self, distortion=())

    def project(self, points: Array) -> Array:
        """Project points given in the camera frame.

        Args:
            points: (..., 3), mm, z pointing away from the camera.

        Returns:
            Image positions (x, y), (..., 2), px. NaN for points not in front of the camera.
        """
        depth = np.where(points[..., 2:] > 0, points[..., 2:], np.nan)
        flat = self._distort(points[..., :2] / depth)
        pixels: Array = flat * [self.fx, self.fy] + [self.cx, self.cy]
        return pixels

    def unproject(self, pixels: Array, depth: Array) -> Array:
        """Return the points seen at given pixels and depths: the inverse of `project`.

        Args:
            pixels: image positions (x, y), (..., 2), px.
            depth: z of the points, (...), mm.

        Returns:
            Points in the camera frame, (..., 3), mm.
        """
        flat = (np.asarray(pixels, float) - [self.cx, self.cy]) / [self.fx, self.fy]
        flat = self._undistort(flat)
        rays = np.concatenate([flat, np.ones_like(flat[..., :1])], axis=-1)
        points: Array = rays * np.asarray(depth, float)[..., None]
        return points

    def warped(self, scale: float | Array, shift: Array, width: int, height: int) -> "Camera":
        """Return the camera of the image in which pixel p has moved to ``scale * p + shift``.

        Crops and resizes are both of this kind; where they stretch, the scale is one of x and
        one of y, (2,). Distortion acts before the calibration matrix and stays as it is.
        """
        along_x, along_y = (scale * np.ones(2)).tolist()
        return replace(
            self,
            fx=self.fx * along_x,
            fy=self.fy * along_y,
            cx=self.cx * along_x + float(shift[0]),
            cy=self.cy * along_y + float(shift[1]),
            width=width,
            height=height,
        )

    def _distort(self, flat: Array) -> Array:
        """Move positions on the plane z = 1, (..., 2), to where the lens shows them.

        The rational model of OpenCV's calib3d: radial factor
        (1 + k1 r^2 + k2 r^4 + k3 r^6) / (1 + k4 r^2 + k5 r^4 + k6 r^6), tangential p1, p2.
        """
        if not self.distortion:
            return flat
        k1, k2, p1, p2, k3, k4, k5, k6 = (*self.distortion, 0.0, 0.0, 0.0)[:8]
        x, y = flat[..., 0], flat[..., 1]
        r2 = x**2 + y**2
        radial = (1 + r2 * (k1 + r2 * (k2 + r2 * k3))) / (1 + r2 * (k4 + r2 * (k5 + r2 * k6)))
        moved_x = x * radial + 2 * p1 * x * y + p2 * (r2 + 2 * x**2)
        moved_y = y * radial + p1 * (r2 + 2 * y**2) + 2 * p2 * x * y
        return np.stack([moved_x, moved_y], axis=-1)

    def _undistort(self, flat: Array) -> Array:
        """Undo `_distort` by Newton steps with a numeric Jacobian."""
        if not self.distortion:
            return flat
        step = 1e-6
        right, down = np.array([step, 0.0]), np.array([0.0, step])
        guess = flat.copy()
        for _ in range(20):
            wrong = self._distort(guess) - flat
            along_x = self._distort(guess + right) - self._distort(guess - right)
            along_y = self._distort(guess + down) - self._distort(guess - down)
            jacobian = np.stack([along_x, along_y], axis=-1) / (2 * step)  # (..., 2, 2)
            change = np.linalg.solve(jacobian, wrong[..., None])[..., 0]
            guess = guess - change
            if np.abs(change).max(initial=0.0) < 1e-12:
                break
        return guess
