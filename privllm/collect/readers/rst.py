"""reStructuredText as light Markdown: headings as "#", code in fences; directives, roles and comments give way to their text.

It is a conversion line by line and no parser: tables and line blocks stay as they are written, but for those in CSV.
What is `only` for print or terminals is left out.
"""

import csv
import re
from collections.abc import Iterator
from typing import ClassVar

from privllm.collect.decode import Decoded, decode
from privllm.collect.markdown_blocks import table
from privllm.collect.readers.reader import Reader, Row, read_one
from privllm.collect.source_file import SourceFile

ADORNMENT = re.compile(r"([!-/:-@\[-`{-~])\1+[ \t]*$")
DIRECTIVE = re.compile(r"([ \t]*)\.\.[ \t]+(?:\|[^|\n]+\|[ \t]+)?([A-Za-z][\w:.+-]*)::(?:[ \t]+(.*))?$")
COMMENT = re.compile(r"([ \t]*)\.\.(?:[ \t].*)?$")
FOOTNOTE = re.compile(r"([ \t]*)\.\.[ \t]+\[([^\]\n]{1,80})\][ \t]+(.*)$")
OPTION = re.compile(r"[ \t]*:([A-Za-z][\w -]*):(?:[ \t](.*))?$")
# Directives by what becomes of them; of all others the argument and the text inside stay.
CODE = frozenset("code code-block sourcecode highlight parsed-literal literal math doctest ipython prompt".split())
DROPPED = frozenset(
    (
        "image toctree contents include raw index meta tabularcolumns highlightlang role default-role currentmodule "
        "module automodule autoclass autofunction sectnum literalinclude testsetup testcleanup sectionauthor "
        "moduleauthor codeauthor target-notes"
    ).split()
)
OTHER_BUILDERS = frozenset("latex pdf epub man texinfo text".split())  # of Sphinx, beside that of pages
UNTITLED = ("figure", "only")  # whose argument is a file, or a name of builders
MAX_DEPTH = 20  # of directives inside each other
INLINE = re.compile(
    r"``(?P<literal>[^`\n]+(?:`[^`\n]+)*?)``"
    r"|:[A-Za-z][\w:.+-]*:`(?P<role>[^`\n]+)`"
    r"|(?<![\w`])`(?P<link>[^`\n]+)`__?(?!\w)"
    r"|(?<![\w`])`(?P<plain>[^`\n]+)`(?::[A-Za-z][\w:.+-]*:)?(?![\w`])"
    r"|\|(?P<substitution>[A-Za-z][^|\n]{0,60})\|_{0,2}"
    r"|(?<!\w)(?P<reference>[^\W_]\w*?)__?(?=[\s.,;:!?)\]]|$)"
)
TARGET = re.compile(r"^[~!]?(.*?)[ \t]*<[^<>]*>$", re.DOTALL)


class RstReader(Reader):
    """Files of reStructuredText."""

    media_types: ClassVar = dict.fromkeys((".rst", ".rest"), "text/x-rst")
    holds_many = False

    def read(self, file: SourceFile, max_bytes: int) -> Iterator[Row]:
        """Yield the text, or why it cannot be read."""
        yield read_one(file, "text/markdown", _decoded)


def _decoded(data: bytes) -> Decoded:
    decoded = decode(data)
    return Decoded(markdown_of(decoded.text), decoded.encoding)


def markdown_of(text: str) -> str:
    """Return reStructuredText as light Markdown."""
    converted = "\n".join(_Conversion(text.expandtabs(8).splitlines()).lines())
    return re.sub(r"\n{3,}", "\n\n", converted).strip("\n") + "\n" if converted.strip() else ""


class _Conversion:
    """The conversion of one file: its lines, and which adornment is which level of heading."""

    def __init__(self, source: list[str], depth: int = 0) -> None:
        self.depth = depth
        self.source = [line.rstrip() for line in source]
        self.place = 0
        self.levels: list[tuple[str, bool]] = []  # adornments as they first appear: character, and whether also above

    def lines(self) -> Iterator[str]:
        """Yield the converted lines."""
        while self.place < len(self.source):
            line = self.source[self.place]
            heading = self._heading()
            if heading is not None:
                yield from ("", heading, "")
            elif footnote := FOOTNOTE.match(line):
                self.place += 1
                yield f"{footnote[1]}[{footnote[2]}] {inline(footnote[3])}"
            elif directive := DIRECTIVE.match(line):
                yield from self._directive(len(directive[1]), directive[2].lower(), directive[3] or "")
            elif comment := COMMENT.match(line):
                self.place += 1
                self._block(len(comment[1]))
            elif line.endswith("::"):
                yield from self._paragraph_before_literal(line)
            else:
                self.place += 1
                if not OPTION.fullmatch(line) or line.count(":") > 2:
                    yield inline(line)
                else:
                    yield inline(line.strip().removeprefix(":"))

    def _heading(self) -> str | None:
        """Return the heading that begins here, and pass over it; None where none does."""
        line = self.source[self.place]
        following = self.source[self.place + 1 : self.place + 3]
        above = ADORNMENT.fullmatch(line)
        if above and len(following) == 2 and following[0].strip() and following[1] == line and len(line) > 2:
            return self._as_heading(following[0].strip(), (above[1], True), 3)
        below = ADORNMENT.fullmatch(following[0]) if following and following[0] else None
        is_title = bool(line.strip()) and not line[0].isspace() and not above
        follows_blank = self.place == 0 or not self.source[self.place - 1].strip()
        if below and is_title and follows_blank and len(following[0]) >= min(len(line), 4):
            return self._as_heading(line.strip(), (below[1], False), 2)
        if above and len(line) >= 4 and (not following or not following[0]):
            self.place += 1
            return "---"  # a transition
        return None

    def _as_heading(self, title: str, adornment: tuple[str, bool], lines: int) -> str:
        self.place += lines
        if adornment not in self.levels:
            self.levels.append(adornment)
        return f"{'#' * min(6, self.levels.index(adornment) + 1)} {inline(title)}"

    def _block(self, indent: int) -> list[str]:
        """Return the lines that are indented by more than `indent`, without what they share, and pass over them."""
        begin = end = self.place
        while end < len(self.source):
            line = self.source[end]
            if line and len(line) - len(line.lstrip()) <= indent:
                break
            end += 1
        self.place = end
        block = self.source[begin:end]
        shared = min((len(line) - len(line.lstrip()) for line in block if line), default=0)
        block = [line[shared:] for line in block]
        while block and not block[-1]:
            block.pop()
        return block

    def _directive(self, indent: int, name: str, argument: str) -> Iterator[str]:
        self.place += 1
        block = self._block(indent)
        is_continued = bool(block and block[0] and not OPTION.fullmatch(block[0]))
        options = _taken_options(block)
        prefix = " " * indent
        kind = name.rpartition(":")[2]
        if kind in DROPPED or (kind == "only" and argument.strip().lower() in OTHER_BUILDERS):
            return
        if kind == "csv-table":
            yield from (
                "",
                prefix + inline(argument),
                "",
                *(prefix + line for line in _rows([options.get("header", ""), *block])),
                "",
            )
            return
        if kind in CODE:
            language = (
                argument if name not in ("math", "parsed-literal") and re.fullmatch(r"[\w+#-]{1,20}", argument) else ""
            )
            lines = [argument, *block] if kind == "math" and argument else block
            lines = [inline(line) for line in lines] if kind == "parsed-literal" else lines
            caption = options.get("caption", "")
            yield from ("", prefix + inline(caption)) if caption else ()
            yield from ("", *_fenced(lines, language, prefix), "")
            return
        if argument and kind not in UNTITLED:
            yield from ("", prefix + inline(argument))
            if not is_continued:
                yield ""
        if self.depth == MAX_DEPTH:
            yield from ("", *(prefix + line if line else "" for line in block), "")
            return
        inner = _Conversion(block, self.depth + 1)
        inner.levels = self.levels
        yield from (*(prefix + line if line else "" for line in inner.lines()), "")

    def _paragraph_before_literal(self, line: str) -> Iterator[str]:
        """Yield a line that ends in "::", and the literal block after it in a fence."""
        self.place += 1
        indent = len(line) - len(line.lstrip())
        said = line[:-2].rstrip()
        if said:
            yield inline(said if line[:-2].endswith(" ") else f"{said}:")
        block = self._block(indent)
        while block and not block[0]:
            block.pop(0)
        if block:
            yield from ("", *_fenced(block, "", " " * indent), "")


def _taken_options(block: list[str]) -> dict[str, str]:
    """Take the options off the begin of a directive's block: a blank line ends them, and a field below it is text."""
    options: dict[str, str] = {}
    while block and (option := OPTION.fullmatch(block[0])):
        options[option[1]] = (option[2] or "").strip()
        block.pop(0)
    while block and not block[0]:
        block.pop(0)
    return options


def _rows(lines: list[str]) -> list[str]:
    """Return lines of CSV as a table of Markdown, as they are where they are none."""
    try:
        rows = [[inline(cell) for cell in row] for row in csv.reader(filter(None, lines), skipinitialspace=True)]
    except csv.Error:
        return lines
    return [line for block in table(rows) for line in block.text.split("\n")]


def _fenced(lines: list[str], language: str, prefix: str) -> list[str]:
    longest = max((len(found) for line in lines for found in re.findall(r"`{3,}", line)), default=2)
    fence = "`" * (longest + 1)
    return (
        [prefix + fence + language, *(prefix + line if line else "" for line in lines), prefix + fence] if lines else []
    )


def inline(text: str) -> str:
    """Return a line without roles, targets of links, and marks of references."""
    return INLINE.sub(_plain, text) if "`" in text or "_" in text or "|" in text else text


def _plain(match: re.Match[str]) -> str:
    if match["literal"] is not None:
        return f"`{match['literal']}`"
    if match["substitution"] is not None:
        return match["substitution"]
    if match["reference"] is not None:
        return match["reference"]
    text = match["role"] or match["link"] or match["plain"]
    target = TARGET.match(text)
    return target[1] if target and target[1] else text.lstrip("~!")
