"""Several looks at one object: its box, nearer and farther."""

from collections.abc import Sequence

from heatpose.types import Detection

# Sides of the crops of further looks over that of the first.
ZOOMS = (0.9, 1.15)


def further_looks(detections: Sequence[Detection], looks: int) -> list[Detection]:
    """Return the boxes of all looks but the first: of the second at each object, then the third.

    Args:
        detections: the boxes of the first look.
        looks: how many there are of each, up to `heatpose.types.MOST_LOOKS`.
    """
    return [_zoomed(one, zoom) for zoom in ZOOMS[: looks - 1] for one in detections]


def _zoomed(found: Detection, zoom: float) -> Detection:
    """Make the box larger or smaller around its middle."""
    left, top, right, bottom = found.box
    x, y = (left + right) / 2, (top + bottom) / 2
    across, down = zoom * (right - left) / 2, zoom * (bottom - top) / 2
    return Detection(found.object_id, (x - across, y - down, x + across, y + down), found.score)
