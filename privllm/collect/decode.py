"""Bytes to text, in whatever encoding they came.

In order: a byte order mark; strict UTF-8; the encoding that a page declares of itself; UTF-8 with a little damage;
what a detector sees in a bounded sample. Each candidate must decode the whole of the bytes; failing that, one that
leaves at most one character in a hundred as U+FFFD is taken and says so ("cp1252:replace").

It does not mend text that was decoded wrongly before it came here (mojibake is `clean`'s), and does not parse HTML.
"""

import codecs
import re
from typing import NamedTuple

from charset_normalizer import from_bytes
from resiliparse.parse.encoding import detect_encoding, map_encoding_to_html5

from privllm.collect.documents import Unreadable

SAMPLE_BYTES = 1 << 16  # for the detectors
DECLARED_WITHIN = 4096  # bytes; browsers look at 1,024, real pages are later than that
MAX_DAMAGE = 100  # one replaced character, or one control character, in so many
MARKS = (
    (codecs.BOM_UTF8, "utf-8"),
    (codecs.BOM_UTF32_LE, "utf-32-le"),  # before UTF-16, whose mark it begins with
    (codecs.BOM_UTF32_BE, "utf-32-be"),
    (codecs.BOM_UTF16_LE, "utf-16-le"),
    (codecs.BOM_UTF16_BE, "utf-16-be"),
)
WIDE = ("utf-32-le", "utf-32-be", "utf-16-le", "utf-16-be")
# What a label is used for on the web (WHATWG Encoding Standard, section 4.2): the vendor's superset of the norm.
SUPERSETS = {
    "ascii": "cp1252",
    "iso8859-1": "cp1252",
    "iso8859-9": "cp1254",
    "iso8859-11": "cp874",
    "tis-620": "cp874",
    "shift_jis": "cp932",
    "euc_kr": "cp949",
    "gb2312": "gb18030",
    "gbk": "gb18030",
}
# These differ from their Windows twins in letters too, so the twin is meant only where its extra bytes are seen.
TWINS = {"iso8859-2": "cp1250", "iso8859-16": "cp1250", "iso8859-7": "cp1253", "iso8859-13": "cp1257", "iso8859-15": "cp1252"}

CONTROLS = bytes(sorted(set(range(32)) - set(b"\t\n\v\f\r\x1b")))
NON_ASCII = re.compile(rb"[\x80-\xff]")
MULTIBYTE_UTF8 = re.compile(rb"[\xc2-\xf4][\x80-\xbf]+")
C1_CONTROLS = re.compile("[\x80-\x9f]")
ISO_2022 = re.compile(rb"\x1b[$(]")
DECLARATION = re.compile(
    rb"""<\?xml[^>]{0,200}?\sencoding\s*=\s*["']([\w.:-]{2,40})|<meta[^>]{0,400}?charset\s*=\s*["']?\s*([\w.:-]{2,40})""", re.I
)


class Decoded(NamedTuple):
    text: str
    encoding: str  # Python's codec name, ":replace" appended where something had to be


def decode(data: bytes, markup: bool = False) -> Decoded:
    """The text of `data`, its byte order mark removed; `markup` looks for a `<meta charset>` or XML declaration.

    Raises `Unreadable` ("binary", "undecodable").
    """
    for mark, name in MARKS:
        if data.startswith(mark):
            return _tolerant(data[len(mark) :], name)
    shifts = ISO_2022.search(data, 0, SAMPLE_BYTES) is not None
    controls = len(data) - len(data.translate(None, CONTROLS.replace(b"\x0e\x0f", b"") if shifts else CONTROLS))
    if controls * MAX_DAMAGE > len(data):
        return _wide(data)
    utf8 = strict(data, "utf-8")
    if utf8 is not None and not shifts:
        return Decoded(utf8, "utf-8")
    damaged = "utf-8" if _mostly_utf8(data) else None
    candidates = [name for name in (declared(data) if markup else None, damaged) if name]
    for name in candidates:
        text = strict(data, name)
        if text is not None:
            return Decoded(text, name)
    return _tolerant(data, damaged) if damaged and utf8 is None else _detected(data, candidates)


def strict(data: bytes, name: str) -> str | None:
    """`data` decoded without a single error, or None; also None for a codec that Python does not have."""
    try:
        return data.decode(name)
    except (UnicodeError, LookupError):
        return None


def declared(data: bytes) -> str | None:
    """The codec that a page names in its first bytes; None where it names none, or UTF-16 (then it could not be read)."""
    found = DECLARATION.search(data, 0, DECLARED_WITHIN)
    name = map_encoding_to_html5((found[1] or found[2]).decode("ascii", "replace"), fallback_utf8=False) if found else None
    return None if name is None or name.startswith("utf-16") else SUPERSETS.get(name, name)


def detect(data: bytes) -> str | None:
    """The likeliest codec of bytes that are not UTF-8.

    Mozilla's statistics (uchardet, through resiliparse) come first; charset-normalizer is asked where they are silent
    or name a codec that fails on the sample; what is nearly all ASCII falls to Windows-1252, as in browsers.
    """
    sample = _sample(data)
    guess = (detect_encoding(sample, SAMPLE_BYTES, html5_compatible=False) or "").lower()
    name = SUPERSETS.get(guess, guess)
    if name and _decodes(sample, name):
        return name
    best = from_bytes(sample[: SAMPLE_BYTES // 4]).best()
    if best is not None and best.encoding != "ascii":
        return SUPERSETS.get(codecs.lookup(best.encoding).name, best.encoding)
    return "cp1252" if len(NON_ASCII.findall(sample)) * 5 < len(sample) else None


def _sample(data: bytes) -> bytes:
    """From the line of the first byte that is not ASCII, which may lie megabytes into an English text."""
    found = NON_ASCII.search(data)
    start = data.rfind(b"\n", max(0, found.start() - 1024), found.start()) + 1 if found else 0
    return data[max(start, found.start() - 1024 if found else 0) :][:SAMPLE_BYTES]


def _decodes(sample: bytes, name: str) -> bool:
    """Whether a sample, which may end within a character, decodes."""
    try:
        codecs.getincrementaldecoder(name)().decode(sample)
        return True
    except (UnicodeError, LookupError):
        return False


def _mostly_utf8(data: bytes) -> bool:
    """Whether the bytes above ASCII are UTF-8 but for a few: a cut last character, a stray byte pasted in."""
    sample = data[:SAMPLE_BYTES] if NON_ASCII.search(data, 0, SAMPLE_BYTES) else _sample(data)
    return len(MULTIBYTE_UTF8.findall(sample)) > 2 * sample.decode("utf-8", "replace").count("\ufffd")


def _detected(data: bytes, candidates: list[str]) -> Decoded:
    name = detect(data)
    text = strict(data, name) if name else None
    if name and text is not None:
        twin = TWINS.get(name) if C1_CONTROLS.search(text) else None
        twin_text = strict(data, twin) if twin else None
        return Decoded(twin_text, twin) if twin and twin_text is not None else Decoded(text, codecs.lookup(name).name)
    for candidate in [*candidates, *([name] if name else [])]:
        try:
            return _tolerant(data, candidate)
        except Unreadable:
            continue
    raise Unreadable("undecodable", f"no encoding fits (the likeliest was {name or 'none'}): save it as UTF-8")


def _tolerant(data: bytes, name: str) -> Decoded:
    """`data` as `name`, with U+FFFD in place of the little that does not decode."""
    text = strict(data, name)
    if text is not None:
        return Decoded(text, name)
    try:
        text = data.decode(name, "replace")
    except LookupError:
        text = "\ufffd"
    if text.count("\ufffd") * MAX_DAMAGE > len(text):
        raise Unreadable("undecodable", f"too much of it is not {name}: save it as UTF-8")
    return Decoded(text, f"{name}:replace")


def _wide(data: bytes) -> Decoded:
    """UTF-16 or UTF-32 without a mark: the one kind of text that is full of NUL bytes.

    Any bytes can be read as ideographs in one of the four, so only that one is believed in which there is most of ASCII.
    """
    heads = {name: strict(data[:4096], name) or "" for name in WIDE}
    plain = {name: sum(character.isascii() and character != "\0" for character in head) for name, head in heads.items()}
    name = max(WIDE, key=plain.__getitem__)
    readable = sum(character.isprintable() or character.isspace() for character in heads[name])
    if readable * MAX_DAMAGE >= len(heads[name]) * (MAX_DAMAGE - 1) and (text := strict(data, name)) is not None:
        return Decoded(text, name)
    raise Unreadable("binary", "it holds NUL or other control bytes, as programs, pictures and archives do")
