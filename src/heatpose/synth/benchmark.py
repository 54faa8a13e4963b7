"""Data sets to measure on, which anyone can draw again: their recipes, and what must come out.

A recipe takes no pictures from outside: textures and light are generated, so that the models of the
objects are all it needs. What it gives is summed up by one SHA-256 over the pixels of all images
and the bytes of all labels. Pixels, not files, for versions of a library compress differently.
"""

import hashlib
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

import cv2
import numpy as np

from heatpose.files import write_whole
from heatpose.geometry.camera import Camera
from heatpose.render.depth_sensors import KINDS, STRENGTHS, DepthSensor
from heatpose.synth.layout import SceneConfig
from heatpose.synth.recipe import SynthConfig

MANIFEST = "manifest.txt"


@dataclass(frozen=True)
class Benchmark:
    """A data set that is always the same."""

    config: SynthConfig
    scenes: int
    split: str
    digest: str | None = None  # of its manifest, drawn of the true models


# LM-O's eight objects once each, seen by its camera, as near and as hidden as in its pictures:
# of its 487 development targets 78 % is seen in the mean, of 9 % less than 0.4, of 41 % less than
# 0.8.
RGBD_LMO = Benchmark(
    config=SynthConfig(
        engine="raycast",
        seed=1,
        png=True,
        others=tuple(DepthSensor(kind, strength) for kind in KINDS for strength in STRENGTHS),
        scene=SceneConfig(
            camera=Camera(572.4114, 573.57043, 325.2611, 242.04899, width=640, height=480),
            views=(4, 4),
            objects=(8, 8),
            repeats=0.0,
            distractors=(2, 6),
            bins=0.0,
            standing=0.8,
            sizes=(75.0, 150.0),
            elevations=(0.3, 0.9),
            spread=(0.35, 0.6),
        ),
    ),
    scenes=10,
    split="test",
    digest="6c5d587f91002b38aa33d487521f12e83e3aa32f049354a159d145cf8efb84ed",
)
BENCHMARKS: Mapping[str, Benchmark] = {"rgbd-lmo": RGBD_LMO}


def write_manifest(out: Path, split: str) -> str:
    """Write what images and labels of a split are, by name, and return the SHA-256 of that.

    Args:
        out: folder of the data set; the manifest goes there.
        split: folder of the scenes in it.
    """
    files = sorted(path for path in (out / split).rglob("*") if path.is_file())
    lines = [f"{_digest(path)}  {path.relative_to(out).as_posix()}\n" for path in files]
    text = "".join(lines).encode()
    with write_whole(out / MANIFEST) as temporary:
        temporary.write_bytes(text)
    return hashlib.sha256(text).hexdigest()


def _digest(path: Path) -> str:
    """Return the SHA-256 of a file, of an image without its compression."""
    if path.suffix != ".png":
        return hashlib.sha256(path.read_bytes()).hexdigest()
    pixels = np.asarray(cv2.imread(str(path), cv2.IMREAD_UNCHANGED))
    return hashlib.sha256(
        f"{pixels.shape} {pixels.dtype}\n".encode() + pixels.tobytes()
    ).hexdigest()
