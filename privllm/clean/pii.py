"""Placeholders in place of personal data and secrets: "mail bob@corp.example" -> "mail <EMAIL>".

`redact` is pure, idempotent and linear in the text's length: every quantifier is bounded, or cannot
restart inside what it has read. It finds what has a form (addresses, numbers, keys); names of
people and places have none and are not searched. Left on purpose: loopback, unspecified, multicast
and documentation addresses, netmasks, and numbers that fail the checksum of their form.
"""

import re
from collections import Counter
from collections.abc import Callable

from privllm.clean import pii_checks
from privllm.clean.secrets import redact_secrets

MAX_ROUNDS = 50  # each hides one more neighbour in a run of numbers; real texts need two
KINDS = ("EMAIL", "PHONE", "IP", "CARD", "IBAN", "SSN", "CREDENTIAL", "KEY")
RedactOwn = Callable[[str, Counter[str]], str]

_LABEL = r"[^\W_](?:[\w-]{0,61}[^\W_])?"
_EMAIL = re.compile(rf"(?<![\w.+%-])[\w.+%'-]{{1,128}}@(?:{_LABEL}\.){{1,8}}[^\W\d_]{{2,24}}(?![\w-])")
_IBAN = re.compile(r"(?<![A-Za-z0-9])[A-Za-z]{2}\d\d(?:[ -]?[A-Za-z0-9]){11,40}")
_CARD = re.compile(
    r"(?<![\w.,-])(?:\d{12,19}|\d{4}([ -])\d{4}\1\d{4}(?:\1\d{1,4}(?:\1\d{1,3})?)?|\d{4}([ -])\d{6}\2\d{4,5})(?![\w-]|[.,]\d)"
)
_SSN = re.compile(r"(?<![\w.-])(?!000|666|9)\d{3}([ -])(?!00)\d\d\1(?!0000)\d{4}(?![\w-]|\.\d)")
_SSN_NAMED = re.compile(r"(?i)(?<!\w)(ssn|social security(?: (?:number|no\.?))?)((?: is|:|=|#)? ?)\d{9}(?!\w)")
_IPV4 = re.compile(r"(?<![\w.])(?:\d{1,3}\.){3}\d{1,3}(?!\w|\.\d|-\d)")
_IPV6 = re.compile(r"(?<![\w:.])(?:[0-9A-Fa-f]{0,4}:){2,7}(?:(?:\d{1,3}\.){3}\d{1,3}|[0-9A-Fa-f]{0,4})(?![\w:])")

_SEP = r"[ .\-\u2010-\u2013]{0,2}"
_EXTENSION = r"(?:[ ,]{0,2}(?:x|ext\.?|extension)[ .:]{0,2}\d{1,6})?"
_PHONE = re.compile(
    r"(?<![\w.+/=$#-])(?:"
    rf"(?:\+|00(?=[1-9]))\d{{1,3}}(?:{_SEP}(?:\(\d{{1,5}}\)|\d{{1,5}})){{2,6}}"  # +44 (0)20 7946 0958
    rf"|(?:\+?1{_SEP})?(?:\([2-9]\d\d\) ?|[2-9]\d\d(?P<us>[.\- ]))[.-]?[2-9]\d\d[.\- ]\d{{4}}"  # (212) 555-0100
    r"|0(?!\d-\d\d-\d{4})\d{1,4}(?P<nat>[ -])\d{2,4}(?:(?P=nat)\d{2,4}){1,4}"  # 020 7946 0958
    r"|0\d{2,4}-\d{6,8}"  # 0961-7596216
    r"|\(0\d{1,4}\) ?\d{2,4}(?:[ -]?\d{2,4}){1,3}"  # (0171) 123 4567
    rf"){_EXTENSION}(?![\w/]|[.\-:]\d)"
)
_PHONE_NAMED = re.compile(
    r"(?i)(?<![\w-])((?:tele)?phone|tel|fax|mobile|cell|whatsapp|call|dial)((?: (?:number|no|is|me|us|at|on)){0,3}[.:#]{0,2}[ \t]{0,4})"
    rf"[+(]?\d(?:[ ().\-/]{{0,3}}\d){{6,14}}{_EXTENSION}(?!\w)"
)
# Triggers: only lines with a match are searched further. They start with a plain character or
# class, which is fast.
_AT = re.compile("@")
_COLONS = re.compile(":[0-9A-Fa-f]{1,4}:")
_DIGITS = re.compile(r"\d[\d ().,/\-\u2010-\u2013]{4}[\d ().,/\-\u2010-\u2013]*\d")


def redact(text: str, redact_own: RedactOwn | None = None) -> tuple[str, dict[str, int]]:
    """Return `text` with placeholders, and the number of each kind that were put in.

    `redact_own` puts in those of a project's own kinds, and counts them. It repeats until nothing
    is found, since a placeholder can end the run of digits that hid its neighbour.
    """
    counts: Counter[str] = Counter()
    for _ in range(MAX_ROUNDS):
        count_before = counts.total()
        text = _redact_once(text, counts)
        if redact_own is not None:
            text = redact_own(text, counts)
        if counts.total() == count_before:
            break
    return text, dict(sorted(counts.items()))


def _redact_once(text: str, counts: Counter[str]) -> str:
    text = redact_secrets(text, counts)
    text = on_lines(text, _AT, lambda line: _redact_emails(line, counts))
    text = on_lines(text, _COLONS, lambda line: _redact_ipv6(line, counts))
    return on_lines(text, _DIGITS, lambda line: _redact_numbers(line, counts))


def _redact_emails(line: str, counts: Counter[str]) -> str:
    return _replace(_EMAIL, "EMAIL", pii_checks.is_email, line, counts)


def _redact_ipv6(line: str, counts: Counter[str]) -> str:
    return _replace(_IPV6, "IP", pii_checks.is_private_ipv6, line, counts)


def _redact_numbers(line: str, counts: Counter[str]) -> str:
    line = _redact_ibans(line, counts)
    line = _replace(_CARD, "CARD", pii_checks.is_card, line, counts)
    line = _replace(_IPV4, "IP", pii_checks.is_private_ipv4, line, counts)
    line = _replace(_SSN, "SSN", _always, line, counts)
    line = _replace_named(_SSN_NAMED, "SSN", line, counts)
    line = _replace_named(_PHONE_NAMED, "PHONE", line, counts)
    return _replace(_PHONE, "PHONE", pii_checks.is_phone, line, counts)


def on_lines(text: str, trigger: re.Pattern[str], change: Callable[[str], str]) -> str:
    """Return `text` with `change` applied to every line that holds a match of `trigger`."""
    pieces: list[str] = []
    done = 0  # characters of `text` in `pieces`
    match = trigger.search(text)
    while match:
        start = text.rfind("\n", done, match.start()) + 1 or done
        end = text.find("\n", match.end())
        if end < 0:
            end = len(text)
        pieces.append(text[done:start])
        pieces.append(change(text[start:end]))
        done = end
        match = trigger.search(text, end)
    return "".join(pieces) + text[done:] if pieces else text


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
