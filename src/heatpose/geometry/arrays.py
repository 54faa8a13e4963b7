"""Names for the arrays that everything is made of."""

from typing import TypeAlias

import numpy as np
from numpy.typing import NDArray

Array: TypeAlias = NDArray[np.float64]
Image: TypeAlias = NDArray[np.uint8]  # (h, w, 3), RGB
Depth: TypeAlias = NDArray[np.float32]  # (h, w), mm along z, NaN where nothing was measured
Mask: TypeAlias = NDArray[np.bool_]
Box: TypeAlias = tuple[float, float, float, float]  # left, top, right, bottom, px
