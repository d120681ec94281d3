r"""The simple macros that a LaTeX file defines itself: \newcommand and \def, with arguments and a default for the first."""

import re
from typing import NamedTuple

MAX_ARGUMENT = 5000  # characters
MAX_MACROS = 5000
MAX_DEPTH = 20  # of macros in macros
MAX_GROWTH = 1 << 20  # characters that all macros of a file may come to
DEFINITION = re.compile(
    r"\\(?:(?:re)?newcommand|providecommand|DeclareRobustCommand)\*?[ \t]*"
    r"(?:\{[ \t]*\\(?P<braced>[A-Za-z@]+)[ \t]*\}|\\(?P<bare>[A-Za-z@]+))"
    r"[ \t]*(?:\[(?P<count>\d)\][ \t]*(?:\[(?P<default>[^\]\n]{0,1000})\])?)?"
    r"|\\[egx]?def[ \t]*\\(?P<defined>[A-Za-z@]+)(?P<parameters>(?:#\d){0,9})[ \t]*(?=\{)"
)
PARAMETER = re.compile(r"#([1-9])")
THEOREMS = frozenset("theorem lemma proposition corollary definition remark example proof claim".split())
THEOREM = re.compile(r"\\newtheorem\*?\{([A-Za-z]+)\}")
TOKEN = re.compile(r"[ \t]*(\\[A-Za-z@]+|\\.|[^\s{}\\%])", re.DOTALL)
OPTION = re.compile(r"[ \t]*\[([^\]\n]{0,1000})\]")


class Macro(NamedTuple):
    """What stands for a command."""

    body: str
    arguments: int = 0  # their number, with the one that has a default
    default: str | None = None  # of the first


class Macros:
    """The macros of a file, and how much they may still come to."""

    def __init__(self, text: str = "") -> None:
        self.left = MAX_GROWTH
        self.theorems = THEOREMS.union(THEOREM.findall(text))  # environments
        self._known: dict[str, Macro] = {}
        for found in DEFINITION.finditer(text):
            line = text[text.rfind("\n", 0, found.start()) + 1 : found.start()]
            body = argument_at(text, found.end())
            if body is not None and "%" not in line.replace("\\%", "") and len(self._known) < MAX_MACROS:
                name = found["braced"] or found["bare"] or found["defined"]
                count = int(found["count"] or len(found["parameters"] or "") // 2)
                self._known[name] = Macro(body[0].strip(), count, found["default"])

    def expanded(self, name: str, text: str, place: int) -> tuple[str, int] | None:
        """Return what a command at the end of which `place` is stands for, and where its arguments end; None for another, or too much."""
        macro = self._known.get(name)
        if macro is None:
            return None
        values: list[str] = []
        if macro.default is not None:
            option = OPTION.match(text, place)
            values.append(option[1] if option else macro.default)
            place = option.end() if option else place
        while len(values) < macro.arguments:
            argument = argument_at(text, place) or _token_at(text, place)
            if argument is None:
                return None
            values.append(argument[0])
            place = argument[1]
        body = PARAMETER.sub(
            lambda found: values[int(found[1]) - 1] if int(found[1]) <= len(values) else "", macro.body
        )
        self.left -= len(body) + 1
        return (body, place) if self.left >= 0 else None


def _token_at(text: str, place: int) -> tuple[str, int] | None:
    token = TOKEN.match(text, place)
    return (token[1], token.end()) if token else None


def argument_at(text: str, place: int) -> tuple[str, int] | None:
    """Return what stands in the braces at `place`, and where they end; None where there are none, or too long ones."""
    while place < len(text) and text[place] in " \t\n":
        place += 1
    if not text.startswith("{", place):
        return None
    depth = 0
    for brace in re.finditer(r"\\.|[{}]", text[place : place + MAX_ARGUMENT], re.DOTALL):
        depth += {"{": 1, "}": -1}.get(brace[0], 0)
        if not depth:
            return text[place + 1 : place + brace.start()], place + brace.end()
    return None
