"""Phone numbers in a line of text: found by their form, by the words before them, or by the plan of a country.

    "Tel. 030/1234567" -> "Tel. <PHONE>"

Without words before it a number needs a country code, the groups of North America, or a leading zero. Numbers
that have none of these, such as 71 33 52 22 in Denmark, are found behind words ("call me at"), and anywhere in a text
where `clean.pii.countries` names the country: libphonenumber's plan of that country then decides.
"""

import re
from collections import Counter
from collections.abc import Callable, Sequence
from functools import cache
from itertools import pairwise

from privllm.core.params import WrongValue

NORWAY_IN_YAML = "false"  # what an unquoted NO becomes
DIGITS = range(8, 16)  # of a number with a form of its own (ITU-T E.164 has 15 at most)
NAMED_DIGITS = range(7, 16)  # of one behind words

# Country codes that ITU-T E.164 assigns, the zones +1 and +7 apart.
_ZONES = {
    "2": "0 7 11 12 13 16 18 20-58 60-69 90 91 97 98 99",
    "3": "0 1 2 3 4 6 9 50-59 70-83 85 86 87 89",
    "4": "0 1 3 4 5 6 7 8 9 20 21 23",
    "5": "1-8 00-09 90-99",
    "6": "0-6 70 72-79 80-83 85-92",
    "8": "00 08 1 2 4 6 50 52 53 55 56 70 78 80-83 86 88",
    "9": "0-5 8 60-68 70-77 79 92-96 98",
}
_NORTH_AMERICA = re.compile(r"1[2-9]\d\d[2-9]\d{6}")

_DATE = (
    r"(?:\d{1,2}[./-]\d{1,2}[./-](?:(?:19|20)\d\d|\d\d(?![\d./-]))|(?:19|20)\d\d[./-]\d\d[./-]\d\d|\d{1,2}:\d\d)(?!\d)"
)
_SEP = rf"(?:[.\-/\u2010-\u2013]{{0,2}}| [.\-/\u2010-\u2013]?(?!{_DATE})|[.\-/\u2010-\u2013] )"
_EXTENSION = r"(?:[ ,]{0,2}(?:x|ext\.?|extension)[ .:]{0,2}\d{1,6})?"
_FORMS = (
    r"\+\d{1,3} ?(?:\(0\) ?)?\d{2,5} [/\u2013-] \d{2,8}(?:[ -]\d{1,4}){0,3}"  # +49 (0) 30 / 123 456-78
    r"|\(\d{2,3}\) ?\d{4,5}-\d{4}"  # (11) 91234-5678
    rf"|(?:\+|00(?=[1-9])|\(\+(?=\d{{1,3}}\)))\d{{1,3}}\)?(?:{_SEP}(?:\(\d{{1,5}}\)|\d{{1,5}})){{2,6}}"  # +44 (0)20 7946 0958
    rf"|(?:\+?1{_SEP})?(?:\([2-9]\d\d\) ?|[2-9]\d\d[.\- ])[.-]?[2-9]\d\d[.\- ]\d{{4}}"  # (212) 555-0100
    rf"|0(?!\d-\d\d-\d{{4}})\d{{1,4}}(?P<nat>[ -])(?!{_DATE})\d{{2,4}}(?:(?P=nat)(?!{_DATE})\d{{2,4}}){{1,4}}"  # 020 7946 0958
    r"|0[1-9](?:\.\d\d){4}"  # 01.42.68.53.00
    # 030/123 45 67, 0171 2345678, 06-12345678, and no 07102-2992 of a US address
    r"|0(?!\d{4}-\d{4}(?!\d))[1-9](?:\d{1,3} ?[/-] ?\d{2,8}(?:[ -]\d{1,4}){0,4}|\d{1,3} \d{5,8}|[ -]\d{8})"
    rf"|\(0\d{{1,4}}\)[ -]?\d{{2,4}}(?:[ -]?(?!{_DATE})\d{{2,4}}){{1,3}}"  # (0171) 123 4567
)
_START = re.compile(r"[+(\d](?<![\w.+/=$#-].)")
_AFTER = r"(?![\w/]|[.\-:]\d)"
_PHONE = re.compile(rf"(?:{_FORMS}){_EXTENSION}{_AFTER}")

_NAMES = (
    r"(?:tele|smart)?phones?|telefones?|tel(?:[eé]f(?:on|ono|ax))?|t[eé]l(?:[eé]phone)?|tlf|fax|facsimile|mobiles?|mobil|m[oó]vil|handy|natel|gsm"
    r"|cell(?:ular|phone)?|celular|portable|whatsapp|hotline|rufnummer|durchwahl|call|dial|ring|sms"
)
_JOINT = r"(?:[ \t.-]{1,2}(?:numbers?|no|nr|nummer|is|me|us|him|her|at|on|under|unter|au)){0,3}(?: \([a-z]{1,12}\))?[.:#=]{0,2}[ \t]{0,4}"
_DIGIT_RUN = rf"[+(]?\d(?:(?:[().\-/]{{0,3}}| [ (]?(?!{_DATE})|[)/-] |\. (?=\d{{3}}))\d){{6,14}}"
_NAMED = re.compile(
    rf"(?i)(?<![\w-])(?P<words>(?:{_NAMES}){_JOINT})(?:(?:{_FORMS}){_EXTENSION}{_AFTER}|(?!{_DATE}){_DIGIT_RUN}{_EXTENSION}(?!\w))"
)
# Verbs of reaching somebody, with up to five words behind them; the number must be in groups.
_CONTACT = (
    r"(?:call|phon|ring|rang|dial|text|reach|contact|answer|voicemail|messag|registered|subscriber|cellphone|mobile"
    r"|anruf|erreich|appel|joign|llam)"
)
_GROUPS = (
    rf"\(?\d{{2,5}}\)?(?P<group>[ \-/])(?!(?<= ){_DATE})\d{{2,6}}(?:(?P=group)(?!(?<= ){_DATE})\d{{2,5}}){{0,4}}"
    r"|\d{2,4}(?:\.\d{2,4}){2,4}"
)
_REACHED = re.compile(
    rf"(?i)(?<![\w-])(?P<words>{_CONTACT}[a-z]{{0,6}}(?:[ \t][a-z']{{1,12}}){{0,5}}:?[ \t])(?!{_DATE})(?:{_GROUPS}){_AFTER}"
)
# Searched in lower case, which is several times faster than without regard to case.
_HAS_WORD = re.compile(f"{_NAMES}|{_CONTACT}")
SEVEN_DIGITS = re.compile(r"\d(?:[ ().,/\-\u2010-\u2013]{0,3}\d){6}")
_EXTENSION_MARK = re.compile("x|ext", re.IGNORECASE)
_PLACEHOLDER = "<PHONE>"


def require_country(code: str, key: str) -> None:
    """Raise WrongValue unless `code` is that of a country whose plan of numbers is known (ISO 3166, two capitals)."""
    from phonenumbers import SUPPORTED_REGIONS

    if code.lower() == NORWAY_IN_YAML:
        raise WrongValue(key, "holds a false, which YAML makes of an unquoted NO: write 'NO'")
    if code not in SUPPORTED_REGIONS:
        hint = f"; did you mean `{code.upper()}`?" if code.upper() in SUPPORTED_REGIONS else ""
        raise WrongValue(key, f"names `{code}`, which is no country with two capitals, such as DE{hint}")


def redact_phones(line: str, counts: Counter[str], countries: Sequence[str] = ()) -> str:
    """Return a line that has `SEVEN_DIGITS` with placeholders for phone numbers, which are added to `counts`.

    countries: ISO 3166 codes of those whose numbers are found without a country code and without words before them.
    """
    has_word = _HAS_WORD.search(line.lower()) is not None
    if has_word:
        line = _replace(_NAMED, _always, line, counts)
    line = _redact_forms(line, counts)
    if has_word:
        line = _replace(_REACHED, _is_in_groups, line, counts)
    for country in countries:
        line = _redact_national(line, country, counts)
    return line


def _replace(
    pattern: re.Pattern[str], is_number: Callable[[re.Match[str]], bool], line: str, counts: Counter[str]
) -> str:
    """Put a placeholder in place of every match that `is_number` accepts, behind its words if it has any."""

    def placeholder(match: re.Match[str]) -> str:
        if not is_number(match):
            return match[0]
        counts["PHONE"] += 1
        return match.groupdict().get("words", "") + _PLACEHOLDER

    return pattern.sub(placeholder, line)


def _redact_forms(line: str, counts: Counter[str]) -> str:
    """Put placeholders in place of numbers with a form of their own; searching where one may start is faster than `sub`."""
    pieces: list[str] = []
    done = 0
    for start in _START.finditer(line):
        if start.start() < done:
            continue
        match = _PHONE.match(line, start.start())
        if match and is_phone(match):
            pieces += [line[done : match.start()], _PLACEHOLDER]
            done = match.end()
    if not pieces:
        return line
    counts["PHONE"] += len(pieces) // 2
    return "".join([*pieces, line[done:]])


def _always(match: re.Match[str]) -> bool:
    return True


def is_phone(match: re.Match[str]) -> bool:
    """Return whether a match has 8 to 15 digits, a known country code where it has one, and is no part of a table.

    Numbers that increase in equal steps, such as 01 02 03 04 05 in a dump, are no phone number, and bytes of a dump
    are none: pairs of digits are four or five.
    """
    number = _EXTENSION_MARK.split(match[0])[0]
    groups = re.findall(r"\d+", number)
    digits = "".join(groups)
    if len(digits) not in DIGITS or len(set(digits)) <= 2:
        return False
    if number.startswith(("+", "(+")):
        return _has_country_code(digits)
    is_pairs = all(len(group) == 2 for group in groups)
    if is_pairs and (len(groups) > 5 or _BYTE_AFTER.match(match.string, match.end())):
        return False
    return not (len(groups) > 3 and _is_in_steps(groups)) and not is_in_a_row(match)


def _is_in_groups(match: re.Match[str]) -> bool:
    """Return whether groups of digits behind a verb may be a phone number."""
    groups = re.findall(r"\d+", match[0][len(match["words"]) :])
    digits = "".join(groups)
    allowed = DIGITS if digits.startswith("0") else NAMED_DIGITS
    if len(digits) not in allowed or len(set(digits)) <= 2:
        return False
    return not _is_in_steps(groups) and not is_in_a_row(match)


def _is_in_steps(groups: list[str]) -> bool:
    steps = {int(after) - int(before) for before, after in pairwise(groups)}
    return len(groups) > 2 and len(steps) == 1


def _has_country_code(digits: str) -> bool:
    """Return whether digits behind a + begin with an assigned country code; +1 needs ten digits of its plan."""
    if digits[0] == "1":
        return _NORTH_AMERICA.fullmatch(digits) is not None
    return digits[0] == "7" or any(digits[:length] in _country_codes() for length in (2, 3))


@cache
def _country_codes() -> frozenset[str]:
    codes: set[str] = set()
    for zone, entries in _ZONES.items():
        for entry in entries.split():
            first, _, last = entry.partition("-")
            width = len(first)
            codes.update(f"{zone}{code:0{width}d}" for code in range(int(first), int(last or first) + 1))
    return frozenset(codes)


_NUMBER_BEFORE = re.compile(r"\d[ \t]$")
_NUMBER_AFTER = re.compile(rf"[ \t](?!{_DATE})\d")
_BYTE_AFTER = re.compile(r" [0-9A-Fa-f]{2}(?![\w/.:-])")


def is_in_a_row(match: re.Match[str]) -> bool:
    """Return whether only a space separates a match from another number, as in a table.

    A date or a time behind a number is not a part of its row, and what begins with a bracket does not continue one.
    """
    line = match.string
    if _NUMBER_AFTER.match(line, match.end()):
        return True
    return (
        line[match.start()] != "(" and _NUMBER_BEFORE.search(line, max(0, match.start() - 2), match.start()) is not None
    )


def _redact_national(line: str, country: str, counts: Counter[str]) -> str:
    """Put placeholders in place of numbers that are valid in a country, written as one dials them there."""
    from phonenumbers import Leniency, PhoneNumberMatcher  # where a country is named: it takes a tenth of a second

    pieces: list[str] = []
    done = 0
    for found in PhoneNumberMatcher(line, country, Leniency.VALID, max_tries=len(line)):
        if not _stands_alone(line, found.start, found.end):
            continue
        pieces += [line[done : found.start], _PLACEHOLDER]
        done = found.end
    if not pieces:
        return line
    counts["PHONE"] += len(pieces) // 2
    return "".join([*pieces, line[done:]])


_OTHER_BEFORE = re.compile(r"[\w.+/=$#-]$|\d[ \t]$")
_OTHER_AFTER = re.compile(rf"[\w/]|[.\-:,]\d|[ \t](?!{_DATE})\d")


def _stands_alone(line: str, start: int, end: int) -> bool:
    """Return whether what is at start:end is no part of a word, a path, a decimal number or a row of numbers."""
    is_number_part = _OTHER_BEFORE.search(line, max(0, start - 2), start) or _OTHER_AFTER.match(line, end)
    return not is_number_part
