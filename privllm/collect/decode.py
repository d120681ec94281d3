"""Decoding of bytes in any encoding.

Candidates in order: a byte order mark; strict UTF-8; the encoding that a page declares; UTF-8 with
a little damage; the guess of a detector from a bounded sample. A candidate must decode all bytes;
if none does, one that leaves at most one character in a hundred as U+FFFD is taken and named so
("cp1252:replace").

Text that was decoded wrongly before it came here (mojibake) is fixed by `clean`; HTML is not
parsed.
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
# The meaning of a label on the web (WHATWG Encoding Standard, section 4.2): the vendor's superset
# of the norm.
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
# These differ from their Windows twins in letters too, so the twin is meant only where its extra
# bytes are seen.
TWINS = {
    "iso8859-2": "cp1250",
    "iso8859-16": "cp1250",
    "iso8859-7": "cp1253",
    "iso8859-13": "cp1257",
    "iso8859-15": "cp1252",
}

CONTROLS = bytes(sorted(set(range(32)) - set(b"\t\n\v\f\r\x1b")))
CONTROLS_BUT_SHIFTS = CONTROLS.replace(b"\x0e\x0f", b"")  # ISO 2022 shifts with SO and SI
NON_ASCII = re.compile(rb"[\x80-\xff]")
MULTIBYTE_UTF8 = re.compile(rb"[\xc2-\xf4][\x80-\xbf]+")
C1_CONTROLS = re.compile("[\x80-\x9f]")
ISO_2022 = re.compile(rb"\x1b[$(]")
DECLARATION = re.compile(
    rb"""<\?xml[^>]{0,200}?\sencoding\s*=\s*["']([\w.:-]{2,40})"""
    rb"""|<meta[^>]{0,400}?charset\s*=\s*["']?\s*([\w.:-]{2,40})""",
    re.IGNORECASE,
)


class Decoded(NamedTuple):
    """Decoded text."""

    text: str
    encoding: str  # Python's codec name; ":replace" is appended where characters were replaced


def decode(data: bytes, markup: bool = False) -> Decoded:
    """Decode `data`; with `markup`, look for a `<meta charset>` or an XML declaration.

    A byte order mark is removed. Raises `Unreadable` ("binary", "undecodable").
    """
    for mark, name in MARKS:
        if data.startswith(mark):
            return _decode_tolerantly(data[len(mark) :], name)
    has_shifts = ISO_2022.search(data, 0, SAMPLE_BYTES) is not None
    controls = CONTROLS_BUT_SHIFTS if has_shifts else CONTROLS
    control_count = len(data) - len(data.translate(None, controls))
    if control_count * MAX_DAMAGE > len(data):
        return _decode_wide(data)
    utf8_text = strict(data, "utf-8")
    if utf8_text is not None and not has_shifts:
        return Decoded(utf8_text, "utf-8")

    declared_name = declared(data) if markup else None
    is_damaged_utf8 = _is_mostly_utf8(data)
    candidates = [declared_name] if declared_name else []
    if is_damaged_utf8:
        candidates.append("utf-8")
    for name in candidates:
        text = strict(data, name)
        if text is not None:
            return Decoded(text, name)
    if is_damaged_utf8 and utf8_text is None:
        return _decode_tolerantly(data, "utf-8")
    return _decode_by_detection(data, candidates)


def strict(data: bytes, name: str) -> str | None:
    """Decode `data` without errors; return None if that fails or the codec does not exist."""
    try:
        return data.decode(name)
    except (UnicodeError, LookupError):
        return None


def declared(data: bytes) -> str | None:
    """Return the codec that a page names in its first bytes.

    None where it names none, or UTF-16, in which the declaration itself could not have been read.
    """
    declaration = DECLARATION.search(data, 0, DECLARED_WITHIN)
    if declaration is None:
        return None
    label = (declaration[1] or declaration[2]).decode("ascii", "replace")
    name = map_encoding_to_html5(label, fallback_utf8=False)
    if name is None or name.startswith("utf-16"):
        return None
    return SUPERSETS.get(name, name)


def detect(data: bytes) -> str | None:
    """Return the likeliest codec of bytes that are not UTF-8.

    Mozilla's statistics (uchardet, through resiliparse) come first; charset-normalizer is asked
    where they are silent or name a codec that fails on the sample. What is nearly all ASCII is
    taken for Windows-1252, as in browsers.
    """
    sample = _sample(data)
    guess = (detect_encoding(sample, SAMPLE_BYTES, html5_compatible=False) or "").lower()
    name = SUPERSETS.get(guess, guess)
    if name and _decodes(sample, name):
        return name
    best = from_bytes(sample[: SAMPLE_BYTES // 4]).best()
    if best is not None and best.encoding != "ascii":
        return SUPERSETS.get(codecs.lookup(best.encoding).name, best.encoding)
    is_nearly_ascii = len(NON_ASCII.findall(sample)) * 5 < len(sample)
    return "cp1252" if is_nearly_ascii else None


def _sample(data: bytes) -> bytes:
    """Return a sample around the first byte that is not ASCII, which may come after megabytes."""
    first = NON_ASCII.search(data)
    if first is None:
        return data[:SAMPLE_BYTES]
    earliest = max(0, first.start() - 1024)
    line_start = data.rfind(b"\n", earliest, first.start()) + 1
    start = max(line_start, earliest)
    return data[start : start + SAMPLE_BYTES]


def _decodes(sample: bytes, name: str) -> bool:
    """Return whether a sample, which may end within a character, decodes."""
    try:
        codecs.getincrementaldecoder(name)().decode(sample)
        return True
    except (UnicodeError, LookupError):
        return False


def _is_mostly_utf8(data: bytes) -> bool:
    """Return whether the bytes above ASCII are UTF-8, but for a cut character or a stray byte."""
    sample = data[:SAMPLE_BYTES] if NON_ASCII.search(data, 0, SAMPLE_BYTES) else _sample(data)
    damaged = sample.decode("utf-8", "replace").count("\ufffd")
    return len(MULTIBYTE_UTF8.findall(sample)) > 2 * damaged


def _decode_by_detection(data: bytes, candidates: list[str]) -> Decoded:
    """Decode `data` by the detector's guess, or by the first candidate with few replacements."""
    name = detect(data)
    text = strict(data, name) if name else None
    if name and text is not None:
        twin = TWINS.get(name) if C1_CONTROLS.search(text) else None
        twin_text = strict(data, twin) if twin else None
        if twin and twin_text is not None:
            return Decoded(twin_text, twin)
        return Decoded(text, codecs.lookup(name).name)
    guesses = [*candidates, name] if name else candidates
    for guess in guesses:
        try:
            return _decode_tolerantly(data, guess)
        except Unreadable:
            continue
    raise Unreadable("undecodable", f"no encoding fits (the likeliest was {name or 'none'}): save it as UTF-8")


def _decode_tolerantly(data: bytes, name: str) -> Decoded:
    """Decode `data` as `name`, with U+FFFD in place of the little that is damaged."""
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


def _decode_wide(data: bytes) -> Decoded:
    """Decode UTF-16 or UTF-32 without a mark: the only kind of text that is full of NUL bytes.

    Any bytes can be read as ideographs in one of the four encodings, so the one that gives most
    ASCII is tried.
    """
    heads = {name: strict(data[:4096], name) or "" for name in WIDE}
    name = max(WIDE, key=lambda name: _ascii_count(heads[name]))
    head = heads[name]
    readable = sum(character.isprintable() or character.isspace() for character in head)
    if readable * MAX_DAMAGE >= len(head) * (MAX_DAMAGE - 1):
        text = strict(data, name)
        if text is not None:
            return Decoded(text, name)
    raise Unreadable("binary", "it holds NUL or other control bytes, as programs, pictures and archives do")


def _ascii_count(text: str) -> int:
    """Return the number of ASCII characters other than NUL."""
    return sum(character.isascii() and character != "\0" for character in text)
