"""Which layout a data set has."""

from pathlib import Path

from heatpose.data.source_bop import is_bop, read_bop
from heatpose.data.source_original import is_original, read_original
from heatpose.data.source_preprocessed import is_preprocessed, read_preprocessed
from heatpose.data.sources import Source
from heatpose.errors import DataError


def read_source(root: Path, split: str | None = None) -> Source:
    """Recognise the layout of a data set and read what is in it; pictures are read later.

    Args:
        root: the folder.
        split: of a BOP data set, the folder of scenes that is wanted; None for all.

    Raises:
        DataError: there is no such folder, its layout is not known, or a file is damaged.
    """
    if not root.is_dir():
        raise DataError(f"no folder at {root}")
    if is_preprocessed(root):
        return read_preprocessed(root)
    if is_original(root):
        return read_original(root)
    if is_bop(root):
        return read_bop(root, split)
    raise DataError(
        f"{root} has no layout that is known: BOP (SPLIT/000001/scene_gt.json), "
        "Linemod_preprocessed (data/01/gt.yml) or the LINEMOD archive of 2012 (ape/data/rot0.rot)"
    )
