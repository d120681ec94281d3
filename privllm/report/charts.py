"""Charts as SVG text in the colours of the page's theme.

Plain SVG with no script, link, identifier or embedded font. Its colours are the page's CSS variables, so it
follows light and dark. `page` decides which numbers get a chart; other kinds of charts are not drawn here.
"""

import math
from collections.abc import Iterable, Mapping, Sequence
from html import escape
from pathlib import Path

from privllm.core.printable import printable

WIDTH = 440  # pixels: the text stays readable at 390 px, and two charts fit side by side on a desktop page
LETTER = 7.4  # pixels of a label's letter, in the widest of the page's fonts
FONT = 'font-family="system-ui, sans-serif" font-size="12"'
MAX_LABEL = 18  # letters; of a longer label both ends are shown
MAX_POINTS = 300  # of a curve; more cannot be seen at this width
PLOT_TOP, PLOT_BOTTOM = 30, 246  # of the loss chart
ROW = 24  # height of a bar with the space around it
COLOURS = {"training": "--series-1", "validation": "--series-2"}
SUFFIXES = ((1e12, "T"), (1e9, "B"), (1e6, "M"), (1e3, "k"))

Point = tuple[float, float]


def read_curve(path: Path) -> list[Point]:
    """Read (step, loss) of a training's `loss.tsv`; empty where there is no such file."""
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


def ticks(low: float, high: float, count: int) -> list[float]:
    """Return about `count` (4 or more) round numbers between `low` and `high`, 1, 2 or 5 times a power of ten apart."""
    magnitude = 10.0 ** math.floor(math.log10((high - low) / count))
    step = min((magnitude * factor for factor in (1, 2, 5, 10)), key=lambda step: abs((high - low) / step - count))
    first, last = math.ceil(low / step - 1e-9), math.floor(high / step + 1e-9)
    return [index * step for index in range(first, last + 1)]


def short_number(value: float, step: float) -> str:
    """Format a number of an axis whose numbers are `step` apart: 0, 250k, 1.5M."""
    for size, suffix in SUFFIXES:
        if value >= size:
            digits = _with_decimals(value / size, step / size)
            return (digits.rstrip("0").rstrip(".") if "." in digits else digits) + suffix
    return _with_decimals(value, step)


def loss_chart(train: Sequence[Point], validation: Sequence[Point], tokens_per_step: float | None) -> str:
    """Draw training and validation loss (nats per token) against tokens seen.

    Against steps where `tokens_per_step` is unknown.
    """
    scale = tokens_per_step or 1.0
    x_title = "tokens seen" if tokens_per_step else "steps"
    curves: dict[str, list[Point]] = {}
    for name, points in {"training": train, "validation": validation}.items():
        if points:
            curves[name] = [(x * scale, y) for x, y in thin(points)]
    xs = [x for points in curves.values() for x, _ in points]
    x_end = max(xs, default=0.0) or 1.0
    low, high = _with_margin([y for points in curves.values() for _, y in points])
    x_ticks, y_ticks = ticks(0.0, x_end, 6), ticks(low, high, 5)
    y_labels = [_with_decimals(value, y_ticks[1] - y_ticks[0]) for value in y_ticks]
    left = 24 + LETTER * max(map(len, y_labels))
    right = WIDTH - 16

    def across(x: float) -> float:
        return left + (right - left) * x / x_end

    def down(y: float) -> float:
        return PLOT_BOTTOM - (PLOT_BOTTOM - PLOT_TOP) * (y - low) / (high - low)

    parts = [_legend(curves, left), _line(left, PLOT_BOTTOM, right, PLOT_BOTTOM)]
    for value, label in zip(y_ticks, y_labels, strict=True):
        parts.append(_line(left, down(value), right, down(value)))
        parts.append(_text(left - 6, down(value) + 4, label, "end"))
    for value in x_ticks:
        parts.append(_line(across(value), PLOT_BOTTOM, across(value), PLOT_BOTTOM + 4))
        parts.append(_text(across(value), PLOT_BOTTOM + 18, short_number(value, x_ticks[1]), "middle"))
    parts.append(_text((left + right) / 2, PLOT_BOTTOM + 36, x_title, "middle"))
    middle = (PLOT_TOP + PLOT_BOTTOM) / 2
    parts.append(_text(12, middle, "nats per token", "middle", f' transform="rotate(-90 12 {middle:g})"'))
    for name, points in curves.items():
        parts.append(_curve(name, [(across(x), down(y)) for x, y in points]))
    for name, points in curves.items():
        parts += [_hover(across(x), down(y), f"{name} {y:.4g}, {x_title} {x:,.0f}") for x, y in points]
    ends = ", ".join(f"{name} {points[-1][1]:.4g}" for name, points in curves.items())
    return _svg(f"Loss in nats per token against {x_title}; at the end: {ends or 'no points'}", PLOT_BOTTOM + 42, parts)


def bar_chart(values: Mapping[str, float], title: str, number_format: str) -> str:
    """Draw horizontal bars in the given order, each with its number at the end."""
    values = {printable(key): value for key, value in values.items()}
    labels = {name: _shortened(name) for name in values}
    left = 6 + LETTER * max(map(len, labels.values()), default=0)
    right = WIDTH - 24
    top = max(values.values(), default=0.0) or 1.0
    longest = left + (right - left) / 1.18  # where the longest bar ends: its number needs room behind it
    bottom = ROW * max(2, len(values)) + 4

    def across(value: float) -> float:
        return left + (longest - left) * value / top

    parts = []
    for value in ticks(0.0, top * 1.18, 4):
        parts.append(_line(across(value), 2, across(value), bottom))
        parts.append(_text(across(value), bottom + 16, format(value, number_format), "middle"))
    parts.append(_text((left + right) / 2, bottom + 34, title, "middle"))
    for row, (name, value) in enumerate(values.items()):
        y = 4 + ROW * row
        number = format(value, number_format)
        parts.append(
            f"<g><title>{escape(name)}: {number}</title>"
            + _text(left - 4, y + 16, labels[name], "end", colour="--ink")
            + f'<rect x="{left:.2f}" y="{y + 4}" width="{across(value) - left:.2f}" height="15" rx="2" fill="var(--series-1)"/>'
            + _text(across(value) + 5, y + 16, number, "start", colour="--ink")
            + "</g>"
        )
    listed = ", ".join(f"{name} {format(value, number_format)}" for name, value in values.items())
    return _svg(f"{title}: {listed}", bottom + 40, parts)


def _with_margin(values: Sequence[float]) -> tuple[float, float]:
    """Return the ends of an axis on which all values have some room, even a single one."""
    low, high = min(values, default=0.0), max(values, default=0.0)
    margin = 0.05 * (high - low) or 0.1 * abs(low) or 1.0
    return low - margin, high + margin


def _with_decimals(value: float, step: float) -> str:
    """Format a number with the decimals that numbers `step` apart need."""
    decimals = max(0, -math.floor(math.log10(step) + 1e-9))
    return f"{value + 0.0:.{decimals}f}"


def _shortened(label: str) -> str:
    """Return both ends of a long label, which say more than its beginning."""
    return label if len(label) <= MAX_LABEL else f"{label[:9]}…{label[-8:]}"


def _legend(names: Iterable[str], left: float) -> str:
    """Draw a short line and the name of each curve, from left to right."""
    entries = []
    for name in names:
        entries.append(
            _curve(name, [(left, 10), (left + 16, 10)]) + _text(left + 22, 14, name, "start", colour="--ink")
        )
        left += 22 + LETTER * len(name) + 18
    return "".join(entries)


def _curve(name: str, points: Sequence[Point]) -> str:
    """Draw a curve; where measurements are few, and so for validation, with a dot at each."""
    colour = f"var({COLOURS[name]})"
    path = " ".join(f"{x:.2f},{y:.2f}" for x, y in points)
    drawn = f'<polyline points="{path}" fill="none" stroke="{colour}" stroke-width="2" stroke-linejoin="round"/>'
    if name == "validation" or len(points) == 1:
        drawn += "".join(f'<circle cx="{x:.2f}" cy="{y:.2f}" r="3" fill="{colour}"/>' for x, y in points)
    return drawn


def _hover(x: float, y: float, text: str) -> str:
    """Draw a point that nobody sees, and that says what it is where the pointer rests on it."""
    return f'<circle cx="{x:.2f}" cy="{y:.2f}" r="6" fill="transparent"><title>{escape(text)}</title></circle>'


def _line(x1: float, y1: float, x2: float, y2: float) -> str:
    return f'<line x1="{x1:.2f}" y1="{y1:.2f}" x2="{x2:.2f}" y2="{y2:.2f}" stroke="var(--line)"/>'


def _text(x: float, y: float, text: str, anchor: str, more: str = "", colour: str = "--muted") -> str:
    place = f'x="{x:.2f}" y="{y:.2f}" text-anchor="{anchor}" fill="var({colour})"{more}'
    return f"<text {place}>{escape(text)}</text>"


def _svg(title: str, height: float, parts: Sequence[str]) -> str:
    """Return the element; it scales with its column, and the view box keeps the proportions."""
    head = f'xmlns="http://www.w3.org/2000/svg" role="img" viewBox="0 0 {WIDTH} {height:g}" style="width:100%;height:auto" {FONT}'
    return f"<svg {head}><title>{escape(title)}</title>{''.join(parts)}</svg>"
