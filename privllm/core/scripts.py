"""Scripts that are written without spaces between words, where a letter stands for a word when words are counted."""

UNSPACED_BLOCKS = (  # ranges of code points, ascending
    (0x0E00, 0x0EFF),  # Thai, Lao
    (0x0F00, 0x109F),  # Tibetan, Myanmar
    (0x1780, 0x17FF),  # Khmer
    (0x1950, 0x19DF),  # Tai Le, New Tai Lue
    (0x1A20, 0x1AAF),  # Tai Tham
    (0x3040, 0x30FF),  # kana
    (0x31F0, 0x31FF),
    (0x3400, 0x4DBF),  # ideographs
    (0x4E00, 0x9FFF),
    (0xA000, 0xA48C),  # Yi
    (0xA500, 0xA63F),  # Vai
    (0xA9E0, 0xA9FF),  # Myanmar
    (0xAA60, 0xAADF),  # Myanmar, Tai Viet
    (0xF900, 0xFAFF),  # ideographs
    (0xFF66, 0xFF9F),  # kana of half the width
    (0x20000, 0x3FFFF),  # ideographs
)
WORD_SEPARATORS = "\u1361"  # marks that stand where others write a space: Ethiopic
