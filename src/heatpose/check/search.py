"""Which explanations fit the data better than taking it as it is."""

from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass

import numpy as np

from heatpose.check.explanations import Explanation, axis_rotations, explanations, model_frame
from heatpose.check.fit import NEAREST, Fit, Fitter
from heatpose.check.offsets import describe_offsets, find_offsets
from heatpose.check.views import View, spread_views
from heatpose.geometry.arrays import Array

PROBES = 10  # views on which all explanations are tried
FINALISTS = 6  # that are tried on all views
MOST_FAULTS = 3
LEAST_GAIN = 0.12  # of the mean agreement, for a fault
SURE = 4.0  # standard errors that a gain must be above zero
OUTLINED = 1.05  # mean fit of outlines, below which nothing is explained: chance is 0.9 to 1
AS_GOOD = 0.02  # difference of agreement that is none
CONFIRMED = 0.2  # of agreement above that of wrong explanations
N_TURNED = 3  # objects on which turned and moved models are tried
LEAST_OFFSET = 8.0  # mm; annotations of real data sets are off by some

Progress = Callable[[Sequence[Explanation]], Iterable[Explanation]]


@dataclass(frozen=True, eq=False)
class Finding:
    """An explanation that the data asks for."""

    explanation: Explanation
    before: Sequence[Fit]
    after: Sequence[Fit]

    @property
    def gain(self) -> float:
        """By how much agreement grew, in the mean."""
        return float(gains(self.before, self.after).mean())


@dataclass(frozen=True, eq=False)
class Outcome:
    """What the search has found."""

    findings: Sequence[Finding]
    fits: Sequence[Fit]  # of the data as it is
    final: Sequence[Fit]  # once all that was found is put right
    chance: float  # mean agreement under explanations that are wrong
    views: Sequence[View]  # put right

    @property
    def is_confirmed(self) -> bool:
        """Whether what is left agrees better than chance would have it."""
        values = np.array([fit.agreement for fit in self.final])
        error = values.std() / len(values) ** 0.5
        return bool(values.mean() - self.chance > max(CONFIRMED, 2 * error))


def search(views: Sequence[View], fitter: Fitter, progress: Progress) -> Outcome:
    """Explain views step by step until nothing explains them better.

    Args:
        views: objects in pictures, as the data set has them.
        fitter: knows the models.
        progress: goes through explanations, telling how far it is.
    """
    candidates = explanations(
        {one: mesh.centre for one, mesh in fitter.meshes.items()},
        has_depth=any(view.picture.depth is not None for view in views),
    )
    fits = [fitter(view) for view in views]
    state = Outcome((), fits, fits, 0.0, views)
    while len(state.findings) < MOST_FAULTS:
        found, chance = _best_of(state, candidates, fitter, progress)
        state = Outcome(state.findings, fits, state.final, chance, state.views)
        if found is None:
            break
        state = _put_right(state, found)
    found = _moved_models(state, fitter)
    return state if found is None else _put_right(state, found)


def _put_right(state: Outcome, found: Finding) -> Outcome:
    views = [found.explanation.undo(view) for view in state.views]
    return Outcome((*state.findings, found), state.fits, found.after, state.chance, views)


def _best_of(
    state: Outcome, candidates: Sequence[Explanation], fitter: Fitter, progress: Progress
) -> tuple[Finding | None, float]:
    """Return what explains views best, None where that is to leave them be, and chance."""
    probes = spread_views(state.views, PROBES)
    means = [
        float(np.mean([fitter(one.undo(view)).agreement for view in probes]))
        for one in progress(candidates)
    ]
    finalists = sorted(np.argsort(means, kind="stable")[::-1][:FINALISTS])
    tried = [_try(state, candidates[place], fitter) for place in finalists]
    most = max(one.gain for one in tried)
    best = next(one for one in tried if one.gain >= most - AS_GOOD)
    return best if is_sure(best) else None, float(np.median(means))


def _try(state: Outcome, explanation: Explanation, fitter: Fitter) -> Finding:
    after = [fitter(explanation.undo(view)) for view in state.views]
    return Finding(explanation, state.final, after)


def _moved_models(state: Outcome, fitter: Fitter) -> Finding | None:
    """Look whether models with other origins, and perhaps turned, explain the views.

    Moves alone can make any outline fit somewhat, so that turned models are looked at too as soon
    as moved ones seem better.
    """
    as_they_are = dict.fromkeys(fitter.meshes, np.zeros(3))
    moved = _moved(state, fitter, np.eye(3), as_they_are)
    if moved is None and state.is_confirmed:
        return None
    centres = {one: mesh.centre for one, mesh in fitter.meshes.items()}
    ids = [view.object_id for view in state.views]
    often = sorted(set(ids), key=lambda one: -ids.count(one))[:N_TURNED]
    some = [view for view in state.views if view.object_id in often]

    def agreement(rotation: Array) -> float:
        turned = model_frame(rotation, centres, "")
        views = [turned.undo(view) for view in some]
        views = _moved_by(views, find_offsets(views, fitter, often))
        return float(np.mean([fitter(view).agreement for view in views]))

    turned = _moved(state, fitter, max(axis_rotations()[1:], key=agreement), centres)
    found = [one for one in (moved, turned) if one is not None]
    return max(found, key=lambda one: one.gain, default=None)


def _moved(
    state: Outcome, fitter: Fitter, rotation: Array, origins: dict[int, Array]
) -> Finding | None:
    """Look whether models turned by a rotation about origins need to be moved, and by how much."""
    turned = model_frame(rotation, origins, "")
    views = [turned.undo(view) for view in state.views]
    offsets = find_offsets(views, fitter)
    before = [fitter(view) for view in views]
    offsets = _with_depth(views, [fitter(view) for view in _moved_by(views, offsets)], offsets)
    after = [fitter(view) for view in _moved_by(views, offsets)]
    for object_id, move in offsets.items():  # what helps an object not is no offset of it
        own = [place for place, view in enumerate(views) if view.object_id == object_id]
        helps = own and np.mean([after[i].agreement - before[i].agreement for i in own])
        if not helps or helps < LEAST_GAIN or np.linalg.norm(move) < LEAST_OFFSET:
            offsets[object_id] = np.zeros(3)
    if not any(move.any() for move in offsets.values()):
        return None
    # x_right = R (x - origin) + move
    new_origins = {one: origins[one] - rotation.T @ offsets[one] for one in origins}
    moves = {one: move for one, move in offsets.items() if move.any()}
    words = f"their origins are elsewhere; what fits best is to move {describe_offsets(moves)}"
    found = _try(state, model_frame(rotation, new_origins, words), fitter)
    return found if is_sure(found) else None


def _moved_by(views: Sequence[View], offsets: Mapping[int, Array]) -> list[View]:
    """Return views with each model moved by an offset (3,), mm, in its frame."""
    moved = model_frame(np.eye(3), {one: -move for one, move in offsets.items()}, "")
    return [moved.undo(view) for view in views]


def _with_depth(
    views: Sequence[View], fits: Sequence[Fit], offsets: Mapping[int, Array]
) -> dict[int, Array]:
    """Add to offsets what depth says of moves along the line of sight, which outlines hardly see.

    Args:
        views: without the offsets.
        fits: of the views with them.
        offsets: by object, (3,), mm.
    """
    better = dict(offsets)
    for one in offsets:
        moves = [
            view.camera_from_object[2, :3] * fit.offset / view.length
            for view, fit in zip(views, fits, strict=True)
            if view.object_id == one and fit.offset is not None and abs(fit.offset) > NEAREST
        ]
        if moves:
            better[one] = offsets[one] + np.median(moves, axis=0)
    return better


def is_sure(found: Finding) -> bool:
    """Say whether agreement grew by enough and not by chance, and outlines fit now.

    Outlines are asked for because pictures of one object are alike: what they gain they gain
    together, and by chance.
    """
    grown = gains(found.before, found.after)
    error = grown.std() / max(len(grown), 1) ** 0.5
    outlines = [fit.outline for fit in found.after if fit.outline is not None]
    fits = bool(outlines) and float(np.mean(outlines)) > OUTLINED
    return fits and bool(grown.mean() > max(LEAST_GAIN, SURE * error))


def gains(before: Sequence[Fit], after: Sequence[Fit]) -> Array:
    """Return by how much agreement grew, (n,)."""
    pairs = zip(before, after, strict=True)
    return np.array([last.agreement - first.agreement for first, last in pairs])
