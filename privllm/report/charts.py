"""Charts as SVG text in the colours of the page's theme.

Altair describes a chart and vl-convert draws it. The result is plain SVG with no script, no link and no
embedded font, whose colours are the page's CSS variables. `page` decides which numbers get a chart.
"""

import re
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import altair as alt
import vl_convert

from privllm.core.printable import printable

WIDTH = 440  # pixels: the text stays readable at 390 px, and two charts fit side by side on a desktop page
LETTER = 7.4  # pixels of a label's letter: the page's font may be wider than the one vl-convert measures with
# Both ends of a long label say more than its beginning.
SHORTENED = "length(datum.label) > 18 ? slice(datum.label, 0, 9) + '…' + slice(datum.label, -8) : datum.label"
MAX_POINTS = 300  # of a curve; more cannot be seen at this width
# Placeholder colours: each is replaced by the CSS variable of its role (see template.html.j2).
INK, MUTED, GRID, FIRST, SECOND = "#010203", "#010204", "#010205", "#010206", "#010207"
VARIABLES = {INK: "--ink", MUTED: "--muted", GRID: "--line", FIRST: "--series-1", SECOND: "--series-2"}

Point = tuple[float, float]


def read_curve(path: Path) -> list[Point]:
    """Read (step, loss) of a DVCLive `loss.tsv`; empty where there is no such file."""
    if not path.is_file():
        return []
    header, *lines = path.read_text("utf-8").splitlines() or [""]
    columns = header.split("\t")
    if "step" not in columns or "loss" not in columns:
        return []
    step, loss = columns.index("step"), columns.index("loss")
    points = []
    for line in lines:
        if line.strip():
            cells = line.split("\t")
            points.append((float(cells[step]), float(cells[loss])))
    return points


def thin(points: Sequence[Point], limit: int = MAX_POINTS) -> list[Point]:
    """Return at most `limit` points: means of chunks of equal length, the last one perhaps shorter."""
    chunk_length = -(-len(points) // limit) or 1
    means = []
    for start in range(0, len(points), chunk_length):
        chunk = points[start : start + chunk_length]
        mean = sum(y for _, y in chunk) / len(chunk)
        means.append((chunk[-1][0], mean))
    return means


def loss_chart(train: Sequence[Point], validation: Sequence[Point], tokens_per_step: float | None) -> str:
    """Draw training and validation loss (nats per token) against tokens seen.

    Against steps where `tokens_per_step` is unknown.
    """
    scale = tokens_per_step or 1.0
    series = {"training": thin(train), "validation": thin(validation)}
    rows = []
    for name, points in series.items():
        rows += [{"x": x * scale, "loss": y, "series": name} for x, y in points]
    names = [name for name, points in series.items() if points]
    colours = [{"training": FIRST, "validation": SECOND}[name] for name in names]
    x_title = "tokens seen" if tokens_per_step else "steps"
    base = alt.Chart(alt.Data(values=rows)).encode(
        x=alt.X("x:Q", title=x_title, axis=alt.Axis(format="~s", tickCount=5, grid=False)),
        y=alt.Y(
            "loss:Q",
            title="nats per token",
            scale=alt.Scale(zero=False, nice=True),
            axis=alt.Axis(tickCount=5),
        ),
        color=alt.Color(
            "series:N",
            scale=alt.Scale(domain=names, range=colours),
            legend=alt.Legend(title=None, orient="top", symbolType="stroke"),
        ),
    )
    line = base.mark_line(strokeWidth=2, strokeJoin="round")
    dots = base.transform_filter("datum.series == 'validation'").mark_point(filled=True, size=28, opacity=1)
    return svg(alt.layer(line, dots), "loss", height=240)


def bar_chart(name: str, values: Mapping[str, float], title: str, number_format: str) -> str:
    """Draw horizontal bars in the given order, each with its number at the end."""
    # The renderer aborts the process at a control character.
    values = {printable(key): value for key, value in values.items()}
    rows = [{"name": key, "value": value} for key, value in values.items()]
    longest = max(map(len, values), default=0)
    top = max(values.values(), default=1.0) or 1.0
    base = alt.Chart(alt.Data(values=rows)).encode(
        y=alt.Y(
            "name:N",
            title=None,
            sort=list(values),
            axis=alt.Axis(labelLimit=0, labelExpr=SHORTENED, minExtent=LETTER * min(18, longest), labelColor=INK),
        ),
        x=alt.X(
            "value:Q",
            title=title,
            scale=alt.Scale(domain=[0, top * 1.18]),
            axis=alt.Axis(tickCount=4, format=number_format),
        ),
    )
    bars = base.mark_bar(color=FIRST, height={"band": 0.62}, cornerRadiusEnd=2)
    text = alt.Text("value:Q", format=number_format)
    labels = base.mark_text(align="left", dx=5, color=INK, fontSize=12).encode(text=text)
    return svg(alt.layer(bars, labels), name, height=max(2, len(rows)) * 24)


def svg(chart: Any, name: str, height: int) -> str:
    """Render a chart as SVG; `name` makes its element ids unique on the page."""
    text = vl_convert.vegalite_to_svg(_style(chart.properties(width=WIDTH, height=height)).to_dict())
    for colour, variable in VARIABLES.items():
        text = text.replace(colour, f"var({variable})")
    # vl-convert counts ids over the life of the process: number them again, in the order of the text.
    identifiers = dict.fromkeys(re.findall(r'\bid="([^"]+)"', text))
    for index, identifier in enumerate(identifiers):
        escaped = re.escape(identifier)
        text = re.sub(rf'(?<=id="){escaped}(?=")|(?<=url\(#){escaped}(?=\))', f"{name}-{index}", text)
    # The element scales with its column: the view box keeps the proportions.
    size = r'<svg ([^>]*?)width="([\d.]+)" height="([\d.]+)"'
    return re.sub(size, r'<svg \1style="width:100%;height:auto"', text, count=1)


def _style(chart: Any) -> Any:
    font = "system-ui, sans-serif"
    text = {
        "labelFont": font,
        "titleFont": font,
        "labelFontSize": 12,
        "titleFontSize": 12,
        "titleFontWeight": "normal",
        "labelColor": MUTED,
        "titleColor": MUTED,
    }
    return (
        chart.configure(
            background="transparent",
            aria=False,
            font=font,
            padding={"left": 2, "right": 6, "top": 2, "bottom": 2},
            autosize=_fit(),
        )
        .configure_view(stroke=None)
        .configure_axis(**text, gridColor=GRID, domainColor=GRID, tickColor=GRID, tickSize=4, labelPadding=4)
        .configure_axisY(domain=False, ticks=False, titlePadding=8)
        .configure_legend(labelFont=font, labelFontSize=12, labelColor=INK, symbolStrokeWidth=3)
    )


def _fit() -> alt.AutoSizeParams:
    return alt.AutoSizeParams(type="fit-x", contains="padding")
