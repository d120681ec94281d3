"""The texts of drawings in office documents (DrawingML): paragraphs of shapes, diagrams, charts."""

from collections.abc import Iterator
from xml.etree.ElementTree import Element

from privllm.collect.markdown_blocks import Block, item, table
from privllm.collect.office_package import Package, text_of

OFF = {"0", "false"}
Related = dict[str, tuple[str, str]]  # as `Package.related`


def paragraphs(body: Element | None) -> Iterator[tuple[Element | None, str]]:
    """Yield the properties and the text of each paragraph."""
    for paragraph in body.iterfind("{a}p") if body is not None else ():
        yield paragraph.find("{a}pPr"), "".join(_pieces(paragraph))


def _pieces(parent: Element) -> Iterator[str]:
    for element in parent:
        if element.tag == "{a}r" or (element.tag == "{a}fld" and element.get("type") != "slidenum"):
            yield element.findtext("{a}t", "")
        elif element.tag == "{a}br":
            yield "\n"
        elif element.tag == "{mc}AlternateContent":
            chosen = element.find("{mc}Choice")
            yield "".join(text.text or "" for text in chosen.iter("{m}t")) if chosen is not None else ""


def graphics(package: Package, drawing: Element, related: Related) -> Iterator[Block]:
    """Yield the texts of the diagrams and charts that a drawing names."""
    for element in drawing.iter("{dgm}relIds"):
        yield from _diagram(package.tree(_target(related, element.get("{r}dm", ""))))
    for element in drawing.iter("{c}chart"):
        yield from _chart(package.tree(_target(related, element.get("{r}id", ""))))


def _target(related: Related, name: str) -> str:
    _, target = related.get(name, ("", ""))
    return target


def _diagram(tree: Element | None) -> Iterator[Block]:
    texts = tree.iterfind("{dgm}ptLst/{dgm}pt/{dgm}t") if tree is not None else ()
    for body in texts:
        yield from (item(text, 0) for _, text in paragraphs(body) if text.strip())


def _chart(tree: Element | None) -> Iterator[Block]:
    """Yield the titles of a chart and of its axes, and its values as a table."""
    if tree is None:
        return
    for title in tree.iter("{c}title"):
        yield from (Block(text) for body in title.iter("{c}rich") for _, text in paragraphs(body))
    columns: list[dict[int, str]] = []
    for series in tree.iter("{c}ser"):
        names, values = _points(series, "{c}cat", "{c}xVal"), _points(series, "{c}val", "{c}yVal")
        if names and names not in columns:
            columns.append(names)
        columns.append(values | {-1: text_of(series.find("{c}tx//{c}v"))})
    places = sorted(set().union(*columns))
    yield from table([[column.get(place, "") for column in columns] for place in places])


def _points(series: Element, *kinds: str) -> dict[int, str]:
    """Return the values of a series by their places, as the document keeps them beside the chart."""
    points = (point for kind in kinds for found in series.iterfind(kind) for point in found.iter("{c}pt"))
    places = ((point.get("idx", ""), text_of(point.find("{c}v"))) for point in points)
    return {int(place): text for place, text in places if place.isdecimal() and len(place) < 6}


def text_boxes(drawing: Element | None) -> Iterator[Block]:
    """Yield the paragraphs of the shapes of a sheet, but of hidden ones."""
    for shape in drawing.iter("{xdr}sp") if drawing is not None else ():
        own = shape.find("./*/{xdr}cNvPr")
        if own is None or own.get("hidden", "0") in OFF:
            yield from (Block(text) for _, text in paragraphs(shape.find("{xdr}txBody")))
