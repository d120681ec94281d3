"""The characters that Word writes by their place in the fonts Symbol and Wingdings: Greek letters, signs of sums, ticks."""

LATIN = "ABGDEZHQIKLMNXOPRSTUFCYWabgdezhqiklmnxoprstufcyw"  # at whose places Symbol has Greek letters
GREEK = "ΑΒΓΔΕΖΗΘΙΚΛΜΝΞΟΠΡΣΤΥΦΧΨΩαβγδεζηθικλμνξοπρστυφχψω"
SIGNS = {
    **{0x22: "∀", 0x24: "∃", 0x2D: "−", 0x40: "≅", 0x4A: "ϑ", 0x56: "ς", 0x5E: "⊥", 0x6A: "ϕ", 0x76: "ϖ", 0x7E: "∼"},
    **{0xA2: "′", 0xA3: "≤", 0xA5: "∞", 0xAB: "↔", 0xAC: "←", 0xAD: "↑", 0xAE: "→", 0xAF: "↓", 0xB0: "°", 0xB1: "±"},
    **{0xB2: "″", 0xB3: "≥", 0xB4: "×", 0xB5: "∝", 0xB6: "∂", 0xB7: "•", 0xB8: "÷", 0xB9: "≠", 0xBA: "≡", 0xBB: "≈"},
    **{0xBC: "…", 0xC5: "⊕", 0xC6: "∅", 0xC7: "∩", 0xC8: "∪", 0xC9: "⊃", 0xCC: "⊂", 0xCD: "⊆", 0xCE: "∈", 0xCF: "∉"},
    **{0xD0: "∠", 0xD1: "∇", 0xD5: "∏", 0xD6: "√", 0xD7: "⋅", 0xD8: "¬", 0xD9: "∧", 0xDA: "∨", 0xDB: "⇔", 0xDE: "⇒"},
    **{0xE5: "∑", 0xF2: "∫"},
}
SYMBOL = {**dict(zip(map(ord, LATIN), GREEK, strict=True)), **SIGNS}
WINGDINGS = {0x6C: "●", 0x6E: "■", 0xA8: "☐", 0xDF: "←", 0xE0: "→", 0xFB: "✗", 0xFC: "✓", 0xFD: "☒", 0xFE: "☑"}
FONTS = {"symbol": SYMBOL, "wingdings": WINGDINGS}
PRIVATE = range(0xF000, 0xF100)  # where the places of such fonts are written


def symbol(font: str, code: str) -> str:
    """Return the character at a place, in hexadecimal digits, of a font; "" where it is a picture without a meaning."""
    try:
        place = int(code, 16)
    except ValueError:
        return ""
    is_letter = 0x20 <= place < 0x110000 and not 0xD800 <= place < 0xF900
    place = place - PRIVATE.start if place in PRIVATE else place
    known = FONTS.get(font.lower())
    if known is not None:
        return known.get(place, chr(place) if known is SYMBOL and 0x20 <= place < 0x7F else "")
    return chr(place) if is_letter else ""
