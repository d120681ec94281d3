"""What a Markdown file says of itself at its beginning: title, author and day.

They stand in front matter between two lines `---` (Jekyll, Hugo, Pandoc, Obsidian), in Pandoc's title block of lines that
begin with `%`, or the title is the first heading of the first level. Lines are looked at, and no YAML is loaded.
"""

import re

from privllm.collect.parsed import About

SEARCHED = 20_000  # characters of a file
MAX_LENGTH = 300  # characters of a title or an author
AUTHORS = ("author", "authors", "by")
DATES = ("date", "published", "created", "pubdate")
_PAIR = re.compile(r"([A-Za-z_]{1,20}):[ \t]+(\S.*)")
_DAY = re.compile(r"(\d{4})[-/](\d\d)[-/](\d\d)")
_HEADING = re.compile(r"# +(\S.*?)(?:[ \t]+#+)?[ \t]*")
_UNDERLINE = re.compile(r" {0,3}=+[ \t]*")
_FENCE = re.compile(r" {0,3}(?:```|~~~)")
_MARKUP = re.compile(r"[*_`]{1,3}(?=\S)|(?<=\S)[*_`]{1,3}|\{#[^}]*\}")
_LINK = re.compile(r"!?\[([^\]]*)\]\([^)]*\)")


def about_markdown(text: str) -> About:
    """Return what a file says of itself; "" for what it does not."""
    lines = text[:SEARCHED].removeprefix("\ufeff").splitlines()
    fields, body = _fields_and_body(lines)
    title = fields.get("title", "") or _first_heading(body)
    author = next((fields[name] for name in AUTHORS if fields.get(name)), "")
    day = next((found for name in DATES if (found := _DAY.search(fields.get(name, "")))), None)
    return About(title[:MAX_LENGTH], author[:MAX_LENGTH], "-".join(day.groups()) if day else "")


def _fields_and_body(lines: list[str]) -> tuple[dict[str, str], list[str]]:
    """Return {name: value} of the front matter or the title block, and the lines behind it."""
    if lines and lines[0].rstrip() == "---":
        end = next((number for number, line in enumerate(lines[1:], 1) if line.rstrip() in ("---", "...")), 0)
        pairs = [pair for line in lines[1:end] if (pair := _PAIR.fullmatch(line))]
        return {pair[1].lower(): _scalar(pair[2]) for pair in reversed(pairs)}, lines[end + 1 :] if end else []
    block = []
    for line in lines[:3]:
        if not line.startswith("%"):
            break
        block.append(" ".join(line[1:].split()))
    return dict(zip(("title", "author", "date"), block, strict=False)), lines[len(block) :]


def _scalar(value: str) -> str:
    """Return the text of a value as YAML writes it on one line: quoted, or the first of a list."""
    value = value.strip()
    if value.startswith("["):
        value = value.strip("[]").partition(",")[0].strip()
    if len(value) > 1 and value[0] == value[-1] and value[0] in "\"'":
        return value[1:-1].strip()
    return value.partition(" #")[0].strip()


def _first_heading(lines: list[str]) -> str:
    """Return the first heading of the first level, without its markup; "" where there is none."""
    in_code = False
    above = ""
    for line in lines:
        if _FENCE.match(line):
            in_code = not in_code
        if in_code:
            continue
        heading = _HEADING.fullmatch(line)
        if heading:
            return _plain(heading[1])
        if above and _UNDERLINE.fullmatch(line):
            return _plain(above)
        above = line.strip()
    return ""


def _plain(heading: str) -> str:
    return " ".join(_MARKUP.sub("", _LINK.sub(r"\1", heading)).split())
