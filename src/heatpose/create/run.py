"""A creation from its start, or from where it was left, to the report."""

import logging
import tempfile
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from heatpose.create.calibration import calibrate_bundle
from heatpose.create.evaluation import evaluate_bundle
from heatpose.create.measure import measure_speeds
from heatpose.create.meshes import Part, as_record, look_at, read_written, write_models
from heatpose.create.networks import finder_sizes, train_finder, train_pose_network
from heatpose.create.plan import STEPS, CreateConfig, Plan, describe, duration, make_plan
from heatpose.create.report import summary, write_report
from heatpose.create.scenes import draw_scenes, open_scenes
from heatpose.create.work import WorkFolder, describe_request
from heatpose.data.bop import BopDataset
from heatpose.errors import DataError, OptionError
from heatpose.export.bundle import export_run
from heatpose.model.yolov10 import YoloConfig
from heatpose.synth.recipe import EngineName
from heatpose.train.detector_start import first_weights
from heatpose.train.start import open_trained

LOG = logging.getLogger(__name__)
NAMES = {"raycast": "ray cast", "pathtrace": "path traced"}  # of engines, for people


@dataclass(frozen=True)
class Created:
    """What there is in the end."""

    bundle: Path
    report: Path
    summary: str  # of the evaluation, in one sentence


def create(
    meshes: Sequence[Path],
    out: Path,
    config: CreateConfig,
    *,
    unit: str | None = None,
    work: Path | None = None,
    plan_only: bool = False,
) -> Created | None:
    """Make a bundle from CAD models, or go on with making it.

    Args:
        meshes: CAD files, numbered 1, 2, ..., or one BOP models folder.
        out: the bundle, NAME.heatpose; its report goes beside it.
        config: everything that can be chosen.
        unit: of CAD files; guessed if None.
        work: folder that keeps what every step has made; NAME.create beside the bundle if None.
        plan_only: say the plan and end.

    Returns:
        What was made; None if only the plan was asked for.

    Raises:
        OptionError: options make no sense, or the work folder was begun with others.
        DataError: a mesh or another file cannot be used.
    """
    _check_out(out)
    _check_inputs(config)
    folder = WorkFolder(work or out.with_name(f"{out.stem}.create"))
    request = describe_request(meshes, unit, config)
    plan = folder.begin(request)
    parts = look_at(meshes, unit)
    for part in parts:
        for warning in part.inspection.warnings:
            LOG.warning("%s: %s", part.name, warning)
    if plan is None:
        plan = _measured_plan(parts, config)
        _say(describe(plan, config))
        if not plan_only:
            folder.keep(request, plan)
    else:
        left = sum(plan.seconds[step] for step in STEPS if not folder.is_done(step))
        _say([*describe(plan, config), f"going on in {folder.folder}: about {duration(left)} left"])
    if plan_only:
        return None
    return _Creation(folder, parts, out, config, plan).run()


def _check_out(out: Path) -> None:
    if out.suffix != ".heatpose":
        raise OptionError(f"a bundle is called NAME.heatpose, got {out.name}")
    if out.is_dir():
        raise OptionError(f"{out} is a folder")
    if not out.parent.is_dir():
        raise DataError(f"there is no folder {out.parent} to write {out.name} to")


def _check_inputs(config: CreateConfig) -> None:
    """Say what is missing now, not after an hour."""
    for name, folder in (
        ("backgrounds", config.backgrounds),
        ("environments", config.environments),
    ):
        if folder is not None and not folder.is_dir():
            raise DataError(f"there is no folder {folder} ({name})")
    if config.backbone is not None and not config.backbone.is_file():
        raise DataError(f"there is no file {config.backbone} (backbone)")
    if config.init is not None:
        open_trained(config.init)
    if config.detector_init is not None:
        first_weights(config.detector_init, YoloConfig(1, config.size))


def _measured_plan(parts: Sequence[Part], config: CreateConfig) -> Plan:
    LOG.info("measuring how fast this machine is, up to a minute or two")
    with tempfile.TemporaryDirectory() as place:
        write_models(parts, Path(place) / "models")
        return make_plan(config, measure_speeds(Path(place), config), len(parts))


def _say(lines: Sequence[str]) -> None:
    for line in lines:
        LOG.info("%s", line)


class _Creation:
    """The steps, in their order; each can be begun again after an interruption."""

    def __init__(
        self, folder: WorkFolder, parts: Sequence[Part], out: Path, config: CreateConfig, plan: Plan
    ) -> None:
        self.folder = folder
        self.parts = parts
        self.out = out
        self.config = config
        self.plan = plan
        self.place = folder.folder

    def run(self) -> Created:
        """Do every step that is not done, and write the report."""
        steps: dict[str, Callable[[], dict[str, Any]]] = {
            "inspect": self.inspect,
            "scenes": self.scenes,
            "unseen": self.unseen,
            "keypoints": self.keypoints,
            "detector": self.detector,
            "export": self.export,
            "calibration": self.calibration,
            "evaluation": self.evaluation,
        }
        for number, (step, title) in enumerate(STEPS.items(), start=1):
            head = f"step {number} of {len(STEPS)}: {title}"
            if self.folder.is_done(step) and (step != "calibration" or self.out.exists()):
                LOG.info("%s, done before", head)
                continue
            LOG.info("%s, about %s", head, duration(self.plan.seconds[step]))
            with self.folder.timed(step):
                found = steps[step]()
            self.folder.done(step, found)
        return self.report()

    def inspect(self) -> dict[str, Any]:
        """Write the models in mm."""
        write_models(self.parts, self.place / "models")
        return as_record(self.parts)

    def scenes(self) -> dict[str, Any]:
        """Draw what is trained on."""
        made = []
        for engine, count in self._counts().items():
            root = self.place / "scenes" / engine
            drawn = draw_scenes(root, self._models, engine, count, self.config)
            made.append(f"{drawn.images} {NAMES[engine]} images")
        return {"made": ", ".join(made)}

    def unseen(self) -> dict[str, Any]:
        """Draw what is only looked at in the end, with another seed."""
        engine: EngineName = "pathtrace" if self.plan.pathtraced_scenes else "raycast"
        drawn = draw_scenes(
            self.place / "unseen",
            self._models,
            engine,
            self.plan.unseen_scenes,
            self.config,
            unseen=True,
        )
        return {"made": f"{drawn.images} {NAMES[engine]} images"}

    def keypoints(self) -> dict[str, Any]:
        """Train the keypoint network."""
        samples = self.plan.keypoint_samples
        train_pose_network(
            self.place / "keypoints",
            read_written(self._models),
            self._training_sets(),
            samples,
            self.config,
        )
        return {"made": f"{samples} samples"}

    def detector(self) -> dict[str, Any]:
        """Train the detector."""
        samples = self.plan.detector_samples
        train_finder(
            self.place / "detector",
            read_written(self._models),
            self._training_sets(),
            samples,
            self.config,
            keypoints=self.place / "keypoints",
        )
        return {"made": f"{samples} samples"}

    def export(self) -> dict[str, Any]:
        """Put both networks into a bundle."""
        trained = self._trained
        trained.parent.mkdir(exist_ok=True)
        report, _ = export_run(
            self.place / "keypoints",
            trained,
            detector=self.place / "detector",
            image_sizes=finder_sizes(self.config),
        )
        size = trained.stat().st_size / 1e6
        return {"made": f"{size:.0f} MB, keypoints as trained to {report.exact}"}

    def calibration(self) -> dict[str, Any]:
        """Let the bundle learn how likely its poses are right, and write it where it was asked."""
        dataset = open_scenes(self.place / "unseen")
        return {"made": calibrate_bundle(self._trained, self.out, dataset)}

    def evaluation(self) -> dict[str, Any]:
        """Estimate poses in the unseen scenes."""
        dataset = open_scenes(self.place / "unseen")
        return evaluate_bundle(self.out, dataset, self.place / "pictures")

    def report(self) -> Created:
        """Write what has come of it."""
        found = {step: self.folder.found(step) for step in STEPS}
        path = self.out.with_name(f"{self.out.stem}.report.html")
        sheets = [_last_sheet(self.place / run) for run in ("keypoints", "detector")]
        previews = [root / "preview.jpg" for root in self._roots()]
        pictures = {
            "Poses in unseen scenes": sorted((self.place / "pictures").glob("*.png")),
            "Training scenes": [path for path in previews if path.exists()],
            "Samples after the last epoch": [sheet for sheet in sheets if sheet is not None],
        }
        write_report(path, self.out.stem, found, self.plan, self.folder.seconds(), pictures)
        return Created(self.out, path, summary(found["evaluation"]))

    @property
    def _models(self) -> Path:
        return self.place / "models"

    @property
    def _trained(self) -> Path:
        """The bundle before its calibration, of the same name."""
        return self.place / "trained" / self.out.name

    def _counts(self) -> dict[EngineName, int]:
        counts: dict[EngineName, int] = {
            "raycast": self.plan.raycast_scenes,
            "pathtrace": self.plan.pathtraced_scenes,
        }
        return {engine: count for engine, count in counts.items() if count}

    def _roots(self) -> list[Path]:
        return [self.place / "scenes" / engine for engine in self._counts()]

    def _training_sets(self) -> list[BopDataset]:
        return [open_scenes(root) for root in self._roots()]


def _last_sheet(run: Path) -> Path | None:
    return max((run / "contact_sheets").glob("*.png"), default=None)
