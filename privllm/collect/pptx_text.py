"""The text of a PowerPoint presentation as light Markdown: slides in order, with their titles and notes.

Hidden slides and shapes, numbers of slides, dates, footers and comments are left out.
"""

from collections.abc import Iterator
from xml.etree.ElementTree import Element

from privllm.collect.drawing_text import OFF, Related, graphics, paragraphs
from privllm.collect.markdown_blocks import Block, heading, item, joined, table
from privllm.collect.office_package import Package, properties
from privllm.collect.parsed import NoText, Parsed

TITLES = ("title", "ctrTitle")
MARGINS = ("dt", "ftr", "hdr", "sldNum", "sldImg")  # placeholders that repeat on every slide
BULLETED = ("", "obj", "body")  # placeholders whose paragraphs are items of a list


def pptx_text(package: Package) -> Parsed:
    """Return the text of a presentation. Raises `NoText`."""
    part = package.main_part("ppt/presentation.xml")
    tree = package.tree(part)
    if tree is None:
        raise NoText("damaged", f"it lacks {part}")
    related = package.related(part)
    blocks: list[Block] = []
    for slide in tree.iterfind("{p}sldIdLst/{p}sldId"):
        kind, target = related.get(slide.get("{r}id", ""), ("", ""))
        if kind == "slide":
            package.require(target)
            blocks += _slide(package, target)
    return Parsed(joined(blocks), *properties(package))


def _slide(package: Package, part: str) -> list[Block]:
    """Return the blocks of a slide: its title, its texts, its notes."""
    tree = package.tree(part)
    if tree is None or tree.get("show", "1") in OFF:
        return []
    related = package.related(part)
    titles: list[Block] = []
    others: list[Block] = []
    for shape in _shapes(tree.find("{p}cSld/{p}spTree")):
        if _placeholder(shape) in TITLES:
            text = " ".join(text for _, text in paragraphs(shape.find("{p}txBody")))
            titles += [heading(text, 2)] if text.strip() else []
        else:
            others += _shape(package, shape, related)
    return [*titles, *others, *_notes(package, related)]


def _notes(package: Package, related: Related) -> Iterator[Block]:
    """Yield what the speaker notes say."""
    for kind, target in related.values():
        tree = package.tree(target) if kind == "notesSlide" else None
        for shape in _shapes(tree.find("{p}cSld/{p}spTree")) if tree is not None else ():
            if _placeholder(shape) == "body":
                texts = [text for _, text in paragraphs(shape.find("{p}txBody")) if text.strip()]
                yield from (Block(f"Notes: {text}" if not number else text) for number, text in enumerate(texts))


def _shapes(parent: Element | None) -> Iterator[Element]:
    """Yield the shapes that are shown, also those in groups."""
    for element in parent if parent is not None else ():
        if element.tag == "{mc}AlternateContent":
            chosen = element.find("{mc}Choice")
            yield from _shapes(element.find("{mc}Fallback") if chosen is None else chosen)
        elif element.tag == "{p}grpSp":
            yield from () if _is_hidden(element) else _shapes(element)
        elif element.tag in ("{p}sp", "{p}graphicFrame") and not _is_hidden(element):
            yield element


def _is_hidden(shape: Element) -> bool:
    own = shape.find("./*/{p}cNvPr")
    return own is not None and own.get("hidden", "0") not in OFF


def _placeholder(shape: Element) -> str | None:
    """Return the kind of a placeholder, "" for one of any content, None for another shape."""
    found = shape.find("{p}nvSpPr/{p}nvPr/{p}ph")
    return None if found is None else found.get("type", "")


def _shape(package: Package, shape: Element, related: Related) -> list[Block]:
    """Return the blocks of a shape: its paragraphs, its table, the texts of its diagram or chart."""
    kind = _placeholder(shape)
    if kind in MARGINS:
        return []
    if shape.tag == "{p}graphicFrame":
        return _frame(package, shape, related)
    shown = [(own, text) for own, text in paragraphs(shape.find("{p}txBody")) if text.strip()]
    is_list = kind in BULLETED and len(shown) > 1
    return [_formed(own, text, is_list) for own, text in shown]


def _formed(own: Element | None, text: str, is_list: bool) -> Block:
    """Return a paragraph as it is, or as an item where it has a bullet."""
    marks = {mark.tag for mark in own} if own is not None else set()
    depth = own.get("lvl", "0") if own is not None else "0"
    has_bullet = is_list and "{a}buNone" not in marks
    if not has_bullet and not marks & {"{a}buChar", "{a}buAutoNum", "{a}buBlip"}:
        return Block(text)
    return item(text, int(depth) if depth in tuple("012345678") else 0)


def _frame(package: Package, frame: Element, related: Related) -> list[Block]:
    """Return the table in a frame, or the texts of its diagram or chart."""
    rows = frame.findall("{a}graphic/{a}graphicData/{a}tbl/{a}tr")
    if rows:
        return table([[_cell(cell) for cell in row.iterfind("{a}tc")] for row in rows])
    return list(graphics(package, frame, related))


def _cell(cell: Element) -> str:
    if cell.get("hMerge", "0") not in OFF or cell.get("vMerge", "0") not in OFF:
        return ""
    return " ".join(text for _, text in paragraphs(cell.find("{a}txBody")))
