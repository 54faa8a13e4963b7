"""The archives of the BOP data sets, as https://huggingface.co/bop-benchmark offers them.

The server says what there is, how large, and its SHA-256; this table says what belongs together
and what is wanted where nobody says more. Archives in several volumes (.z01, .z02), as those of
some training images are, are not here.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

HOST = "https://huggingface.co"
OWNER = "bop-benchmark"


@dataclass(frozen=True)
class Archives:
    """A data set: each part is the archive NAME_PART.zip of the repository NAME."""

    title: str
    parts: Sequence[str]
    usual: Sequence[str]  # parts that are fetched unless others are asked for


def _archives(title: str, *parts: str, test: str) -> Archives:
    return Archives(title, ("base", "models", *parts), ("base", "models", test))


DATASETS: Mapping[str, Archives] = {
    "lm": _archives("LINEMOD", "test_all", "train_pbr", test="test_all"),
    "lmo": _archives(
        "LINEMOD-Occluded", "test_bop19", "test_all", "train", "train_pbr", test="test_bop19"
    ),
    "ycbv": _archives(
        "YCB-Video",
        *("test_bop19", "test_all", "train_real", "train_synt", "train_pbr"),
        test="test_bop19",
    ),
    "tless": _archives(
        "T-LESS",
        *("test_primesense_bop19", "test_primesense_all", "train_primesense", "train_pbr"),
        test="test_primesense_bop19",
    ),
    "tudl": _archives(
        "TU Dresden Light",
        *("test_bop19", "test_all", "train_real", "train_render", "train_pbr"),
        test="test_bop19",
    ),
    "icbin": _archives("IC-BIN", "test_bop19", "test_all", "train", "train_pbr", test="test_bop19"),
    "itodd": _archives("MVTec ITODD", "val", "test_bop19", "test_all", "train_pbr", test="val"),
    "hb": _archives(
        "HomebrewedDB",
        *("val_primesense", "val_kinect", "test_bop19", "test_primesense_all", "train_pbr"),
        test="val_primesense",
    ),
    "hope": _archives("HOPE", "val_realsense", "test_bop24", test="val_realsense"),
}
