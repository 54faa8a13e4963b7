"""What the runs of a study share while they follow each other in one process.

Meshes, ray casters, frames and samples are made once: rows whose samples are alike get the same
ones, and what differs between rows is what they ask about.
"""

import time
from collections import OrderedDict
from collections.abc import Sequence
from dataclasses import replace
from functools import cached_property
from pathlib import Path

import numpy as np

from heatpose.data.backgrounds import Backgrounds
from heatpose.data.bop import BopDataset, Target
from heatpose.data.frames import Frame, frames_of_targets, with_depth_of, with_true_boxes
from heatpose.data.samples import Sample, SampleConfig, SampleMaker
from heatpose.objects.catalogue import ObjectModel
from heatpose.objects.chosen_keypoints import with_chosen_keypoints
from heatpose.objects.keypoints import Strategy, select_keypoints
from heatpose.render.raycast import Renderer
from heatpose.study.rows import Row, StudyOptions, TestSet
from heatpose.train.start import find_objects

MEMORY = 1.5e9  # bytes of samples that are kept


class Bench:
    """Everything that is read or made once for many runs."""

    def __init__(self, options: StudyOptions, workers: int = 0) -> None:
        """Take what all rows have in common, and the processes that make samples.

        Samples that others make are not shared: each process would keep its own.
        """
        self.options = options
        self._makers: dict[SampleConfig, SampleMaker] = {}
        self._keypoints: dict[tuple[Strategy | Path, int], list[ObjectModel]] = {}
        self._datasets: dict[TestSet, BopDataset] = {}
        self._frames: dict[TestSet, list[Frame]] = {}
        self._memory = SampleMemory(0 if workers else MEMORY)

    @cached_property
    def models(self) -> list[ObjectModel]:
        """The objects, with keypoints of some kind."""
        return find_objects([self.options.objects], None, 8, "fps")

    @cached_property
    def renderer(self) -> Renderer:
        """The objects, to be ray-cast."""
        return Renderer({one.object_id: one.mesh for one in self.models})

    @cached_property
    def backgrounds(self) -> Backgrounds:
        """What samples are pasted on."""
        return Backgrounds(self.options.backgrounds)

    def objects(self, row: Row) -> list[ObjectModel]:
        """Return the objects with the keypoints and symmetries of a row."""
        count = row.network.n_keypoints
        key = row.chosen or row.strategy, count
        if key not in self._keypoints:
            self._keypoints[key] = (
                with_chosen_keypoints(self.models, row.chosen, count)[0]
                if row.chosen
                else [
                    replace(model, keypoints=select_keypoints(model.mesh, row.strategy, count))
                    for model in self.models
                ]
            )
        objects = self._keypoints[key]
        if row.symmetric:
            return objects
        return [replace(model, symmetries=np.eye(4)[None]) for model in objects]

    def samples(self, row: Row) -> "SharedSamples":
        """Return what draws the samples of a row."""
        config = row.train.sample
        if config not in self._makers:
            self._makers[config] = SampleMaker(self.models, self.backgrounds, config, self.renderer)
        return SharedSamples(self._makers[config], self.objects(row), self._memory)

    def frames(self, test_set: TestSet) -> list[Frame]:
        """Return the images of a data set with their boxes, and their depth if they have any."""
        if test_set not in self._frames:
            dataset = self.dataset(test_set)
            known = [model.object_id for model in self.models]
            frames = frames_of_targets(dataset, test_set.boxes, known)
            if test_set.boxes is None:
                frames = with_true_boxes(frames, dataset)
            self._frames[test_set] = with_depth_of(frames, dataset)
        return self._frames[test_set]

    def dataset(self, test_set: TestSet) -> BopDataset:
        """Open a data set; its files are read once."""
        if test_set not in self._datasets:
            most = self.options.images
            self._datasets[test_set] = FewImages(test_set.root, test_set.split, most)
        return self._datasets[test_set]


class FewImages(BopDataset):
    """A data set of which some images are looked at, spread evenly over all that have targets."""

    def __init__(self, root: Path, split: str, most: int | None) -> None:
        """Look at so many images at most; None for all."""
        super().__init__(root, split)
        self.most = most

    def targets(self) -> list[Target]:
        """Return what is to be found in these images, in the order of the targets file."""
        targets = super().targets()
        images = sorted({(one.scene_id, one.image_id) for one in targets})
        if self.most is None or self.most >= len(images):
            return targets
        places = np.linspace(0, len(images) - 1, self.most).round().astype(int)
        chosen = {images[i] for i in places}
        return [one for one in targets if (one.scene_id, one.image_id) in chosen]


class SampleMemory:
    """Samples that were drawn, by what they were drawn with; the oldest go first."""

    def __init__(self, most: float) -> None:
        """Keep so many bytes of samples at most."""
        self.most = most
        self.bytes = 0.0
        self._samples: OrderedDict[tuple[int, int], Sample] = OrderedDict()

    def find(self, key: tuple[int, int]) -> Sample | None:
        """Return a sample, if it is there still."""
        return self._samples.get(key)

    def keep(self, key: tuple[int, int], sample: Sample) -> None:
        """Keep a sample, and let older ones go where there is no room."""
        self._samples[key] = sample
        self.bytes += _size(sample)
        while self.bytes > self.most:
            self.bytes -= _size(self._samples.popitem(last=False)[1])


class SharedSamples:
    """Draws what a maker draws, with other keypoints, and only once; see `SampleSource`."""

    def __init__(
        self, maker: SampleMaker, objects: Sequence[ObjectModel], memory: SampleMemory
    ) -> None:
        """Take a maker, and its objects with the keypoints that are wanted."""
        self.maker = maker
        self.objects = list(objects)
        self.memory = memory
        self.renderer = maker.renderer
        self.seconds = 0.0  # spent on drawing, in this process

    def __call__(self, rng: np.random.Generator) -> Sample:
        """Draw one sample; the same generator state gives the same sample."""
        key = id(self.maker), int(rng.bit_generator.state["state"]["state"])
        sample = self.memory.find(key)
        if sample is None:
            begun = time.monotonic()
            sample = self.maker(rng)
            self.seconds += time.monotonic() - begun
            self.memory.keep(key, sample)
        return sample


def _size(sample: Sample) -> float:
    return sample.crop.nbytes + (0 if sample.depth is None else sample.depth.nbytes) + 1000.0
