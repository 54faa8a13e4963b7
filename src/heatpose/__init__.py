"""From a CAD model to 6-DoF poses of that object in photographs."""

from importlib import import_module
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from heatpose.data.bop import BopDataset, read_detections
    from heatpose.data.cameras import read_camera
    from heatpose.data.images import read_image
    from heatpose.data.results import read_results, write_results
    from heatpose.errors import HeatposeError
    from heatpose.evaluate.scores import evaluate_results
    from heatpose.geometry.camera import Camera
    from heatpose.objects.catalogue import ObjectModel, read_models
    from heatpose.pipeline import PoseEstimator
    from heatpose.runtime.bundle import Bundle, read_bundle
    from heatpose.types import Detection, Effort, Observation, PoseEstimate

__version__ = "0.1.0"

__all__ = [
    "BopDataset",
    "Bundle",
    "Camera",
    "Detection",
    "Effort",
    "HeatposeError",
    "ObjectModel",
    "Observation",
    "PoseEstimate",
    "PoseEstimator",
    "evaluate_results",
    "read_bundle",
    "read_camera",
    "read_detections",
    "read_image",
    "read_models",
    "read_results",
    "write_results",
]

# Where each name lives. It is loaded when it is first asked for: reading meshes alone brings
# half a second of imports, and `heatpose --help` needs none of it.
_PLACES = {
    "BopDataset": "data.bop",
    "Bundle": "runtime.bundle",
    "Camera": "geometry.camera",
    "Detection": "types",
    "Effort": "types",
    "HeatposeError": "errors",
    "ObjectModel": "objects.catalogue",
    "Observation": "types",
    "PoseEstimate": "types",
    "PoseEstimator": "pipeline",
    "evaluate_results": "evaluate.scores",
    "read_bundle": "runtime.bundle",
    "read_camera": "data.cameras",
    "read_detections": "data.bop",
    "read_image": "data.images",
    "read_models": "objects.catalogue",
    "read_results": "data.results",
    "write_results": "data.results",
}


def __getattr__(name: str) -> Any:
    if name not in _PLACES:
        raise AttributeError(f"module 'heatpose' has no attribute {name!r}")
    value = getattr(import_module(f"heatpose.{_PLACES[name]}"), name)
    globals()[name] = value
    return value


def __dir__() -> list[str]:
    return sorted({*globals(), *__all__})
