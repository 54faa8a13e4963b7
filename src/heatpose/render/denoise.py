"""Taking the noise out of path traced pictures (Intel Open Image Denoise 2)."""

import numpy as np
import pyoidn
from numpy.typing import NDArray

Floats = NDArray[np.float32]


class Denoiser:
    """Intel's network for pictures of few light paths, on this machine's CPU."""

    def __init__(self, threads: int) -> None:
        """Start it.

        Args:
            threads: how many it works with.
        """
        self._device = pyoidn.Device()
        self._device.set_int("numThreads", threads)
        # Else each process pins its threads to the first cores, and all processes share them.
        self._device.set_bool("setAffinity", False)
        self._device.commit()

    def __call__(self, radiance: Floats, albedo: Floats, normals: Floats) -> Floats:
        """Return a picture without its noise.

        Args:
            radiance: linear RGB, (h, w, 3), of any scale.
            albedo: colour of the surfaces that are seen, (h, w, 3), in [0, 1].
            normals: theirs, (h, w, 3), in any frame, in [-1, 1]; 0 where no surface is.
        """
        output = np.empty_like(radiance)
        images = {
            pyoidn.OIDN_IMAGE_COLOR: radiance,
            pyoidn.OIDN_IMAGE_ALBEDO: albedo,
            pyoidn.OIDN_IMAGE_NORMAL: normals,
            pyoidn.OIDN_IMAGE_OUTPUT: output,
        }
        with pyoidn.Filter(self._device, pyoidn.OIDN_FILTER_TYPE_RT) as network:
            for name, image in images.items():
                network.set_image(name, image, pyoidn.OIDN_FORMAT_FLOAT3)
            network.set_bool("hdr", True)
            network.commit()
            network.execute()
        if message := self._device.get_error():
            raise RuntimeError(f"denoising failed: {message}")
        return output
