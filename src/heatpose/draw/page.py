"""A page with pictures, the poses found in them, and where the time went: one HTML file."""

import base64
import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from html import escape
from pathlib import Path
from string import Template

import cv2

from heatpose.draw.overlay import how_sure
from heatpose.evaluate.comparison import Finding
from heatpose.files import write_whole
from heatpose.geometry.arrays import Image

_JPEG_QUALITY = 88


@dataclass(frozen=True, eq=False)
class PagePicture:
    """One picture, what was found in it, and how long that took."""

    name: str
    overlay: Image  # (h, w, 3), RGB
    stages: Mapping[str, float]  # ms by name, in the order in which they run
    total: float  # ms
    findings: Sequence[Finding]


def write_page(path: Path, pictures: Sequence[PagePicture], summary: str, machine: str) -> None:
    """Write the page, whole or not at all. It holds its pictures and needs nothing beside it.

    Args:
        path: the HTML file.
        pictures: what it shows.
        summary: one sentence over all pictures.
        machine: what the times were taken on.
    """
    template = Template(Path(__file__).with_name("page.html").read_text("utf-8"))
    page = template.substitute(
        summary=escape(summary),
        machine=escape(machine),
        pictures="\n".join(map(_picture, pictures)),
    )
    with write_whole(path) as part:
        part.write_text(page, encoding="utf-8")


def _picture(picture: PagePicture) -> str:
    n_poses = sum(one.estimate is not None for one in picture.findings)
    count = f"{n_poses or 'no'} pose{'s' * (n_poses != 1)}"
    name = escape(picture.name)
    return f"""<article>
<figure><img src="{_embedded(picture.overlay)}" alt="{name} with its poses drawn in"></figure>
<div class="facts">
<h2>{name} <small>{count} in {picture.total:.0f} ms</small></h2>
{_time(picture)}
{_table(picture.findings)}
</div>
</article>"""


def _embedded(image: Image) -> str:
    """Return a picture as a data URL."""
    bgr = cv2.cvtColor(image, cv2.COLOR_RGB2BGR)
    _, jpeg = cv2.imencode(".jpg", bgr, [cv2.IMWRITE_JPEG_QUALITY, _JPEG_QUALITY])
    return f"data:image/jpeg;base64,{base64.b64encode(jpeg.tobytes()).decode()}"


def _time(picture: PagePicture) -> str:
    """Return a bar of the stages, each as long as it took, and the numbers below."""
    bar = "".join(
        f'<span class="{escape(name)}" style="flex-grow:{ms:.3f}" '
        f'title="{escape(name)} {ms:.1f} ms"></span>'
        for name, ms in picture.stages.items()
    )
    numbers = "".join(
        f'<li><i class="{escape(name)}"></i>{escape(name)} <b>{ms:.1f}</b></li>'
        for name, ms in picture.stages.items()
    )
    return f'<div class="bar">{bar}</div>\n<ul class="stages">{numbers}<li>ms</li></ul>'


def _table(findings: Sequence[Finding]) -> str:
    if not findings:
        return '<p class="empty">Nothing is there, and nothing was found.</p>'
    heads = ("object", "", "sure", "ADD(-S), d", "off, mm", "turned, °", "x, y, z, mm")
    head = "".join(f"<th>{text}</th>" for text in heads)
    rows = "\n".join(map(_row, findings))
    return (
        f'<div class="scroll"><table>\n<thead><tr>{head}</tr></thead>\n'
        f"<tbody>\n{rows}\n</tbody></table></div>"
    )


def _row(one: Finding) -> str:
    sure = shift = turn = share = place = ""
    if one.estimate is not None:
        sure = how_sure(one.estimate)
        place = ", ".join(f"{value:.0f}" for value in one.estimate.camera_from_object[:3, 3])
    if one.deviation is not None:
        share, shift = f"{one.deviation.share:.3f}", f"{one.deviation.shift:.1f}"
        turn = f"{math.degrees(one.deviation.turn):.1f}"
    verdict = one.verdict
    mark = f'<span class="mark {verdict.replace(" ", "-")}">{verdict}</span>'
    cells = (escape(one.model.name), mark, sure, share, shift, turn, place)
    return f"<tr>{''.join(f'<td>{cell}</td>' for cell in cells)}</tr>"
