"""The report of a creation: one HTML page that holds its pictures."""

import base64
from collections.abc import Mapping, Sequence
from html import escape
from pathlib import Path
from string import Template
from typing import Any

import cv2

from heatpose.create.plan import STEPS, Plan, duration
from heatpose.data.images import read_image
from heatpose.files import write_whole

WIDEST = 1000  # px of a picture in the page
POSE_SCORES = {
    "ar_mssd": "AR MSSD",
    "ar_mspd": "AR MSPD",
    "add_s_0.1d": "ADD(-S) 0.1 d",
    "proj_5px": "within 5 px",
}
BOX_SCORES = {"ap": "mAP50-95", "ap50": "mAP50", "recall50": "recall"}


def write_report(
    path: Path,
    name: str,
    found: Mapping[str, Mapping[str, Any]],
    plan: Plan,
    seconds: Mapping[str, float],
    pictures: Mapping[str, Sequence[Path]],
) -> None:
    """Write the page, whole or not at all.

    Args:
        path: the HTML file.
        name: of the bundle.
        found: what each step found.
        plan: how long they should have taken.
        seconds: how long they took.
        pictures: files, by the heading that they stand under.
    """
    template = Template(Path(__file__).with_name("report.html").read_text("utf-8"))
    names = {str(one["id"]): one["name"] for one in found["inspect"]["objects"]}
    page = template.substitute(
        name=escape(name),
        summary=escape(summary(found["evaluation"])),
        scores=_scores(found["evaluation"], names),
        steps=_steps(found, plan, seconds),
        warnings=_warnings(found["inspect"]),
        pictures="\n".join(_gallery(title, files) for title, files in pictures.items() if files),
    )
    with write_whole(path) as part:
        part.write_text(page, encoding="utf-8")


def summary(evaluation: Mapping[str, Any]) -> str:
    """Return what the evaluation says, in a sentence."""
    poses, boxes = evaluation["poses"], evaluation["detections"]["mean"]
    return (
        f"on {poses['targets']} targets in {evaluation['images']} unseen rendered images: "
        f"ADD(-S) within 0.1 diameters {_shown(poses['mean']['add_s_0.1d'])}, "
        f"AR_MSSD {_shown(poses['mean']['ar_mssd'])}, AR_MSPD {_shown(poses['mean']['ar_mspd'])}, "
        f"found by the detector {_shown(boxes['recall50'])}, mAP {_shown(boxes['ap'])}; "
        f"{evaluation['ms']:.0f} ms an image"
    )


def _shown(score: float | None) -> str:
    return "-" if score is None else f"{score:.3f}"


def _scores(evaluation: Mapping[str, Any], names: Mapping[str, str]) -> str:
    """Return the table of scores, a line for each object and one for all."""
    poses, boxes = evaluation["poses"], evaluation["detections"]
    rows = [
        (names.get(i, i), poses["objects"][i], boxes["objects"].get(i, {}))
        for i in poses["objects"]
    ]
    rows.append(("all", poses["mean"], boxes["mean"]))
    lines = [
        [name]
        + [_shown(of_poses[key]) for key in POSE_SCORES]
        + [_shown(of_boxes.get(key)) for key in BOX_SCORES]
        for name, of_poses, of_boxes in rows
    ]
    return _table(["object", *POSE_SCORES.values(), *BOX_SCORES.values()], lines)


def _steps(found: Mapping[str, Mapping[str, Any]], plan: Plan, seconds: Mapping[str, float]) -> str:
    lines = [
        [
            title,
            str(found[step].get("made", "")),
            duration(plan.seconds[step]),
            duration(seconds[step]),
        ]
        for step, title in STEPS.items()
    ]
    lines.append(["in all", "", duration(plan.total), duration(sum(seconds.values()))])
    return _table(["step", "", "planned", "took"], lines)


def _warnings(inspected: Mapping[str, Any]) -> str:
    lines = [
        f"<li>{escape(one['name'])}: {escape(text)}</li>"
        for one in inspected["objects"]
        for text in one["warnings"]
    ]
    return f"<h2>To know about the meshes</h2>\n<ul>{''.join(lines)}</ul>" if lines else ""


def _table(heads: Sequence[str], lines: Sequence[Sequence[str]]) -> str:
    head = "".join(f"<th>{escape(text)}</th>" for text in heads)
    body = "\n".join(
        "<tr>" + "".join(f"<td>{escape(text)}</td>" for text in line) + "</tr>" for line in lines
    )
    return (
        f'<div class="scroll"><table><thead><tr>{head}</tr></thead>\n'
        f"<tbody>{body}</tbody></table></div>"
    )


def _gallery(title: str, files: Sequence[Path]) -> str:
    images = "\n".join(f'<img src="{_embedded(path)}" alt="{escape(path.stem)}">' for path in files)
    wide = " wide" if len(files) == 1 else ""
    return f'<h2>{escape(title)}</h2>\n<div class="gallery{wide}">{images}</div>'


def _embedded(path: Path) -> str:
    """Return a picture as a data URL."""
    image = read_image(path)
    scale = min(WIDEST / image.shape[1], 1.0)
    small = cv2.resize(image, None, fx=scale, fy=scale, interpolation=cv2.INTER_AREA)
    _, jpeg = cv2.imencode(".jpg", small[..., ::-1], [cv2.IMWRITE_JPEG_QUALITY, 85])
    return f"data:image/jpeg;base64,{base64.b64encode(jpeg.tobytes()).decode()}"
