"""LaTeX as light Markdown: headings as "#", items as "-", code in fences, formulas as they are written; preamble and comments go.

Simple macros that the file itself defines are expanded, but not in formulas; of a command that is not known its arguments stay.
`\\input` and `\\include` are not followed, for what they name is a document of its own where it lies among the sources.
"""

import re
import unicodedata
from collections.abc import Iterator

from privllm.collect.latex_macros import MAX_DEPTH, Macros, argument_at
from privllm.collect.parsed import Parsed

VERBATIM = ("verbatim", "Verbatim", "lstlisting", "minted", "alltt")
FORMULAS = ("equation", "align", "gather", "multline", "eqnarray", "displaymath", "math", "flalign", "alignat")
HEADINGS = ("part", "chapter", "section", "subsection", "subsubsection", "paragraph", "subparagraph")
# Commands that go with their arguments, and the number of these.
DROPPED = {
    **dict.fromkeys(
        ("label", "index", "cite", "citep", "citet", "ref", "pageref", "eqref", "autoref", "vspace", "hspace"), 1
    ),
    **dict.fromkeys(("includegraphics", "bibliography", "bibliographystyle", "pagestyle", "thispagestyle", "input"), 1),
    **dict.fromkeys(
        ("include", "usepackage", "documentclass", "cline", "color", "phantom", "hypertarget", "nocite"), 1
    ),
    **dict.fromkeys(("setlength", "addtolength", "setcounter", "addcontentsline", "markboth", "addtocounter"), 2),
    **dict.fromkeys(("newcommand", "renewcommand", "providecommand", "def", "newtheorem", "DeclareMathOperator"), 2),
    **dict.fromkeys(("newenvironment", "renewenvironment"), 3),
    **dict.fromkeys(("textcolor", "href", "colorbox", "raisebox", "multicolumn"), 1),  # their last argument stays
}
SYMBOLS = {
    **dict.fromkeys(("ldots", "dots", "textellipsis"), "..."),
    **dict.fromkeys(
        ("newline", "linebreak", "par", "newpage", "clearpage", "hline", "toprule", "midrule", "bottomrule"), "\n"
    ),
    **dict.fromkeys(("quad", "qquad", "space", "enspace", "thinspace"), " "),
    **{"LaTeX": "LaTeX", "TeX": "TeX", "textbackslash": "\\", "textasciitilde": "~", "textasciicircum": "^"},
    **{"ss": "\u00df", "ae": "\u00e6", "AE": "\u00c6", "oe": "\u0153", "OE": "\u0152", "o": "\u00f8", "O": "\u00d8"},
    **{"aa": "\u00e5", "AA": "\u00c5", "l": "\u0142", "L": "\u0141", "i": "\u0131", "S": "\u00a7", "P": "\u00b6"},
    **{"copyright": "\u00a9", "pounds": "\u00a3", "euro": "\u20ac", "textendash": "\u2013", "textemdash": "\u2014"},
}
ACCENTS = {"`": "\u0300", "'": "\u0301", "^": "\u0302", "~": "\u0303", '"': "\u0308", "=": "\u0304", ".": "\u0307"}
ACCENTS |= {"c": "\u0327", "v": "\u030c", "H": "\u030b", "k": "\u0328", "u": "\u0306", "r": "\u030a"}
TOKEN = re.compile(
    r"(?P<comment>(?<!\\)%[^\n]*(?:\n[ \t]*)?)"
    r"|\\begin\{(?P<begin>[A-Za-z]+\*?)\}"
    r"|\\end\{(?P<end>[A-Za-z]+\*?)\}"
    r"|\\(?:verb\*?|lstinline(?:\[[^\]\n]*\])?)(?P<mark>[^\w\s*{])(?P<verb>[^\n]*?)(?P=mark)"
    r"|(?P<formula>\$\$(?:[^$\\]|\\.){0,5000}\$\$|\$(?:[^$\\]|\\.){1,2000}\$|\\\((?:[^\\]|\\[^)]){0,2000}\\\)|\\\[(?:[^\\]|\\[^\]]){0,5000}\\\])"
    r"|\\(?:url|nolinkurl|path)[ \t]*\{(?P<address>[^{}\s]*)\}"
    r"|\\href[ \t]*\{[^{}\s]*\}"
    r"|\\(?P<accent>[`'^~\"=.]|[cvHkur](?=\{|[ \t]))[ \t]*(?:\{\\?(?P<braced>[A-Za-z])\}|\\?(?P<letter>[A-Za-z]))"
    r"|[~ ]?\\(?P<cited>cite[a-z]*|label|index)\*?(?![A-Za-z])"
    r"|\\(?P<command>[A-Za-z@]+)\*?[ \t]*"
    r"|\\(?P<escaped>[^A-Za-z\n])"
    r"|(?P<dash>---?)|(?P<quote>``|'')|(?P<tie>~)|(?P<brace>[{}])",
    re.DOTALL,
)

OPTION = re.compile(r"[ \t]*\[([^\]\n]{0,1000})\]")
ARGUMENT_FOLLOWS = re.compile(r"[ \t]*[{\[]")
NOTE = re.compile(r"\\(?:thanks|inst|footnote)\{[^{}]*\}")  # beside a name
MAX_AUTHORS = 300  # characters
ESCAPED = re.compile(r"\\([%#&_~])")  # in an address


def latex_text(data: bytes) -> Parsed:
    """Return a document, which is UTF-8, as light Markdown."""
    text = data.decode()
    return Parsed(markdown_of(text), _title(text), _authors(text))


def markdown_of(text: str) -> str:
    """Return LaTeX as light Markdown."""
    text = text.replace("\r\n", "\n")
    macros = Macros(text)
    title = _title(text)
    begin = re.search(r"^[^%\n]*?\\begin\{document\}", text, re.MULTILINE)
    text = text[begin.end() :] if begin else text
    converted = "".join(_Conversion(text, title, macros).pieces())
    lines = [line.rstrip() for line in converted.split("\n")]
    return re.sub(r"\n{3,}", "\n\n", "\n".join(lines)).strip("\n") + "\n" if converted.strip() else ""


def _title(text: str) -> str:
    """Return the argument of \\title, "" where there is none."""
    return _line(_told(text, "title"), text)


def _authors(text: str) -> str:
    """Return the names in \\author, without what stands below them or is said in a note."""
    people = re.split(r"\\(?:and|And|AND)(?![A-Za-z])", NOTE.sub("", _told(text, "author")))
    names = (_line(person.strip().partition("\\\\")[0], text) for person in people)
    return ", ".join(filter(None, names))[:MAX_AUTHORS]


def _told(text: str, name: str) -> str:
    """Return the argument of a command of the preamble, "" where there is none."""
    found = re.search(rf"^[^%\n]*?\\{name}[ \t]*(?:\[[^\]\n]*\])?[ \t]*\{{", text, re.MULTILINE)
    argument = argument_at(text, found.end() - 1) if found else None
    return argument[0] if argument else ""


def _line(part: str, text: str) -> str:
    """Return a part of a text as one line, without its markup."""
    return " ".join("".join(_Conversion(part, "", Macros(text)).pieces()).split()) if part else ""


class _Conversion:
    """The conversion of one text from its begin to its end."""

    def __init__(self, text: str, title: str, macros: Macros, depth: int = 0) -> None:
        self.text, self.title, self.place = text, title, 0
        self.macros, self.depth = macros, depth
        self.has_chapters = "\\chapter" in text
        self.lists: list[tuple[str, int]] = []  # environment, and its items so far

    def pieces(self) -> Iterator[str]:
        """Yield the converted pieces."""
        while found := TOKEN.search(self.text, self.place):
            yield self.text[self.place : found.start()]
            self.place = found.end()
            kind = found.lastgroup or ""
            if found["end"] == "document":
                return
            if found["begin"]:
                yield self._begin(found["begin"], found.start())
            elif found["end"]:
                yield self._end(found["end"])
            elif found["mark"]:
                yield f"`{found['verb']}`"
            elif found["address"]:
                yield ESCAPED.sub(r"\1", found["address"])
            elif found["accent"]:
                yield _accented(found["braced"] or found["letter"], found["accent"])
            elif name := found["command"] or found["cited"]:
                yield self._command("cite" if found["cited"] else name)
            else:
                yield _character(kind, found)
        yield self.text[self.place :]

    def _begin(self, name: str, start: int) -> str:
        plain = name.rstrip("*")
        if plain in VERBATIM or plain in FORMULAS or plain == "comment":
            end = self.text.find(f"\\end{{{name}}}", self.place)
            end = len(self.text) if end < 0 else end
            inside, self.place = self.text[self.place : end], min(len(self.text), end + len(name) + 6)
            if plain == "comment":
                return ""
            if plain in FORMULAS:
                return self.text[start : self.place]
            inside = re.sub(r"^(?:\[[^\]\n]*\])?(?:\{[^}\n]*\})?[ \t]*\n", "", inside)
            return f"\n\n```\n{inside.rstrip()}\n```\n\n"
        title = self._title_of_theorem() if plain in self.macros.theorems else ""
        self._skip_option()
        if plain in ("itemize", "enumerate", "description"):
            self.lists.append((plain, 0))
        elif plain in (
            "tabular",
            "tabularx",
            "longtable",
            "minipage",
            "thebibliography",
            "array",
            "wrapfigure",
            "multicols",
        ):
            for _ in range(2 if plain in ("tabularx", "wrapfigure") else 1):
                self._skip_argument()
        return ("\n\n" if len(self.lists) < 2 else "\n") + title

    def _title_of_theorem(self) -> str:
        """Return what an option says in front of a theorem or proof."""
        option = OPTION.match(self.text, self.place)
        if option is None:
            return ""
        inner = _Conversion(option[1], "", self.macros, self.depth + 1)
        return f"({''.join(inner.pieces())}) "

    def _end(self, name: str) -> str:
        if self.lists and self.lists[-1][0] == name:
            self.lists.pop()
        return "\n\n" if not self.lists else "\n"

    def _command(self, name: str) -> str:
        if name in HEADINGS:
            return self._heading(name)
        if name == "item":
            return self._item()
        if name == "maketitle":
            return f"\n\n# {self.title}\n\n" if self.title else ""
        if name in SYMBOLS:
            return SYMBOLS[name]
        if name == "footnote":
            return " ^"
        if name in ("textbf", "emph", "textit", "texttt", "underline", "textsc", "mbox"):
            return ""
        if name in ("caption", "title", "author", "date"):
            self._skip_option()
            if name != "caption":
                self._skip_argument()
            return "\n\n" if name == "caption" else ""
        if (
            name not in DROPPED
            and self.depth < MAX_DEPTH
            and (found := self.macros.expanded(name, self.text, self.place))
        ):
            return self._expanded(*found)
        self._skip_option()
        for _ in range(DROPPED.get(name, 0)):
            if name == "def":
                self.place = max(self.place, self.text.find("{", self.place))
                self._skip_argument()
                break
            self._skip_command()
            self._skip_argument()
            self._skip_option()
        return ""

    def _expanded(self, body: str, end: int) -> str:
        """Return a macro's text; one that begins or ends an environment is read with what follows."""
        if "\\begin" in body or "\\end" in body:
            self.text, self.place = body + self.text[end:], 0
            return ""
        # A space after a command without arguments ends its name, and is no space of the text.
        self.place = end
        inner = _Conversion(body, self.title, self.macros, self.depth + 1)
        inner.has_chapters = self.has_chapters
        return "".join(inner.pieces())

    def _heading(self, name: str) -> str:
        self._skip_option()
        argument = argument_at(self.text, self.place)
        if argument is None:
            return ""
        title, self.place = argument
        text = " ".join("".join(_Conversion(title, "", self.macros, self.depth + 1).pieces()).split())
        level = max(1, HEADINGS.index(name) - (0 if self.has_chapters else 1))
        return f"\n\n{'#' * min(6, level)} {text}\n\n" if text else ""

    def _item(self) -> str:
        kind, count = self.lists.pop() if self.lists else ("itemize", 0)
        self.lists.append((kind, count + 1))
        indent = "  " * (len(self.lists) - 1)
        option = re.compile(r"[ \t]*\[([^\]\n]{0,200})\][ \t]*").match(self.text, self.place)
        label = ""
        if option:
            self.place = option.end()
            label = (
                "".join(_Conversion(option[1], "", self.macros, self.depth + 1).pieces()) + ": "
                if option[1].strip()
                else ""
            )
        mark = f"{count + 1}. " if kind == "enumerate" else "- "
        return f"\n{indent}{mark}{label}"

    def _skip_option(self) -> None:
        """Pass over options: of what stands apart in brackets, and has no argument behind it, each is text."""
        while option := OPTION.match(self.text, self.place):
            stands_apart = option[0][0] != "[" or self.text[self.place - 1 : self.place].isspace()
            if stands_apart and not ARGUMENT_FOLLOWS.match(self.text, option.end()):
                return
            self.place = option.end()

    def _skip_argument(self) -> None:
        argument = argument_at(self.text, self.place)
        self.place = argument[1] if argument else self.place

    def _skip_command(self) -> None:
        command = re.compile(r"[ \t]*\\[A-Za-z@]+(?=[ \t]*[\[{])").match(self.text, self.place)
        self.place = command.end() if command else self.place


def _accented(letter: str, accent: str) -> str:
    return unicodedata.normalize("NFC", letter + ACCENTS[accent])


def _character(kind: str, found: re.Match[str]) -> str:
    """Return what a token without a name stands for."""
    if kind == "formula":
        return found[0]
    if kind == "escaped":
        return {"\\": "\n", ",": " ", ";": " ", " ": " ", "/": "", "-": "", "!": "", "@": ""}.get(
            found["escaped"], found["escaped"]
        )
    if kind == "dash":
        return "\u2013" if found[0] == "--" else "\u2014"
    return {"quote": '"', "tie": " ", "comment": "", "brace": ""}.get(kind, "")
