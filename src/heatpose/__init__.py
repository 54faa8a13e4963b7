"""From a CAD model to 6-DoF poses of that object in photographs."""

__version__ = "0.1.0"
