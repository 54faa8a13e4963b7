"""Choose keypoints among those of a trained network, and compare the choice with others.

The network learned many candidates; which of them fix the pose best is chosen by how well it finds
them in one half of a number of rendered views. How good the choice is, and how good others of
equally many are, is measured in the other half.
"""

import logging
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from heatpose.data.backgrounds import Backgrounds
from heatpose.data.depth_samples import DepthConfig
from heatpose.data.samples import SampleConfig, SampleMaker
from heatpose.data.views import ViewConfig
from heatpose.errors import OptionError
from heatpose.objects.catalogue import ObjectModel
from heatpose.objects.chosen_keypoints import ChosenKeypoints
from heatpose.objects.design import (
    CandidateViews,
    Criterion,
    ExpectedError,
    choose_candidates,
    expected_error,
)
from heatpose.objects.keypoints import candidate_parts, pick_apart, usual_gap
from heatpose.objects.precision import Precision
from heatpose.train.candidates import (
    Sighting,
    candidate_views,
    displacements,
    measure_views,
    precision_in,
)
from heatpose.train.labels import as_labelled
from heatpose.train.start import Trained

LOG = logging.getLogger(__name__)
STRATEGY = "learned"
COUNTS = (8, 16, 32)  # that choices are compared at
FEWEST_VIEWS = 20  # of an object, in each half
SEED = 7_000_000  # of the views; none is one of those that training drew


@dataclass(frozen=True)
class Comparison:
    """How good so many keypoints of an object are, on views that nothing was chosen by."""

    object_id: int
    strategy: str
    count: int
    expected: ExpectedError
    median: float  # of ADD(-S) of poses solved with them, diameters
    within_5: float  # share of views with ADD(-S) below 0.05 diameters
    within_10: float


@dataclass(frozen=True, eq=False)
class Choice:
    """The keypoints that were chosen for one object, and what they are worth."""

    keypoints: ChosenKeypoints
    comparisons: list[Comparison]


def view_maker(trained: Trained, backgrounds: Path | None) -> SampleMaker:
    """Return what renders views as the network saw them in training, from the same sides.

    Turns that it was not taught to tell apart are symmetries of its objects.
    """
    config = trained.training.get("sample", {})
    views = config.get("views", {})
    hidden = views.get("hidden", 0.0) if len(trained.objects) > 1 else 0.0
    sample = SampleConfig(
        crop_size=trained.network.config.crop_size,
        margin=config.get("margin", SampleConfig.margin),
        views=ViewConfig(upright=views.get("upright", 0.0), hidden=hidden),
        depth=DepthConfig() if "depth" in trained.network.config.inputs else None,
    )
    objects = as_labelled(trained.objects, trained.training.get("labels", "colour"))
    return SampleMaker(objects, Backgrounds(backgrounds), sample)


def choose_keypoints(
    trained: Trained,
    maker: SampleMaker,
    count: int,
    n_views: int,
    *,
    criterion: Criterion = "A",
    seed: int = 0,
    workers: int = 0,
) -> list[Choice]:
    """Choose keypoints for each object of a network.

    Args:
        trained: a network of many keypoints, and its objects.
        maker: draws views of them.
        count: keypoints to choose for each object.
        n_views: of each object, in the mean; half to choose by, half to compare on.
        criterion: of `choose_candidates`.
        seed: of the views.
        workers: processes that draw views.

    Raises:
        OptionError: there are no more keypoints than are to be chosen, or too few views.
    """
    known = trained.network.config.n_keypoints
    if not 1 <= count < known:
        raise OptionError(
            f"the network has {known} keypoints to choose from, {count} were asked for"
        )
    found = measure_views(trained.network.eval(), maker, n_views, SEED + seed, workers=workers)
    choices = []
    for model, sightings in zip(trained.objects, found, strict=True):
        if len(sightings) < 2 * FEWEST_VIEWS:
            raise OptionError(
                f"{len(sightings)} views of object {model.object_id} are too few, "
                f"at least {2 * FEWEST_VIEWS} are needed"
            )
        choices.append(_choose(model, sightings, count, criterion, _kinds(trained)))
    return choices


def _kinds(trained: Trained) -> Mapping[str, range]:
    """Return rows of keypoints that others would choose, the first of them first."""
    known = trained.network.config.n_keypoints
    if trained.training.get("keypoints") == "candidates":
        return candidate_parts(known)
    return {str(trained.training.get("keypoints", "fps")): range(known)}


def _choose(
    model: ObjectModel,
    sightings: Sequence[Sighting],
    count: int,
    criterion: Criterion,
    kinds: Mapping[str, range],
) -> Choice:
    """Choose by one half of the views and compare on the other."""
    half = len(sightings) // 2
    seen, held = sightings[:half], sightings[half:]
    precision = precision_in(model, seen)
    views = candidate_views(model, seen, precision.precisions)
    unseen = candidate_views(model, held, precision_in(model, held).precisions)

    def learned(n: int) -> NDArray[np.intp]:
        return choose_candidates(views, n, criterion, usual_gap(model.mesh, n))

    comparisons = []
    for n in sorted({*(c for c in COUNTS if c < count), count}):
        for strategy, rows in {**_others(model, kinds, n), STRATEGY: learned(n)}.items():
            comparisons.append(_compared(model, unseen, held, strategy, rows))
    chosen = learned(count)
    LOG.info("object %d: %s", model.object_id, _kinds_of(chosen, kinds))
    return Choice(_described(model, chosen, precision), comparisons)


def _others(
    model: ObjectModel, kinds: Mapping[str, range], count: int
) -> dict[str, NDArray[np.intp]]:
    """Return rows of as many keypoints as other strategies would choose; not those with too few."""
    others = {}
    for strategy, rows in kinds.items():
        points = model.keypoints[list(rows)]
        if len(rows) < count:
            continue
        first = np.arange(count)
        if strategy == "curvature":  # fewer bent places lie farther apart
            first = pick_apart(points, usual_gap(model.mesh, count), count)
        others[strategy] = np.array(rows)[first]
    if "random" not in others:
        rng = np.random.default_rng(0)
        others["random"] = rng.choice(len(model.keypoints), count, replace=False)
    return others


def _compared(
    model: ObjectModel,
    views: CandidateViews,
    sightings: Sequence[Sighting],
    strategy: str,
    rows: NDArray[np.intp],
) -> Comparison:
    off = displacements(model, sightings, rows)
    return Comparison(
        object_id=model.object_id,
        strategy=strategy,
        count=len(rows),
        expected=expected_error(views, rows),
        median=float(np.median(off)),
        within_5=float((off < 0.05).mean()),
        within_10=float((off < 0.1).mean()),
    )


def _kinds_of(chosen: NDArray[np.intp], kinds: Mapping[str, range]) -> str:
    return ", ".join(f"{sum(row in rows for row in chosen)} {name}" for name, rows in kinds.items())


def _described(
    model: ObjectModel, chosen: NDArray[np.intp], precision: Precision
) -> ChosenKeypoints:
    notes = {
        "found": precision.found[chosen].round(4).tolist(),
        "systematic_diameters": precision.systematic[chosen].round(5).tolist(),
        "spread_diameters": precision.spread[chosen].round(5).tolist(),
    }
    return ChosenKeypoints(
        model.object_id, model.name, model.diameter, model.keypoints[chosen], notes
    )


def mean_over_objects(choices: Sequence[Choice]) -> Iterator[dict[str, Any]]:
    """Yield one row for each strategy and count: means of what was compared over the objects."""
    rows = [one for choice in choices for one in choice.comparisons]
    for key in dict.fromkeys((one.count, one.strategy) for one in rows):
        same = [as_record(one) for one in rows if (one.count, one.strategy) == key]
        numbers = [name for name in same[0] if name not in ("object_id", "strategy", "count")]
        means = {name: float(np.mean([one[name] for one in same])) for name in numbers}
        yield {"strategy": key[1], "count": key[0], **means}


def as_record(comparison: Comparison) -> dict[str, Any]:
    """Return a comparison as plain data: lengths in diameters, angles in degrees."""
    plain = asdict(comparison)
    expected = plain.pop("expected")
    return {
        **plain,
        "expected_displacement": expected["displacement"],
        "expected_translation": expected["translation"],
        "expected_degrees": float(np.degrees(expected["rotation"])),
    }
