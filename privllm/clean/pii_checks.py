"""Checks of candidates that `pii` found by their form: checksums, ranges and context.

They are pure predicates on regular expression matches; the context is at most 64 characters to the
left.
"""

import re
from ipaddress import IPv6Address, IPv6Network

CONTEXT = 64  # characters to the left that are read
ADDRESS_CONTEXT = 24  # of them, in which a word such as "host" makes a number an address

# Reserved for examples: RFC 5737, RFC 3849.
DOCUMENTATION_V4 = ((192, 0, 2), (198, 51, 100), (203, 0, 113))
DOCUMENTATION_V6 = IPv6Network("2001:db8::/32")

# A file name such as logo@2x.png has the form of an address.
_FILE_ENDING = re.compile(
    "png|jpe?g|gif|svg|webp|ico|css|jsx?|tsx?|json|html?|md|txt|py|so|dll|exe|zip|gz",
    re.IGNORECASE,
)
# Words whose number is a version or a section, and lists of such numbers behind one of them.
_VERSION_WORD = re.compile(  # in lower case
    r"(?:\b(?:v|nr|no|art|article|item|step|oid|windows)|versions?|release|rev|revision|build|sections?|chapters?|clauses?"
    r"|paragraphs?|appendix|figure|table|abschnitt|kapitel|ziffer|upgrade to|sqlite|python)"
    r"[ .:=(]{0,3}(?:\d[\d.]*(?:,| and| or| to| und|-|\u2013|;){1,2} ?)*$"
)
_ADDRESS_WORD = re.compile(  # likewise
    r"(?:ip|ipv4|host|addr|address|server|ping|gateway|dns|received|client|from|listen|bind|subnet|proxy|login|port)\b"
)
_HEADING_BEFORE = re.compile(r"[ \t#*\u2022]*$")
_HEADING_AFTER = re.compile(r"\.?[ \t]+[^\W\d_a-z]|\.[ \t]|\.?$")  # "24.2.2.4. Collations", "24.2.2.4 Collations"
_PORT_OR_MASK = re.compile(r":\d{2,5}\b|/\d{1,2}\b")
_MASK = re.compile(r"/(\d{1,2})(?![\d.])")
_FILE_NAME_BEFORE = re.compile(r"[a-z]-$")
_CARD_WORD = re.compile(r"card\b[^\d\n]{0,32}$", re.IGNORECASE)

# ISO/IEC 7812 prefixes of the large issuers, with the lengths they use.
_CARD_FORMS = re.compile(
    r"4(?:\d{12}|\d{15}|\d{18})|(?:5[1-5]|2[2-7])\d{14}|3[47]\d{13}|3(?:0[0-5]|[689]\d)\d{11}|35\d{14}"
    r"|(?:6011|64[4-9]\d|65\d\d)\d{12,15}"
    r"|62\d{14,17}|(?:2131|1800)\d{11}|(?:50|5[6-8]|6[37])\d{10,17}"
)
# Lengths from the SWIFT IBAN registry (ISO 13616).
_IBAN_LENGTHS = {
    **dict.fromkeys(("NO",), 15),
    **dict.fromkeys(("BE",), 16),
    **dict.fromkeys(("DK", "FI", "FK", "FO", "GL", "NL", "SD"), 18),
    **dict.fromkeys(("MK", "SI"), 19),
    **dict.fromkeys(("AT", "BA", "EE", "KZ", "LT", "LU", "XK", "MN"), 20),
    **dict.fromkeys(("CH", "HR", "LI", "LV"), 21),
    **dict.fromkeys(("BG", "BH", "CR", "DE", "GB", "GE", "IE", "ME", "RS", "VA"), 22),
    **dict.fromkeys(("AE", "GI", "IL", "IQ", "TL", "SO", "OM"), 23),
    **dict.fromkeys(("AD", "CZ", "ES", "MD", "PK", "RO", "SA", "SE", "SK", "TN", "VG"), 24),
    **dict.fromkeys(("LY", "PT", "ST"), 25),
    **dict.fromkeys(("IS", "TR"), 26),
    **dict.fromkeys(("BI", "DJ", "FR", "GR", "IT", "MC", "MR", "SM"), 27),
    **dict.fromkeys(("AL", "AZ", "BY", "CY", "DO", "GT", "HN", "HU", "LB", "NI", "PL", "SV"), 28),
    **dict.fromkeys(("BR", "EG", "PS", "QA", "UA"), 29),
    **dict.fromkeys(("JO", "KW", "MU", "YE"), 30),
    **dict.fromkeys(("MT", "SC"), 31),
    **dict.fromkeys(("LC",), 32),
    **dict.fromkeys(("RU",), 33),
}


def is_email(match: re.Match[str]) -> bool:
    """Return whether a match is an address, and not the name of a file."""
    ending = match[0].rpartition(".")[2]
    return _FILE_ENDING.fullmatch(ending) is None


def is_card(match: re.Match[str]) -> bool:
    """Return whether a match has the checksum of a payment card's number, and an issuer's form or a card's name before it."""
    digits = _digits(match)
    if len(set(digits)) == 1 or not luhn(digits):
        return False
    return bool(_CARD_FORMS.fullmatch(digits) or _CARD_WORD.search(_text_before(match)))


def luhn(digits: str) -> bool:
    """Return whether the checksum of ISO/IEC 7812-1, annex B, is right."""
    total = sum(int(digit) for digit in digits[::-2])
    for digit in digits[-2::-2]:
        tens, ones = divmod(2 * int(digit), 10)
        total += tens + ones
    return total % 10 == 0


def iban_end(candidate: str) -> int:
    """Return the end of the IBAN at the start of `candidate`, or 0 (ISO 7064, MOD 97-10)."""
    length = _IBAN_LENGTHS.get(candidate[:2].upper(), 0)
    places = [place for place, character in enumerate(candidate) if character.isalnum()][:length]
    if not places or len(places) < length:
        return 0
    end = places[-1] + 1
    if candidate[end : end + 1].isalnum():
        return 0
    code = "".join(candidate[place] for place in places)
    rearranged = code[4:] + code[:4]
    number = "".join(str(int(character, 36)) for character in rearranged)
    return end if int(number) % 97 == 1 else 0


def is_private_ipv4(match: re.Match[str]) -> bool:
    """Return whether a match is a host's address: not reserved, no network or netmask, no version or section number."""
    octets = match[0].split(".")
    if not all(map(_is_octet, octets)):
        return False
    numbers = [int(octet) for octet in octets]
    if _is_reserved(numbers) or _is_network(match, numbers):
        return False
    context = _text_before(match).lower()
    is_bracketed = context.endswith("[") and match.string.startswith("]", match.end())
    has_place = (
        is_bracketed or context.endswith(("://", "@")) or _PORT_OR_MASK.match(match.string, match.end()) is not None
    )
    is_large = max(numbers) >= 100  # than sections and versions are
    if not has_place and not is_large:
        if _is_heading(match):
            return False
        if numbers[0] != 10 and _ADDRESS_WORD.search(context[-ADDRESS_CONTEXT:]) is None:
            return False
    return _VERSION_WORD.search(context) is None and _FILE_NAME_BEFORE.search(context) is None


def _is_reserved(numbers: list[int]) -> bool:
    """Return whether an address is unspecified, loopback, multicast, a mask, or for documentation (RFC 5737)."""
    first = numbers[0]
    return first in (0, 127, 255) or 224 <= first <= 239 or tuple(numbers[:3]) in DOCUMENTATION_V4


def _is_network(match: re.Match[str], numbers: list[int]) -> bool:
    """Return whether an address is followed by a mask and is that of the whole network: 10.1.0.0/16 names no host."""
    mask = _MASK.match(match.string, match.end())
    if mask is None or not 1 <= int(mask[1]) <= 30:
        return False
    return int.from_bytes(numbers) % (1 << (32 - int(mask[1]))) == 0


def _is_heading(match: re.Match[str]) -> bool:
    """Return whether a number stands where that of a section does: before a title, at the beginning of a line."""
    window_start = max(0, match.start() - CONTEXT)
    line_start = match.string.rfind("\n", window_start, match.start()) + 1
    if not line_start and window_start:
        return False  # too far from the beginning of its line
    if _HEADING_BEFORE.fullmatch(match.string, line_start, match.start()) is None:
        return False
    return _HEADING_AFTER.match(match.string, match.end()) is not None


def _is_octet(digits: str) -> bool:
    """Return whether digits are a number from 0 to 255 without leading zeros."""
    has_leading_zero = len(digits) > 1 and digits[0] == "0"
    return int(digits) <= 255 and not has_leading_zero


def is_private_ipv6(match: re.Match[str]) -> bool:
    """Return whether a match is an address: four groups and a digit, since `a::b` is C++, and no bytes."""
    groups = [group for group in match[0].split(":") if group]
    if len(groups) < 4 or not any(character.isdigit() for character in match[0]):
        return False
    if "::" not in match[0] and all(len(group) == 2 for group in groups):  # bytes, as of an EUI-64
        return False
    try:
        address = IPv6Address(match[0])
    except ValueError:
        return False
    return not (address.is_loopback or address.is_unspecified or address.is_multicast or address in DOCUMENTATION_V6)


def _digits(match: re.Match[str]) -> str:
    return re.sub(r"\D", "", match[0])


def _text_before(match: re.Match[str]) -> str:
    """Return at most CONTEXT characters to the left of a match."""
    start = max(0, match.start() - CONTEXT)
    return match.string[start : match.start()]
