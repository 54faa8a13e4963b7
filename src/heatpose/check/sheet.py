"""A picture of what a check has looked at: ground truth over pictures, and beside what is drawn."""

from collections.abc import Sequence

import cv2
import numpy as np

from heatpose.check.fit import Fit, Fitter, Scene
from heatpose.check.report import Report
from heatpose.check.views import View, spread_views, views_of
from heatpose.draw.overlay import INLIER, OUTLIER, PAPER, Overlay
from heatpose.geometry.arrays import Image, Mask
from heatpose.geometry.boxes import box_of_points
from heatpose.geometry.transforms import transform_points
from heatpose.objects.catalogue import ObjectModel
from heatpose.render.shading import shade
from heatpose.types import Observation, PoseEstimate

TILE, COLUMNS, ROWS = 240, 6, 4  # px of a tile; a view takes two tiles side by side
FRAMES = 3  # whole pictures, above


def check_sheet(report: Report) -> Image:
    """Draw some pictures whole, with the truth over them, and below some objects from near.

    Of each object the picture comes first, with its outline where the data set puts it (red where
    it was found to be wrong, and green once it is put right), then what is drawn there. The number
    behind a name is its agreement.
    """
    whole = _frames(report)
    rights = dict(zip(map(id, report.views), report.outcome.views, strict=True))
    chosen = spread_views(report.views, COLUMNS // 2 * ROWS)
    fits = dict(zip(map(id, report.views), report.outcome.fits, strict=True))
    pairs = [_pair(report.fitter, one, rights[id(one)], fits[id(one)]) for one in chosen]
    pairs += [np.full_like(pairs[0], 255)] * (-len(pairs) % (COLUMNS // 2))
    each = COLUMNS // 2
    rows = [np.hstack(pairs[i : i + each]) for i in range(0, len(pairs), each)]
    return np.vstack([whole, *rows])


def _frames(report: Report) -> Image:
    """Draw whole pictures side by side, as wide as the tiles below."""
    pictures = list({id(view.picture): view.picture for view in report.views}.values())
    places = np.linspace(0, len(pictures) - 1, min(FRAMES, len(pictures))).round().astype(int)
    overlay = Overlay([_model(report, one) for one in sorted(report.fitter.meshes)])
    width = TILE * COLUMNS // FRAMES
    drawn = []
    for place in places:
        views = views_of(pictures[place], report.fitter.meshes)
        picture = overlay.draw(
            Observation(pictures[place].image, pictures[place].camera),
            [_estimate(report.fitter, view, report.fitter(view)) for view in views],
        )
        height = round(picture.shape[0] * width / picture.shape[1])
        drawn.append(cv2.resize(picture, (width, height), interpolation=cv2.INTER_AREA))
    height = max(len(one) for one in drawn)
    canvas = np.full((height, TILE * COLUMNS, 3), 255, np.uint8)
    for place, one in enumerate(drawn):
        canvas[: len(one), place * width : (place + 1) * width] = one
    return canvas


def _model(report: Report, object_id: int) -> ObjectModel:
    mesh, size = report.fitter.meshes[object_id], report.fitter.diameters[object_id]
    name = str(report.source.models[object_id].info.get("name", object_id))
    return ObjectModel(object_id, name, mesh, mesh.corners, np.eye(4)[None], size)


def _estimate(fitter: Fitter, view: View, fit: Fit) -> PoseEstimate:
    corners = transform_points(view.camera_from_object, fitter.meshes[view.object_id].corners)
    in_front = corners[corners[:, 2] > 0]
    seen = len(in_front) == len(corners)
    box = box_of_points(view.camera.project(in_front)) if seen else (0.0, 0.0, 1.0, 1.0)
    return PoseEstimate(
        object_id=view.object_id,
        camera_from_object=view.camera_from_object,
        score=fit.agreement,
        covariance=np.eye(6),
        keypoints=np.zeros((0, 2)),
        inliers=np.zeros(0, bool),
        box=box,
    )


def _pair(fitter: Fitter, view: View, right: View, fit: Fit) -> Image:
    """Draw one object: the picture with outlines, and what is drawn there."""
    wrong = right is not view
    # What was put right shows where to look; else where the data set says.
    scene = fitter.scene(right) or fitter.scene(view)
    if scene is None:
        blank = np.full((TILE, 2 * TILE, 3), 255, np.uint8)
        return _written(blank, f"{view}: out of sight")
    seen = _enlarged(np.clip(scene.colours, 0, 255).astype(np.uint8))
    drawn = seen.copy()
    _outline(seen, scene.rendering.full_masks[0], INLIER)
    if wrong:
        _outline(seen, _silhouette(fitter, view, scene), OUTLIER)
    image = _enlarged(shade(scene.rendering, scene.camera))
    shown = _enlarged((scene.rendering.mask(0) * 255).astype(np.uint8)) > 127
    drawn[shown] = image[shown]
    return _written(np.hstack([seen, drawn]), f"{view}  {fit.agreement:.2f}")


def _silhouette(fitter: Fitter, view: View, scene: Scene) -> Mask:
    """Return where the data set has an object, in the crop of another view of it, (s, s)."""
    depth = fitter.depth_in(view, scene)
    mask: Mask = np.isfinite(depth)
    return mask


def _enlarged(image: Image) -> Image:
    larger = cv2.resize(image, (TILE, TILE), interpolation=cv2.INTER_LINEAR)
    return np.asarray(larger, np.uint8)


def _outline(picture: Image, mask: Mask, colour: Sequence[int]) -> None:
    larger = cv2.resize(mask.astype(np.uint8), (TILE, TILE), interpolation=cv2.INTER_LINEAR)
    contours, _ = cv2.findContours(larger, cv2.RETR_EXTERNAL, cv2.CHAIN_APPROX_NONE)
    cv2.drawContours(picture, contours, -1, tuple(colour), 2, cv2.LINE_AA)


def _written(picture: Image, text: str) -> Image:
    font = cv2.FONT_HERSHEY_SIMPLEX
    cv2.rectangle(picture, (0, 0), (7 * len(text), 16), PAPER, -1)
    cv2.putText(picture, text, (3, 12), font, 0.4, (255, 255, 255), 1, cv2.LINE_AA)
    return picture
