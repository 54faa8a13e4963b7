"""How fast this machine is at each of the things that a creation does."""

import json
import time
from collections.abc import Sequence
from dataclasses import replace
from functools import partial
from pathlib import Path

from heatpose.create import networks, scenes
from heatpose.create.meshes import read_written
from heatpose.create.plan import CreateConfig, Speeds
from heatpose.data.bop import BopDataset
from heatpose.objects.catalogue import ObjectModel
from heatpose.render.variants import usable_variants
from heatpose.synth.recipe import EngineName

ESTIMATE = 0.3  # seconds an image on two cores, with scoring: of no weight in a plan
WELL = 0.3  # share of an object that is seen
STEPS = 6  # of training that are timed, after as many that are not


def measure_speeds(place: Path, config: CreateConfig) -> Speeds:
    """Draw a few scenes and train both networks for a few steps.

    Args:
        place: folder with ``models`` as `write_models` leaves it; everything else goes there too.
        config: what will be done.
    """
    models_folder = place / "models"
    cast = _seconds_per_image(place / "raycast", models_folder, "raycast", config)
    traced = None
    if config.pathtrace and not config.on_device and usable_variants():
        traced = _seconds_per_image(place / "pathtrace", models_folder, "pathtrace", config)
    models, drawn = read_written(models_folder), scenes.open_scenes(place / "raycast")
    found = models if config.on_device else _seen(models, drawn)
    find = partial(networks.train_finder, keypoints=place / "keypoints")
    speeds, starts = {}, []
    for name, train, batch, objects, cut_from in (
        ("keypoints", networks.train_pose_network, config.keypoint_batch, models, []),
        ("detector", find, config.detector_batch, found, [drawn]),
    ):
        begun = time.monotonic()
        # Of two epochs the second is timed: by then all processes run.
        train(place / name, objects, cut_from, 2 * STEPS * batch, config, 2)
        speeds[name] = _last_speed(place / name)
        starts.append(time.monotonic() - begun - 2 * STEPS * batch / speeds[name])
    return Speeds(
        raycast=cast,
        pathtraced=traced,
        keypoints=speeds["keypoints"],
        detector=speeds["detector"],
        estimate=ESTIMATE,
        fixed=max(*starts, 1.0),
    )


def _seconds_per_image(root: Path, models: Path, engine: EngineName, config: CreateConfig) -> float:
    """Draw one scene for each process."""
    few = replace(config, views=min(config.views, 2))
    return scenes.draw_scenes(root, models, engine, config.workers, few).seconds_per_image


def _seen(models: Sequence[ObjectModel], drawn: BopDataset) -> list[ObjectModel]:
    """Return the objects that so few scenes happen to show well."""
    ids = {
        truth.object_id
        for scene_id in drawn.scene_ids()
        for image_id in drawn.image_ids(scene_id)
        for truth, seen in drawn.objects_seen(scene_id, image_id)
        if seen.visible_fraction > WELL
    }
    return [model for model in models if model.object_id in ids]


def _last_speed(run: Path) -> float:
    """Return the samples per second of the last epoch."""
    last = (run / "log.jsonl").read_text().splitlines()[-1]
    return float(json.loads(last)["samples_per_second"])
