"""Path tracing: scenes as a camera would see them, with all light that bounces (mitsuba 3).

Few light paths per pixel and a denoiser give pictures without visible noise. What comes out is
linear radiance; exposure, noise and colours are those of `heatpose.render.sensors`.
"""

import importlib
import os
from collections.abc import Mapping
from dataclasses import replace
from typing import Any

import cv2
import numpy as np
from numpy.typing import NDArray

from heatpose.errors import MissingExtraError, OptionError
from heatpose.geometry.camera import Camera
from heatpose.objects.mesh import Mesh
from heatpose.render.mitsuba_scene import mitsuba_scene, mitsuba_sensor
from heatpose.render.scene import Scene
from heatpose.render.variants import usable_variants

__all__ = ["PathTracer", "choose_variant", "usable_variants"]

BOUNCES = 6  # of light on its way from a lamp to the camera
Floats = NDArray[np.float32]


class PathTracer:
    """Draws scenes by path tracing."""

    def __init__(
        self,
        meshes: Mapping[int, Mesh],
        variant: str | None = None,
        samples: int = 16,
        denoise: bool = True,
        threads: int | None = None,
    ) -> None:
        """Choose how to trace.

        Args:
            meshes: the objects by id.
            variant: one of mitsuba's; None takes the fastest that works here.
            samples: light paths per pixel.
            denoise: whether to take the noise out; without it hundreds of samples are needed.
            threads: of the pool that all of mitsuba shares in a process; None takes all cores.

        Raises:
            MissingExtraError: no variant of mitsuba works here.
            OptionError: this one does not.
        """
        self.meshes = meshes
        self.variant = choose_variant(variant)
        self.samples = samples
        threads = threads or os.cpu_count() or 1
        self._mi = _start(self.variant, threads)
        self._paths = self._mi.load_dict({"type": "path", "max_depth": BOUNCES + 1, "rr_depth": 4})
        self._surfaces = self._mi.load_dict({"type": "aov", "aovs": "a:albedo,n:sh_normal"})
        self._denoiser = _denoiser(threads) if denoise else None
        self._last: tuple[Scene, Any] | None = None  # what was drawn last, as given and as built

    def __call__(self, scene: Scene, view: int, seed: int = 0) -> Floats:
        """Draw one view of a scene; further views of the same scene need not build it again.

        Args:
            scene: the scene; its camera must be an ideal pinhole.
            view: index of one of its cameras.
            seed: decides the noise; the same one gives the same picture.

        Returns:
            Radiance, linear RGB, (h, w, 3).

        Raises:
            UnknownObjectError: an instance of an object without a mesh.
        """
        if scene.camera.distortion:
            raise ValueError("the camera of a scene must be without distortion")
        self._mi.set_variant(self.variant)  # another tracer may have set its own
        built = self._built(scene)
        camera = _square_pixels(scene.camera)
        sensor = mitsuba_sensor(self._mi, camera, scene.world_from_cameras[view])
        radiance = self._render(built, self._paths, sensor, seed)
        if self._denoiser:
            # Traced apart: mitsuba's aov integrator would trace the paths it wraps twice.
            surfaces = self._render(built, self._surfaces, sensor, seed)
            albedo, normals = np.split(surfaces, 2, axis=2)
            radiance = self._denoiser(radiance, albedo.copy(), normals.copy())
        return _resampled(radiance, camera, scene.camera)

    def _built(self, scene: Scene) -> Any:
        """Return a scene in mitsuba's terms."""
        if self._last is None or self._last[0] is not scene:
            self._last = None  # freed first: what is alive counts into the compiled program
            self._last = (scene, mitsuba_scene(self._mi, scene, self.meshes))
        return self._last[1]

    def _render(self, built: Any, integrator: Any, sensor: Any, seed: int) -> Floats:
        pixels = self._mi.render(
            built, integrator=integrator, sensor=sensor, spp=self.samples, seed=seed
        )
        return np.nan_to_num(np.array(pixels, np.float32), posinf=0.0)


def choose_variant(variant: str | None = None) -> str:
    """Return the variant to use: the one asked for, or the fastest that works here.

    Raises:
        MissingExtraError: no variant of mitsuba works here.
        OptionError: this one does not.
    """
    if variant and usable_variants([variant]):  # one question, as many processes may ask
        return variant
    usable = usable_variants()
    if not usable:
        raise MissingExtraError(
            "path tracing needs mitsuba, which does not work here: pip install 'heatpose[synth]', "
            "and best LLVM 15 or newer (apt install libllvm19)"
        )
    if variant:
        raise OptionError(f"mitsuba's variant {variant} does not work here, but {usable} do")
    return usable[0]


def _start(variant: str, threads: int) -> Any:
    """Import mitsuba, once `usable_variants` has told it where LLVM is."""
    mi = importlib.import_module("mitsuba")
    mi.set_variant(variant)
    mi.set_log_level(mi.LogLevel.Error)
    importlib.import_module("drjit").set_thread_count(threads)
    return mi


def _denoiser(threads: int) -> Any:
    from heatpose.render.denoise import Denoiser

    return Denoiser(threads)


def _square_pixels(camera: Camera) -> Camera:
    """Return a camera that sees the same with square pixels: mitsuba knows no others.

    Its focal length is the longer one, so that it has pixels enough for both directions.
    """
    focal = max(camera.fx, camera.fy)
    scale_x, scale_y = focal / camera.fx, focal / camera.fy
    return replace(
        camera,
        fx=focal,
        fy=focal,
        cx=(camera.cx + 0.5) * scale_x - 0.5,
        cy=(camera.cy + 0.5) * scale_y - 0.5,
        width=int(np.ceil(camera.width * scale_x)),
        height=int(np.ceil(camera.height * scale_y)),
    )


def _resampled(radiance: Floats, square: Camera, camera: Camera) -> Floats:
    """Bring what the camera with square pixels saw, (h', w', 3), to the camera's own pixels."""
    if square == camera:
        return radiance
    scale_x, scale_y = square.fx / camera.fx, square.fy / camera.fy
    moved = np.array([[scale_x, 0, scale_x / 2 - 0.5], [0, scale_y, scale_y / 2 - 0.5]])
    resampled = cv2.warpAffine(
        radiance,
        moved,
        (camera.width, camera.height),
        flags=cv2.INTER_CUBIC | cv2.WARP_INVERSE_MAP,
        borderMode=cv2.BORDER_REPLICATE,
    )
    return np.maximum(resampled, 0)  # cubic interpolation swings over at edges
