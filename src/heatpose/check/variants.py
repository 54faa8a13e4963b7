"""Which of the data sets that circulate a data set is, by its models."""

from collections.abc import Mapping

import numpy as np

from heatpose.objects.mesh import Mesh

# Diameters, mm, as BOP's models_info.json gives them.
LINEMOD = {
    1: 102.099, 2: 247.506, 3: 167.355, 4: 172.492, 5: 201.404, 6: 154.546, 7: 124.264,
    8: 261.472, 9: 108.999, 10: 164.628, 11: 175.889, 12: 145.543, 13: 278.078, 14: 282.601,
    15: 212.358,
}  # fmt: skip
YCB_VIDEO = {
    1: 171.972, 2: 269.505, 3: 198.547, 4: 120.543, 5: 196.528, 6: 89.799, 7: 142.608, 8: 113.997,
    9: 129.481, 10: 197.835, 11: 259.501, 12: 259.434, 13: 161.953, 14: 125.049, 15: 226.25,
    16: 237.366, 17: 203.985, 18: 121.393, 19: 174.57, 20: 217.175, 21: 102.964,
}  # fmt: skip
KNOWN = {"LINEMOD": LINEMOD, "YCB-Video": YCB_VIDEO}
AS_LARGE = 0.03  # relative difference of diameters of one object; scans were cleaned and filled
CENTRED = 1.0  # mm


def identify(meshes: Mapping[int, Mesh], diameters: Mapping[int, float]) -> str | None:
    """Say which data set these are the models of, and in which version; None if not known.

    Args:
        meshes: by object id.
        diameters: of them, mm.
    """
    for name, known in KNOWN.items():
        if not diameters.keys() <= known.keys():
            continue
        ratios = np.array([diameters[one] / known[one] for one in diameters])
        factor = float(np.median(ratios))
        if np.abs(ratios / factor - 1).max() > AS_LARGE:
            continue
        if abs(factor - 1) > AS_LARGE:
            return f"models of {name} at {factor:.3g} times their size in mm"
        return f"models of {name}, {_origins(name, meshes)}"
    return None


def is_linemod(diameters: Mapping[int, float]) -> bool:
    """Say whether these are LINEMOD's objects, in mm, whatever the version."""
    return diameters.keys() <= LINEMOD.keys() and all(
        abs(diameters[one] / LINEMOD[one] - 1) < AS_LARGE for one in diameters
    )


def _origins(name: str, meshes: Mapping[int, Mesh]) -> str:
    off = {one: float(np.linalg.norm(mesh.centre)) for one, mesh in meshes.items()}
    if max(off.values()) < CENTRED:
        version = "BOP's version" + (
            " (also that of SIXD 2017 and Linemod_preprocessed)" if name == "LINEMOD" else ""
        )
        return f"{version}: mm, origins at the centres of their boxes"
    farthest = max(off, key=lambda one: off[one])
    version = "the archive's of 2012" if name == "LINEMOD" else "the original one"
    return (
        f"not BOP's version but perhaps {version}: the origin of object {farthest} lies "
        f"{off[farthest]:.0f} mm from the centre of its box"
    )
