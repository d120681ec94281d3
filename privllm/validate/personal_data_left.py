"""A second pair of eyes for personal data: what should not be in a text that has been cleaned.

Written apart from the cleaning rules and simpler than they are, so that one mistake does not hide in both. It knows
only what has a check digit or an unmistakable shape; it finds no names, no addresses, no national numbers, and it
says how many, never what: what it found must not reach a report.
"""

import re

import pyarrow as pa
import pyarrow.compute as pc

KINDS = ("emails", "cards", "ibans", "private_keys", "phones")

GAP = "[ \u00a0-]?"
# No country or body runs a domain that is called like a file: image@2x.gif is a picture.
EMAIL = re.compile(
    r"(?<=[\w.%+-])@(?:[A-Za-z0-9-]{1,63}\.)+(?!(?:gif|png|jpe?g|svg|webp|html?|css|js|json|txt)\b)[A-Za-z]{2,24}(?![A-Za-z0-9_])"
)
# Cards are printed in groups of at least four with one separator; rows of shorter numbers are tables, and * / ^ make a formula.
CARD = re.compile(rf"(?<![0-9*/^-])(?<![0-9][.,])[2-6][0-9]{{3}}({GAP})[0-9]{{4,6}}\1[0-9]{{4,5}}(?:\1[0-9]{{1,7}})?(?![0-9*/^])")
IBAN = re.compile(rf"(?<![A-Za-z0-9])[A-Z]{{2}}[0-9]{{2}}(?:{GAP}[A-Z0-9]){{11,27}}")
PRIVATE_KEY = re.compile(r"-----BEGIN [A-Z0-9 ]{0,40}PRIVATE KEY(?: BLOCK)?-----")
PHONE = re.compile(r"(?<![\w+])\+(?!99 ?9)[1-9](?:[ \u00a0.()/-]{0,2}[0-9]){8,14}(?![\w:]|[.-][0-9])")

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
    """How many pieces of each of `KINDS` the text still holds."""
    return {
        "emails": _count(EMAIL, text),
        "cards": sum(is_card(found[0]) for found in CARD.finditer(text)),
        "ibans": sum(is_iban(found[0]) for found in IBAN.finditer(text)),
        "private_keys": _count(PRIVATE_KEY, text),
        "phones": _count(PHONE, text),
    }


def leftovers_of_column(texts: pa.Array | pa.ChunkedArray) -> dict[str, pa.Array]:
    """`leftovers` of every text: {kind: int32 array}. One fast pass finds the few texts worth a closer look."""
    found: dict[str, list[int]] = {kind: [0] * len(texts) for kind in KINDS}
    for row in pc.indices_nonzero(pc.match_substring_regex(texts, CANDIDATE)).to_pylist():
        for kind, count in leftovers(texts[row].as_py()).items():
            found[kind][row] = count
    return {kind: pa.array(counts, pa.int32()) for kind, counts in found.items()}


def is_card(text: str) -> bool:
    """Whether the digits in `text` have a known issuer, its length, and a right check digit (Luhn, ISO/IEC 7812-1)."""
    digits = re.sub(r"[^0-9]", "", text)
    known = any(low <= int(digits[: len(str(low))]) <= high and len(digits) in lengths for low, high, lengths in CARD_ISSUERS)
    doubled = [int(digit) * (1 + place % 2) for place, digit in enumerate(reversed(digits))]
    return known and sum(number // 10 + number % 10 for number in doubled) % 10 == 0


def is_iban(text: str) -> bool:
    """Whether `text` begins with an IBAN: a country, its length, and check digits that leave 1 mod 97 (ISO 7064)."""
    compact = re.sub(r"[^A-Z0-9]", "", text)
    length = IBAN_LENGTHS.get(compact[:2], 0)
    if not length or len(compact) < length:
        return False
    turned = compact[4:length] + compact[:4]
    return int("".join(str(int(sign, 36)) for sign in turned)) % 97 == 1


def _count(pattern: re.Pattern[str], text: str) -> int:
    return sum(1 for _ in pattern.finditer(text))
