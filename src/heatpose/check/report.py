"""Check a data set: what fits, what does not, and why."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np

from heatpose.check.fit import Fit, Fitter
from heatpose.check.search import Outcome, Progress, search
from heatpose.check.variants import identify, is_linemod
from heatpose.check.views import (
    MOST_VIEWS,
    View,
    choose_frames,
    read_picture,
    spread_views,
    views_of,
)
from heatpose.data.cameras import read_camera
from heatpose.data.sources import Source
from heatpose.errors import DataError
from heatpose.objects.mesh import Mesh, diameter

AS_LARGE = 0.1  # relative difference of diameters, stated and measured, that is none
NOTABLE, WRONG = 3.0, 20.0  # mm that depth lies beside the truth
LINEMODS = (2.0, 10.0)  # mm that LINEMOD's depth lies behind its truth


@dataclass(frozen=True, eq=False)
class Report:
    """What was found out about a data set."""

    source: Source
    fitter: Fitter  # with the models
    views: Sequence[View]  # as the data set has them
    outcome: Outcome
    contradictions: Sequence[str]  # faults that need no picture to be seen
    notes: Sequence[str]
    variant: str | None

    @property
    def faults(self) -> list[str]:
        """What is wrong, in words."""
        explained = [
            f"{found.explanation.fault}: {found.explanation.remedy}"
            for found in self.outcome.findings
        ]
        return explained + self.others

    @property
    def others(self) -> list[str]:
        """What is wrong beside what the search has explained, in words."""
        others = list(self.contradictions)
        if not self.outcome.is_confirmed:
            still = "still " if self.outcome.findings else ""
            others.append(
                f"the ground truth {still}fits the pictures no better than by chance, and nothing "
                "that was tried explains it: look at the picture"
            )
        return others


def check(source: Source, n_frames: int, progress: Progress) -> Report:
    """Hold the ground truth of a data set against its pictures.

    Args:
        source: the data set.
        n_frames: frames to look at, at least one of each scene.
        progress: goes through what is tried, telling how far it is.

    Raises:
        DataError: a file is missing or damaged, or the frames show no known object.
    """
    meshes = {one: model.read() for one, model in source.models.items()}
    diameters = {one: diameter(mesh) for one, mesh in meshes.items()}
    pictures = [read_picture(frame) for frame in choose_frames(source, n_frames)]
    views = [view for picture in pictures for view in views_of(picture, meshes)]
    if not views:
        raise DataError(f"{source.root}: {len(pictures)} frames show no object that has a model")
    views = spread_views(views, MOST_VIEWS)
    fitter = Fitter(meshes, diameters)
    outcome = search(views, fitter, progress)
    contradictions = [
        *_sizes(source, diameters),
        *_camera_file(source),
        *_strangers(source, meshes),
    ]
    offset, length = median_of(outcome.final, "offset"), outcome.views[0].length
    if offset is not None and abs(offset) > WRONG:
        contradictions.append(f"depth lies {offset:.0f} mm behind the truth, in the median")
    return Report(
        source=source,
        fitter=fitter,
        views=views,
        outcome=outcome,
        contradictions=contradictions,
        notes=_notes(offset, {one: size * length for one, size in diameters.items()}),
        variant=identify(meshes, diameters),
    )


def median_of(fits: Sequence[Fit], name: str) -> float | None:
    """Return the median of what was measured; None where it was nowhere."""
    values = [value for fit in fits if (value := getattr(fit, name)) is not None]
    return float(np.median(values)) if values else None


def _sizes(source: Source, diameters: Mapping[int, float]) -> list[str]:
    """Hold the models against what is said of them."""
    wrong = {}
    for one, model in source.models.items():
        stated = model.info.get("diameter")
        if isinstance(stated, int | float) and abs(diameters[one] / stated - 1) > AS_LARGE:
            wrong[one] = stated
    if not wrong:
        return []
    first = next(iter(wrong))
    return [
        f"{len(wrong)} of {len(source.models)} models are not as large as is said of them: object "
        f"{first} measures {diameters[first]:.4g} mm, and {wrong[first]:.4g} mm are stated"
    ]


def _camera_file(source: Source) -> list[str]:
    """Hold the pictures against camera.json."""
    path = source.root / "camera.json"
    if not path.is_file():
        return []
    stated, camera = read_camera(path), source.frames[0].camera()
    if (stated.width, stated.height) == (camera.width, camera.height):
        return []
    return [
        f"camera.json is of pictures of {stated.width} x {stated.height} px, but these have "
        f"{camera.width} x {camera.height}"
    ]


def _strangers(source: Source, meshes: Mapping[int, Mesh]) -> list[str]:
    shown = {one.object_id for frame in source.frames[:100] for one in frame.read_truth()}
    missing = sorted(shown - meshes.keys())
    return [f"objects {missing} are in pictures, but have no models"] if missing else []


def _notes(offset: float | None, diameters: Mapping[int, float]) -> list[str]:
    if offset is None or not NOTABLE < abs(offset) <= WRONG:
        return []
    where = "behind" if offset > 0 else "in front of"
    note = f"measured depth lies {abs(offset):.1f} mm {where} the truth, in the median"
    if is_linemod(diameters) and LINEMODS[0] < offset < LINEMODS[1]:
        note += ": a known property of LINEMOD"
    return [note]
