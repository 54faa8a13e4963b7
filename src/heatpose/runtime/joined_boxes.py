"""What a detector finds in one picture shown in several sizes, or in a mirror, joined.

After Solovyev et al., "Weighted boxes fusion" (arXiv 1910.13302): boxes of the same class that lie
on each other become one, their mean weighted by the scores, and what only some of the looks show
counts for less.
"""

from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

from heatpose.geometry.boxes import intersection_over_union

SAME = 0.6  # intersection over union from which on two boxes of a class are one object's


def joined(looks: Sequence[NDArray[np.float32]]) -> NDArray[np.float32]:
    """Join what was found in several looks at one picture.

    Args:
        looks: what each found, (n, 6): left, top, right, bottom, px of the picture, score in [0, 1]
            and class.

    Returns:
        The same, (m, 6), in the order of their best boxes. Each best box takes one of its class
        from every other look, the best that lies on it; its score is the sum of theirs over the
        number of looks.
    """
    rows = np.concatenate(looks)
    look = np.repeat(np.arange(len(looks)), [len(one) for one in looks])
    order = np.argsort(-rows[:, 4], kind="stable")
    rows, look = rows[order], look[order]
    boxes = rows[:, :4].astype(float)
    same = intersection_over_union(boxes, boxes) >= SAME
    same &= rows[:, None, 5] == rows[None, :, 5]
    np.fill_diagonal(same, True)  # even a box without area is the same as itself
    left, together = np.ones(len(rows), bool), []
    for best in range(len(rows)):
        if not left[best]:
            continue
        on_it = np.flatnonzero(left & same[best])
        left[on_it] = False
        _, first_of_look = np.unique(look[on_it], return_index=True)
        members = on_it[first_of_look]
        scores = rows[members, 4]
        box = np.average(boxes[members], axis=0, weights=np.maximum(scores, 1e-9))
        together.append([*box, scores.sum() / len(looks), rows[best, 5]])
    return np.array(together, np.float32).reshape(-1, 6)
