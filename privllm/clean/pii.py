"""Placeholders in place of personal data and secrets: "mail bob@corp.example" -> "mail <EMAIL>".

`redact` is pure, idempotent and linear in the text's length: every quantifier is bounded, or cannot
restart inside what it has read. It finds what has a form (addresses, numbers, keys); names of
people have none (`names` finds them), and those of places are not searched. Left on purpose: loopback, unspecified, multicast
and documentation addresses, networks and netmasks, numbers of versions and sections, and numbers that
fail the checksum of their form.
"""

import re
from collections import Counter
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from functools import partial

import numpy as np

from privllm.clean import pii_checks
from privllm.clean.names import NAMES, OFF
from privllm.clean.phones import SEVEN_DIGITS, redact_phones, require_country
from privllm.clean.secrets import places_of_secrets, redact_private_keys, redact_secrets
from privllm.core.params import require

MAX_ROUNDS = 50  # each hides one more neighbour in a run of numbers; real texts need two
KINDS = ("EMAIL", "PHONE", "IP", "CARD", "IBAN", "SSN", "CREDENTIAL", "KEY")
RedactOwn = Callable[[str, Counter[str]], str]


@dataclass
class PiiConfig:
    countries: list[str] = field(default_factory=list)  # whose phone numbers count without a country code: [DE, AT]
    names: str = OFF  # off, replace: names of persons, in English texts, by the extra `annotate`

    def __post_init__(self) -> None:
        if self.names in ("False", "false"):  # what YAML makes of an unquoted off
            self.names = OFF
        require(self.names in NAMES, "clean.pii.names", " or ".join(NAMES))
        for code in self.countries:
            require_country(code, "clean.pii.countries")


_LABEL = r"[^\W_](?:[\w-]{0,61}[^\W_])?"
_EMAIL = re.compile(
    rf"(?<![\w.+%-])(?P<user>[\w.+%-][\w.+%'-]{{0,127}})(?:@|%40)(?:{_LABEL}\.){{1,8}}[^\W\d_]{{2,24}}(?:-[^\W_]{{1,24}}){{0,3}}(?![\w-])",
    re.IGNORECASE,
)
_OPEN, _CLOSE = r"[ \t]?[(\[{<][ \t]?", r"[ \t]?[)\]}>][ \t]?"
_SPELLED_EMAIL = re.compile(  # bob (at) corp (dot) example, bob AT corp DOT example
    rf"(?<![\w.+%-])[\w.+-]{{1,64}}(?:{_OPEN}at{_CLOSE}{_LABEL}(?:(?:\.|{_OPEN}dot{_CLOSE}|[ \t]dot[ \t]){_LABEL}){{1,8}}"
    rf"|[ \t]at[ \t]{_LABEL}(?:[ \t]dot[ \t]{_LABEL}){{0,7}}[ \t]dot[ \t](?:[a-z]{{2}}|com|org|net|edu|gov|info|example))(?![\w-])",
    re.IGNORECASE,
)
# A pattern that begins with a class and looks back after it is searched several times faster than one that looks back first.
_IBAN = re.compile(r"(?<![A-Za-z0-9])[A-Za-z]{2}\d\d(?:[ -]?[A-Za-z0-9]){11,40}")
_CARD = re.compile(
    r"\d(?<![\w.,-].)(?:\d{11,18}|\d{3}([ .-])\d{4}\1\d{4}(?:\1\d{1,4}(?:\1\d{1,3})?)?|\d{3}([ -])\d{6}\2\d{4,5})(?![\w-]|[.,]\d)"
)
_SSN = re.compile(r"\d(?<![\w.-].)(?<!9)(?!(?<=0)00|(?<=6)66)\d\d([ -])(?!00)\d\d\1(?!0000)\d{4}(?![\w-]|\.\d)")
_SSN_NAMED = re.compile(r"(?i)(?<!\w)(ssn|social security(?: (?:number|no\.?))?)((?: is|:|=|#)? ?)\d{9}(?!\w)")
_HAS_SSN = re.compile("ssn|social security")
_IPV4 = re.compile(r"[0-9](?<![\w.].)[0-9]{0,2}\.(?:[0-9]{1,3}\.){2}[0-9]{1,3}(?!\w|\.\d|-\d(?!\d{0,2}\.\d{1,3}\.\d))")
_IPV6 = re.compile(r"(?<![\w:.])(?:[0-9A-Fa-f]{0,4}:){2,7}(?:(?:[0-9]{1,3}\.){3}[0-9]{1,3}|[0-9A-Fa-f]{0,4})(?![\w:])")

# Most lines hold nothing, so the text is first searched for lines that may: as bytes, one for each character, in lower
# case and with 0 for every digit. Each pattern begins with plain characters, which is what makes a search fast.
_SHADE = bytes.maketrans(b"ABCDEFGHIJKLMNOPQRSTUVWXYZ123456789", b"abcdefghijklmnopqrstuvwxyz000000000")
_OTHER_DIGIT = re.compile(r"[^\W_\x00-\x7f](?<=\d)")
_OTHER_DIGITS_FROM, _NO_DIGITS = 0x660, (0x2000, 0xA620)  # the first decimal digit beyond latin-1; a range without any
_SEPARATORS = rb"[ ().,/?\-]{0,3}"  # what latin-1 lacks, such as a dash, is a question mark
_TRIGGERS = (
    re.compile(rb"0(?<!00)(?:0{0,2}\.0{1,3}\.0{1,3}\.0|(?!000-00-00(?!0))(?:" + _SEPARATORS + rb"0){6})"),
    re.compile(rb"@[^\s@]{0,64}\."),
    re.compile(rb"%00[^\s%]{0,64}\."),
    re.compile(rb"at(?<=[(\[{< ]at)[ \t]?[)\]}>]"),
    re.compile(rb" dot "),
    re.compile(rb":[0-9a-f]{1,4}:[0-9a-f]{0,4}:"),
)


def redact(text: str, redact_own: RedactOwn | None = None, countries: Sequence[str] = ()) -> tuple[str, dict[str, int]]:
    """Return `text` with placeholders, and the number of each kind that were put in.

    `redact_own` puts in those of a project's own kinds, and counts them. `countries` are those whose phone numbers are
    found without a country code (ISO 3166). It repeats until nothing is found, since a placeholder can end the run
    of digits that hid its neighbour.
    """
    counts: Counter[str] = Counter()
    for _ in range(MAX_ROUNDS):
        text = _redact_known(text, counts, countries)
        if redact_own is None:
            break
        count_before = counts.total()
        text = redact_own(text, counts)
        if counts.total() == count_before:
            break
    return text, dict(sorted(counts.items()))


def _redact_known(text: str, counts: Counter[str], countries: Sequence[str]) -> str:
    """Return `text` with placeholders of `KINDS`, of which no more are found."""
    text = redact_private_keys(text, counts)
    shade = _shade(text)
    places = places_of_secrets(text, shade)
    for trigger in _TRIGGERS:
        places += [match.start() for match in trigger.finditer(shade)]
    return on_lines(text, places, partial(_redact_line, counts=counts, countries=countries))


def _shade(text: str) -> bytes:
    """Return a byte for each character of `text`: lower case, 0 for digits, a question mark for what latin-1 lacks."""
    try:
        return text.encode("latin-1").translate(_SHADE)
    except UnicodeEncodeError:
        if _may_have_other_digits(text):
            text = _OTHER_DIGIT.sub("0", text)
        return text.encode("latin-1", "replace").translate(_SHADE)


def _may_have_other_digits(text: str) -> bool:
    points = np.frombuffer(text.encode("utf-32-le", "surrogatepass"), np.uint32)
    is_beyond = (points >= _OTHER_DIGITS_FROM) & ((points < _NO_DIGITS[0]) | (points >= _NO_DIGITS[1]))
    return bool(is_beyond.any())


def on_lines(text: str, places: Sequence[int], change: Callable[[str], str]) -> str:
    """Return `text` with `change` applied to every line in which one of `places` lies."""
    pieces: list[str] = []
    done = 0  # characters of `text` in `pieces`
    for place in sorted(places):
        if place < done:
            continue
        start = text.rfind("\n", done, place) + 1 or done
        end = text.find("\n", place)
        if end < 0:
            end = len(text)
        pieces.append(text[done:start])
        pieces.append(change(text[start:end]))
        done = end
    return "".join(pieces) + text[done:] if pieces else text


def _redact_line(line: str, counts: Counter[str], countries: Sequence[str]) -> str:
    for _ in range(MAX_ROUNDS):
        line_before = line
        line = redact_secrets(line, counts)
        line = _redact_emails(line, counts)
        if line.count(":") >= 3:
            line = _replace(_IPV6, "IP", pii_checks.is_private_ipv6, line, counts)
        line = _redact_numbers(line, counts, countries)
        if line == line_before:
            break
    return line


def _redact_emails(line: str, counts: Counter[str]) -> str:
    if "@" in line or "%40" in line:
        line = _EMAIL.sub(lambda match: _email_placeholder(match, counts), line)
    if _SPELLED_AT.search(line.lower()):
        line = _replace(_SPELLED_EMAIL, "EMAIL", pii_checks.is_email, line, counts)
    return line


_SPELLED_AT = re.compile(r"[(\[{<] ?at ?[)\]}>]|\bdot\b")


_STRING_PREFIX = re.compile("[befnruBEFNRU]{1,2}'")  # of a literal in Python or SQL


def _email_placeholder(match: re.Match[str], counts: Counter[str]) -> str:
    """Return a placeholder behind a quote that only begins with the address, or the match where it is no address."""
    if not pii_checks.is_email(match):
        return match[0]
    counts["EMAIL"] += 1
    prefix = _STRING_PREFIX.match(match["user"])
    is_quoted = prefix and match.string.startswith("'", match.end())
    return f"{prefix[0]}<EMAIL>" if prefix and is_quoted else "<EMAIL>"


def _redact_numbers(line: str, counts: Counter[str], countries: Sequence[str]) -> str:
    has_seven_digits = SEVEN_DIGITS.search(line) is not None  # which an address of four numbers need not have
    if has_seven_digits:
        line = _redact_ibans(line, counts)
        line = _replace(_CARD, "CARD", pii_checks.is_card, line, counts)
    if line.count(".") >= 3:
        line = _replace(_IPV4, "IP", pii_checks.is_private_ipv4, line, counts)
    if not has_seven_digits:
        return line
    line = _replace(_SSN, "SSN", _always, line, counts)
    if _HAS_SSN.search(line.lower()):
        line = _replace_named(_SSN_NAMED, "SSN", line, counts)
    return redact_phones(line, counts, countries)


def _replace(
    pattern: re.Pattern[str],
    kind: str,
    is_personal: Callable[[re.Match[str]], bool],
    text: str,
    counts: Counter[str],
) -> str:
    """Put a placeholder in place of every match that `is_personal` accepts."""

    def placeholder(match: re.Match[str]) -> str:
        if not is_personal(match):
            return match[0]
        counts[kind] += 1
        return f"<{kind}>"

    return pattern.sub(placeholder, text)


def _replace_named(pattern: re.Pattern[str], kind: str, text: str, counts: Counter[str]) -> str:
    """Put a placeholder behind the name (group 1) and the separator (group 2) of every match."""
    text, count = pattern.subn(rf"\1\2<{kind}>", text)
    if count:
        counts[kind] += count
    return text


def _always(match: re.Match[str]) -> bool:
    return True


def _redact_ibans(text: str, counts: Counter[str]) -> str:
    """Put a placeholder in place of every IBAN; a match may be longer than its IBAN."""

    def placeholder(match: re.Match[str]) -> str:
        end = pii_checks.iban_end(match[0])
        if end == 0:
            return match[0]
        counts["IBAN"] += 1
        return f"<IBAN>{match[0][end:]}"

    return _IBAN.sub(placeholder, text)
