"""A second pair of eyes for personal data: what should not be in a text that has been cleaned.

Written apart from the cleaning rules and simpler than they are, so that one mistake does not hide in both. It knows
only what has a check digit or an unmistakable shape; it finds no names, no addresses, no national numbers, and it
says how many, never what: what it found must not reach a report.
"""

import re
from collections.abc import Callable

import pyarrow as pa
import pyarrow.compute as pc

KINDS = ("emails", "cards", "ibans", "private_keys", "phones")

GAP = "[ \u00a0-]?"
# No country or body runs a domain that is called like a file: image@2x.gif is a picture.
EMAIL = re.compile(
    r"(?<=[\w.%+-])@(?:[A-Za-z0-9-]{1,63}\.)+(?!(?:gif|png|jpe?g|svg|webp|html?|css|js|json|txt)\b)[A-Za-z]{2,24}(?![A-Za-z0-9_])"
)
# Cards are printed in groups of at least four with one separator; rows of shorter numbers are tables, and * / ^ make a formula.
CARD = re.compile(
    rf"(?<![0-9*/^-])(?<![0-9][.,])[2-6][0-9]{{3}}({GAP})[0-9]{{4,6}}\1[0-9]{{4,5}}(?:\1[0-9]{{1,7}})?(?![0-9*/^])"
)
IBAN = re.compile(rf"(?<![A-Za-z0-9])[A-Z]{{2}}[0-9]{{2}}(?:{GAP}[A-Z0-9]){{11,27}}")
PRIVATE_KEY = re.compile(r"-----BEGIN [A-Z0-9 ]{0,40}PRIVATE KEY(?: BLOCK)?-----")
PHONE = re.compile(r"(?<![\w+])\+(?!99 ?9)[1-9](?:[ \u00a0.()/-]{0,2}[0-9]){8,14}(?![\w:]|[ .-][0-9])")

# What any of the above needs, in RE2's terms (no look-around), so that whole columns are searched at once.
CANDIDATE = (
    r"@[A-Za-z0-9-]+\.[A-Za-z0-9]"
    r"|[2-6](?:[ \x{a0}-]?[0-9]){12}"
    r"|[A-Z]{2}[0-9]{2}[ \x{a0}-]?[A-Z0-9]"
    r"|-----BEGIN [A-Z0-9 ]{0,40}PRIVATE KEY"
    r"|\+[1-9](?:[ \x{a0}.()/-]{0,2}[0-9]){8}"
)

# Issuers' leading digits (ISO/IEC 7812) and the lengths they use: Visa, Mastercard (two ranges), American Express,
# Discover, JCB, Diners Club.
CARD_ISSUERS = (
    (4, 4, (13, 16, 19)),
    (51, 55, (16,)),
    (2221, 2720, (16,)),
    (34, 34, (15,)),
    (37, 37, (15,)),
    (6011, 6011, (16,)),
    (644, 659, (16,)),
    (3528, 3589, (16,)),
    (300, 305, (14,)),
    (36, 36, (14,)),
    (38, 39, (14,)),
)
# Country codes that ITU-T E.164 does not assign, and numbers of North America that its plan does not have.
NO_COUNTRY = re.compile(
    r"21[04579]|259|28|29[23456]|38[48]|42[2456789]|671|684|69[3-9]|80[1-79]|83|85[14789]|87[1-79]|88[4579]|89|969|978|99[0179]"
    r"|1(?![2-9][0-9]{2}[2-9][0-9]{6}$)"
)
# Lengths from the SWIFT IBAN registry (ISO 13616).
IBAN_LENGTHS = {
    **dict.fromkeys(("AD", "CZ", "ES", "RO", "SA", "SE", "SK"), 24),
    **dict.fromkeys(("AT", "EE", "LT", "LU"), 20),
    **dict.fromkeys(("BG", "DE", "GB", "IE"), 22),
    **dict.fromkeys(("CH", "HR", "LI", "LV"), 21),
    **dict.fromkeys(("CY", "HU", "PL"), 28),
    **dict.fromkeys(("DK", "FI", "NL"), 18),
    **dict.fromkeys(("FR", "GR", "IT", "MC", "SM"), 27),
    **{"AE": 23, "BE": 16, "IS": 26, "MT": 31, "NO": 15, "PT": 25, "SI": 19, "TR": 26},
}


def leftovers(text: str) -> dict[str, int]:
    """Return how many pieces of each of `KINDS` the text still holds."""
    return {
        "emails": _count(EMAIL, text),
        "cards": _count(CARD, text, is_card),
        "ibans": _count(IBAN, text, is_iban),
        "private_keys": _count(PRIVATE_KEY, text),
        "phones": _count(PHONE, text, is_international),
    }


def leftovers_of_column(texts: pa.Array | pa.ChunkedArray) -> dict[str, pa.Array]:
    """Return `leftovers` of every text: {kind: int32 array}.

    One fast pass finds the few texts that may hold any.
    """
    counts: dict[str, list[int]] = {kind: [0] * len(texts) for kind in KINDS}
    is_candidate = pc.match_substring_regex(texts, CANDIDATE)
    for row in pc.indices_nonzero(is_candidate).to_pylist():
        for kind, count in leftovers(texts[row].as_py()).items():
            counts[kind][row] = count
    return {kind: pa.array(column, pa.int32()) for kind, column in counts.items()}


def is_card(text: str) -> bool:
    """Return whether the digits in `text` are a card number.

    They must have a known issuer, its length, and a right check digit (Luhn, ISO/IEC 7812-1).
    """
    digits = re.sub(r"[^0-9]", "", text)
    has_issuer = any(_is_of_issuer(digits, *issuer) for issuer in CARD_ISSUERS)
    return has_issuer and _passes_luhn(digits)


def _is_of_issuer(digits: str, low: int, high: int, lengths: tuple[int, ...]) -> bool:
    prefix_length = len(str(low))
    prefix = int(digits[:prefix_length])
    return low <= prefix <= high and len(digits) in lengths


def _passes_luhn(digits: str) -> bool:
    total = 0
    for place, digit in enumerate(reversed(digits)):
        number = int(digit) * (1 + place % 2)
        total += number // 10 + number % 10
    return total % 10 == 0


def is_international(text: str) -> bool:
    """Return whether a number behind a + begins with a country code that is assigned: +2147483647 is an integer."""
    digits = re.sub(r"[^0-9]", "", text)
    return NO_COUNTRY.match(digits) is None


def is_iban(text: str) -> bool:
    """Return whether `text` begins with an IBAN: a country, its length, and check digits that leave 1 mod 97 (ISO 7064)."""
    compact = re.sub(r"[^A-Z0-9]", "", text)
    length = IBAN_LENGTHS.get(compact[:2], 0)
    if not length or len(compact) < length:
        return False
    rearranged = compact[4:length] + compact[:4]
    digits = "".join(str(int(character, 36)) for character in rearranged)
    return int(digits) % 97 == 1


def _count(pattern: re.Pattern[str], text: str, is_real: Callable[[str], bool] | None = None) -> int:
    """Return how many matches there are, of which `is_real` is true if it is given."""
    count = 0
    for match in pattern.finditer(text):
        if is_real is None or is_real(match[0]):
            count += 1
    return count
