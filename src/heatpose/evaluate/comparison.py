"""What was found in a picture beside what is there: each pose with its truth, if it has one."""

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass

from heatpose.data.bop_files import GroundTruth
from heatpose.evaluate.deviation import Deviation, deviation
from heatpose.objects.catalogue import ObjectModel
from heatpose.types import PoseEstimate

WITHIN = 0.1  # of the diameter: what the literature calls a right pose


@dataclass(frozen=True, eq=False)
class Finding:
    """An object that is there, was found, or both."""

    model: ObjectModel
    estimate: PoseEstimate | None  # None: it is there, and was not found
    deviation: Deviation | None  # None: it was not found, or is a false alarm

    @property
    def verdict(self) -> str:
        """Return in two words at most what to think of it."""
        if self.estimate is None:
            return "not found"
        if self.deviation is None:
            return "false alarm"
        return "right" if self.deviation.share < WITHIN else "off"


def compare_poses(
    estimates: Sequence[PoseEstimate],
    truth: Sequence[GroundTruth],
    models: Mapping[int, ObjectModel],
) -> list[Finding]:
    """Give each instance that is there the estimate that is nearest to it, each at most once.

    Pairs are made in the order of their ADD, or ADD-S for symmetric objects.

    Returns:
        One for each instance that is there, by object id, and after them the false alarms, best
        first.
    """
    offs = [
        (deviation(one.camera_from_object, there.camera_from_object, models[one.object_id]), i, j)
        for i, one in enumerate(estimates)
        for j, there in enumerate(truth)
        if one.object_id == there.object_id
    ]
    used: set[int] = set()
    findings: dict[int, Finding] = {}  # by number of the instance
    for off, i, j in sorted(offs, key=lambda pair: pair[0].share):
        if i not in used and j not in findings:
            used.add(i)
            findings[j] = Finding(models[estimates[i].object_id], estimates[i], off)
    for j, there in enumerate(truth):
        findings.setdefault(j, Finding(models[there.object_id], None, None))
    alarms = [one for i, one in enumerate(estimates) if i not in used]
    return [
        *sorted((findings[j] for j in range(len(truth))), key=lambda one: one.model.object_id),
        *(Finding(models[one.object_id], one, None) for one in alarms),
    ]


def summary(findings: Iterable[Finding]) -> str:
    """Return in one sentence how many are right, of how many that are there."""
    verdicts = [one.verdict for one in findings]
    alarms = verdicts.count("false alarm")
    return (
        f"{verdicts.count('right')} of {len(verdicts) - alarms} poses within {WITHIN} diameters "
        f"of the truth (ADD; ADD-S for symmetric objects), "
        f"{alarms or 'no'} false alarm{'s' * (alarms != 1)}"
    )
