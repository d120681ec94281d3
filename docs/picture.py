"""The picture of the pipeline, docs/pipeline.svg, drawn from dvc.yaml.

Every stage is drawn one row below the last stage that it reads from. `fingerprint`, which every stage
reads, is left out, and so are arrows that a longer way implies.
"""

from collections.abc import Mapping
from html import escape
from typing import Any

LEFT, MIDDLE, RIGHT = 0, 1, 2
COLUMNS = {  # every other stage stands in the middle
    "validate": LEFT,
    "annotate": LEFT,
    "tasks": LEFT,
    "finetune": LEFT,
    "gate": LEFT,
    "start": RIGHT,
    "feedback": RIGHT,
}
# What people put in, by the stage that reads it first.
INPUTS = {
    "collect": "data/sources",
    "start": "data/base, /promoted",
    "feedback": "data/feedback, /chat",
}
BOX_WIDTH, BOX_HEIGHT = 150, 30
COLUMN_STEP, ROW_STEP, SIDE_STEP, MARGIN = 190, 54, 35, 12
STYLE = """
text { font: 14px system-ui, sans-serif; text-anchor: middle; fill: #1b1f24 }
rect { fill: #dbe7f5; stroke: #7590b0 }
.input rect { fill: #f6edd4; stroke: #b09a5c }
.input text { font-size: 12px }
path { fill: none; stroke: #8a8f98; stroke-width: 1.5; stroke-linejoin: round; marker-end: url(#arrow) }
marker path { fill: #8a8f98; stroke: none; marker-end: none }
"""


def pipeline_picture(stages: Mapping[str, Mapping[str, Any]]) -> str:
    """Return an SVG of the stages of dvc.yaml, with an arrow wherever a stage reads another's output."""
    parents = direct_parents(stages)
    rows = rows_of(parents)
    places = {name: (COLUMNS.get(name, MIDDLE), rows[name] + 1) for name in parents}
    shapes = [arrow(places[parent], places[name]) for name in parents for parent in sorted(parents[name])]
    for name, label in INPUTS.items():
        column, row = places[name]
        shapes.append(arrow((column, row - 1), (column, row)))
        shapes.append(f'<g class="input">{box((column, row - 1), label)}</g>')
    for name, place in places.items():
        shapes.append(f"<g><title>{escape(stages[name]['desc'])}</title>{box(place, name)}</g>")
    if len(set(places.values())) < len(places):
        raise SystemExit("Two stages stand on one place of docs/pipeline.svg: set their columns in docs/picture.py.")
    width = 2 * MARGIN + RIGHT * COLUMN_STEP + BOX_WIDTH
    height = 2 * MARGIN + max(row for _, row in places.values()) * ROW_STEP + BOX_HEIGHT
    head = (
        '<marker id="arrow" viewBox="0 0 8 8" refX="7" refY="4" markerWidth="7" markerHeight="7" orient="auto">'
        '<path d="M0 0 8 4 0 8z"/></marker>'
    )
    opening = (
        f'<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {width} {height}" width="{width}" height="{height}">'
    )
    return "\n".join([opening, f"<style>{STYLE}</style>", f"<defs>{head}</defs>", *shapes, "</svg>\n"])


def direct_parents(stages: Mapping[str, Mapping[str, Any]]) -> dict[str, set[str]]:
    """Return the stages whose output each stage reads, without those that another parent reads already."""
    makers = {path: name for name, stage in stages.items() for path in stage["paths"]}
    parents: dict[str, set[str]] = {name: set() for name in stages if name != "fingerprint"}
    for name in parents:
        for dependency in stages[name]["deps"]:
            for path, maker in makers.items():
                if maker in parents and maker != name and is_within(dependency, path):
                    parents[name].add(maker)
    above = {name: ancestors(name, parents) for name in parents}
    return {
        name: {parent for parent in direct if not any(parent in above[other] for other in direct)}
        for name, direct in parents.items()
    }


def is_within(dependency: str, path: str) -> bool:
    """Return whether one of two paths is the other or lies below it."""
    return f"{dependency}/".startswith(f"{path}/") or f"{path}/".startswith(f"{dependency}/")


def ancestors(name: str, parents: Mapping[str, set[str]]) -> set[str]:
    """Return all stages above `name`."""
    above = set(parents[name])
    for parent in parents[name]:
        above |= ancestors(parent, parents)
    return above


def rows_of(parents: Mapping[str, set[str]]) -> dict[str, int]:
    """Return the row of each stage: below its parents, and as low as its children allow where it has no parent."""
    rows: dict[str, int] = {}

    def row(name: str) -> int:
        if name not in rows:
            rows[name] = 1 + max((row(parent) for parent in parents[name]), default=-1)
        return rows[name]

    for name in parents:
        row(name)
    for name in parents:
        children = [rows[child] for child in parents if name in parents[child]]
        if not parents[name] and children:
            rows[name] = min(children) - 1
    return rows


def corner(place: tuple[int, int]) -> tuple[int, int]:
    """Return x and y of the upper left corner of a box, in pixels."""
    column, row = place
    return MARGIN + column * COLUMN_STEP, MARGIN + row * ROW_STEP


def box(place: tuple[int, int], label: str) -> str:
    """Return a rectangle with its label."""
    x, y = corner(place)
    return (
        f'<rect x="{x}" y="{y}" width="{BOX_WIDTH}" height="{BOX_HEIGHT}" rx="6"/>'
        f'<text x="{x + BOX_WIDTH // 2}" y="{y + 20}">{escape(label)}</text>'
    )


def arrow(start: tuple[int, int], end: tuple[int, int]) -> str:
    """Return a line from the bottom of one box to the top of another that crosses no box.

    Between columns it runs through the gaps between rows, and down the gutter between two columns.
    """
    start_x, start_y = corner(start)
    end_x, end_y = corner(end)
    half, gap = BOX_WIDTH // 2, (ROW_STEP - BOX_HEIGHT) // 2
    start_x, start_y, end_x = start_x + half, start_y + BOX_HEIGHT, end_x + half
    if start_x == end_x:
        return f'<path d="M{start_x} {start_y}V{end_y}"/>'
    aside = SIDE_STEP if end_x > start_x else -SIDE_STEP  # leave and arrive on the sides that face each other
    start_x, end_x = start_x + aside, end_x - aside
    last_gap = end_y - gap - 2
    if end[1] == start[1] + 1:
        return f'<path d="M{start_x} {start_y}V{last_gap}H{end_x}V{end_y}"/>'
    gutter = (start_x + end_x) // 2
    return f'<path d="M{start_x} {start_y}V{start_y + gap - 2}H{gutter}V{last_gap}H{end_x}V{end_y}"/>'
