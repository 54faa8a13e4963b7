"""Measure networks of colours and depth on depth of every quality: `heatpose synth --benchmark`.

    heatpose synth --benchmark rgbd-lmo --objects lmo/models --out rgbd-lmo
    python tools/measure_rgbd.py --dataset rgbd-lmo --bundle rgb=rgb.heatpose \\
        --bundle cross=cross.heatpose --out rgbd.json --plot rgbd.svg

prints Markdown tables: with every depth camera of every strength, with noise, holes and lower
resolutions, what each bundle scores in the true boxes, with and without the geometric step, for
objects that are at least 40 % visible and for all; and by how much depth makes it worse than a
network of colours, at worst. VSD is held to the true depth. A network of colours is asked once,
whatever the depth is; only the geometric step looks at that. Milliseconds are those of the
processor for one object, in one thread.

What was measured stays in the file --out: bundles may come one after the other, and all that are
there are printed and drawn.
"""

import argparse
import json
import sys
import time
from collections.abc import Sequence
from dataclasses import asdict, dataclass, replace
from pathlib import Path

import cv2
import numpy as np

from heatpose.data.bop import BopDataset
from heatpose.data.frames import Frame, frames_of_targets, with_true_boxes
from heatpose.data.visibility import visibility_of
from heatpose.draw.curves import Curve, draw_curves
from heatpose.evaluate.latency import machine
from heatpose.evaluate.quick_scores import KEYS, QuickReference, quick_scores
from heatpose.evaluate.scores import read_references
from heatpose.evaluate.worse_depth import (
    CONDITIONS,
    NO_DEPTH,
    TRUE_DEPTH,
    Condition,
    depth_under,
)
from heatpose.files import write_whole
from heatpose.geometry.arrays import Array, Depth
from heatpose.pipeline import PoseEstimator
from heatpose.types import Effort, PoseEstimate

WELL_SEEN = 0.4  # share of an object
HEADINGS = ("ADD(-S) 0.1 d", "0.05 d", "0.02 d", "AR_MSSD", "AR_VSD")


@dataclass(frozen=True)
class Row:
    """What a bundle scores under a condition."""

    bundle: str
    looks_at_depth: bool  # its network does
    condition: Condition
    geometry: bool  # depth corrected the poses
    scores: dict[str, list[float]]  # of objects at least 40 % visible, and of all
    milliseconds: float  # for one object, all but the detector


@dataclass(frozen=True, eq=False)
class Found:
    """What was found in a frame, and the time that it took, ms."""

    estimates: list[PoseEstimate]
    milliseconds: float


def main() -> None:
    """Measure what is asked for, print and draw all that is known."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--dataset", type=Path, required=True)
    parser.add_argument("--split", default="test")
    parser.add_argument("--bundle", action="append", default=[], metavar="NAME=PATH")
    parser.add_argument("--conditions", nargs="+", choices=CONDITIONS, default=list(CONDITIONS))
    parser.add_argument("--no-search", action="store_true", help="correct by depth alone")
    parser.add_argument("--looks", type=int, default=1, help="crops of each object")
    parser.add_argument("--passes", type=int, default=1, help="how often each is looked at")
    parser.add_argument("--images", type=int, help="so many of the data set, evenly chosen")
    parser.add_argument("--out", type=Path, required=True, help="file that holds what is known")
    parser.add_argument("--plot", type=Path, help="picture of the curves, .svg or .png")
    options = parser.parse_args()
    cv2.setNumThreads(1)
    study = Study(BopDataset(options.dataset, options.split), options.images)
    conditions = [one for way in options.conditions for one in CONDITIONS[way]]
    rows = read_rows(options.out)
    for given in options.bundle:
        name, path = given.split("=", 1)
        # Tables correct what depth would not: it starts from poses without.
        effort = Effort(looks=options.looks, passes=options.passes, geometry=False, table=False)
        estimator = PoseEstimator.load(Path(path), effort, threads=1)
        if options.no_search:
            estimator.search = None
        rows = [row for row in rows if row.bundle != name]
        rows += study.measure(name, estimator, [TRUE_DEPTH, *conditions])
        write_rows(options.out, rows)
    print(machine())
    print(f"{visibility_of(study.dataset)}; {len(study.frames)} images are looked at")
    for title, which in (("at least 40 % visible", 0), ("all", 1)):
        print_table(f"{title} ({study.counts[which]} objects)", rows, which)
    print_worst(rows)
    if options.plot:
        draw(options.plot, rows)


class Study:
    """A data set, and what it takes to judge poses in it."""

    def __init__(self, dataset: BopDataset, images: int | None) -> None:
        self.dataset = dataset
        objects = sorted({target.object_id for target in dataset.targets()})
        found = read_references(dataset, objects)
        self.references = {i: QuickReference.of(i, one) for i, one in found.items()}
        frames = with_true_boxes(frames_of_targets(dataset, None, objects), dataset)
        if images is not None and images < len(frames):
            frames = [
                frames[i] for i in np.linspace(0, len(frames) - 1, images).round().astype(int)
            ]
        self.frames = frames
        self.observations = [frame.read() for frame in frames]
        self.depths = [depth_under(dataset, frame.ids, TRUE_DEPTH) for frame in frames]
        seen = np.array([part for frame in frames for _, _, part in self.truths(frame)])
        self.well_seen = seen >= WELL_SEEN
        self.counts = (int(self.well_seen.sum()), len(seen))

    def truths(self, frame: Frame) -> list[tuple[int, Array, float]]:
        """Return object, pose and visible share of all that is to be found in a frame."""
        wanted = {found.object_id for found in frame.detections or ()}
        best: dict[int, tuple[int, Array, float]] = {}
        for truth, seen in self.dataset.objects_seen(*frame.ids):
            one = (truth.object_id, truth.camera_from_object, seen.visible_fraction)
            if one[0] in wanted and (one[0] not in best or best[one[0]][2] < one[2]):
                best[one[0]] = one
        return [best[object_id] for object_id in sorted(best)]

    def measure(
        self, name: str, estimator: PoseEstimator, conditions: Sequence[Condition]
    ) -> list[Row]:
        """Return the rows of a bundle."""
        plain = Row(name, estimator.wants_depth, NO_DEPTH, False, {}, 0.0)
        alone = self.found(estimator, [None] * len(self.frames))
        rows = [self.judged(plain, estimator, alone)]
        for condition in conditions:
            say(f"{name}, {condition.name}")
            depths = [depth_under(self.dataset, frame.ids, condition) for frame in self.frames]
            found = alone
            if estimator.wants_depth:
                found = self.found(estimator, depths)
                rows.append(self.judged(replace(plain, condition=condition), estimator, found))
            corrected = self.corrected(estimator, depths, found)
            row = replace(plain, condition=condition, geometry=True)
            rows.append(self.judged(row, estimator, corrected))
        return rows

    def found(self, estimator: PoseEstimator, depths: Sequence[Depth | None]) -> list[Found]:
        """Find what is in each frame, in its true boxes."""
        all_found = []
        for frame, plain, depth in zip(self.frames, self.observations, depths, strict=True):
            observation = replace(plain, depth=depth)
            start = time.process_time()
            found = estimator(observation, frame.detections)
            all_found.append(Found(found, 1e3 * (time.process_time() - start)))
        return all_found

    def corrected(
        self, estimator: PoseEstimator, depths: Sequence[Depth | None], found: Sequence[Found]
    ) -> list[Found]:
        """Let depth correct what was found in each frame."""
        all_corrected = []
        for plain, depth, one in zip(self.observations, depths, found, strict=True):
            start = time.process_time()
            poses = estimator.fit_depth(one.estimates, replace(plain, depth=depth))
            took = 1e3 * (time.process_time() - start)
            all_corrected.append(Found(poses, one.milliseconds + took))
        return all_corrected

    def judged(self, row: Row, estimator: PoseEstimator, found: Sequence[Found]) -> Row:
        """Return a row with its scores and times."""
        scores = []
        for frame, measured, one in zip(self.frames, self.depths, found, strict=True):
            poses = {e.object_id: e.camera_from_object for e in reversed(one.estimates)}
            assert measured is not None
            scores += [
                quick_scores(
                    poses.get(object_id),
                    truth,
                    self.references[object_id],
                    measured,
                    frame.camera,
                    estimator.renderer,
                )
                for object_id, truth, _ in self.truths(frame)
            ]
        table = np.array(scores)
        both = np.stack([table[self.well_seen].mean(axis=0), table.mean(axis=0)], axis=1)
        ms = sum(one.milliseconds for one in found) / self.counts[1]
        means = dict(zip(KEYS, both.round(5).tolist(), strict=True))
        return replace(row, scores=means, milliseconds=round(ms, 2))


def say(text: str) -> None:
    """Say how far it is."""
    print(text, file=sys.stderr, flush=True)


def read_rows(path: Path) -> list[Row]:
    """Read what was measured before."""
    if not path.is_file():
        return []
    stored = json.loads(path.read_text(encoding="utf-8"))
    return [Row(**{**one, "condition": Condition(**one["condition"])}) for one in stored]


def write_rows(path: Path, rows: Sequence[Row]) -> None:
    """Write all that is known."""
    with write_whole(path) as temporary:
        text = ",\n".join(json.dumps(asdict(row)) for row in rows)
        temporary.write_text(f"[\n{text}\n]\n", encoding="utf-8")


def print_table(title: str, rows: Sequence[Row], which: int) -> None:
    """Print all rows, one condition after the other and bundles side by side in each."""
    print(f"\n{title}\n\n| depth | bundle | geometry | {' | '.join(HEADINGS)} | ms |")
    print("|" + "---|" * (4 + len(HEADINGS)))
    conditions = list(dict.fromkeys(row.condition for row in rows))
    for row in sorted(rows, key=lambda row: conditions.index(row.condition)):
        cells = " | ".join(f"{100 * row.scores[key][which]:.1f}" for key in KEYS)
        geometry = "yes" if row.geometry else "no"
        print(
            f"| {row.condition.name} | {row.bundle} | {geometry} | {cells} "
            f"| {row.milliseconds:.1f} |"
        )


def print_worst(rows: Sequence[Row]) -> None:
    """Print by how much depth of any kind is worse than colours alone, at worst."""
    colours = [row for row in rows if row.condition == NO_DEPTH and not row.looks_at_depth]
    if not colours:
        return
    print(f"\nagainst {colours[0].bundle} without depth, over all objects, at worst\n")
    print("| bundle | geometry | ADD(-S) 0.1 d | AR_MSSD |\n|---|---|---|---|")
    ways = dict.fromkeys((row.bundle, row.geometry) for row in rows if row.condition != NO_DEPTH)
    for bundle, geometry in ways:
        cells = []
        for key in ("add_s_0.1d", "ar_mssd"):
            off = {
                row.condition.name: 100 * (row.scores[key][1] - colours[0].scores[key][1])
                for row in rows
                if (row.bundle, row.geometry) == (bundle, geometry)
            }
            worst = min(off, key=lambda name: off[name])
            cells.append(f"{off[worst]:+.1f} ({worst})")
        print(f"| {bundle} | {'yes' if geometry else 'no'} | {' | '.join(cells)} |")


def draw(path: Path, rows: Sequence[Row]) -> None:
    """Draw ADD(-S) 0.1 d of all objects over the strength of each condition."""
    panels: dict[str, list[Curve]] = {}
    ways = dict.fromkeys(row.condition.way for row in rows)
    for way in (way for way in ways if way not in ("none", "true")):
        for bundle in dict.fromkeys(row.bundle for row in rows):
            for geometry in (False, True):
                points = [
                    (row.condition.strength, 100 * row.scores["add_s_0.1d"][1])
                    for row in rows
                    if (row.bundle, row.geometry) == (bundle, geometry)
                    and row.condition.way in (way, "true")
                ]
                if points:
                    name = f"{bundle}, geometry" if geometry else bundle
                    panels.setdefault(way, []).append(Curve(name, points, dashed=not geometry))
        for row in rows:
            if row.condition == NO_DEPTH:
                last = max(one.condition.strength for one in rows if one.condition.way == way)
                score = 100 * row.scores["add_s_0.1d"][1]
                line = [(0.0, score), (last, score)]
                panels[way].append(Curve(f"{row.bundle}, no depth", line, dotted=True))
    titles = {
        "noise": "noise, mm",
        "holes": "holes, share",
        "resolution": "resolution, 1 / (1 + x)",
    }
    named = {titles.get(way, way.replace("_", " ") + ", strength"): panels[way] for way in panels}
    draw_curves(path, named, "ADD(-S) < 0.1 d, %")


if __name__ == "__main__":
    main()
