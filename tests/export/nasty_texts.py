"""Texts on which tokenizers disagree."""

import random

CHOSEN = [
    *("", " ", "  ", "\n", "\r\n", "\t", "a", " a", "Hello, world!", "don't DON'T don’t I'LL we'Re", "it's\n's"),
    *("12", "123", "1234", "12345678901", "3.14159 2,000,000 1e-9", "1 2  3   4", "$100 €5 ¥7", "١٢٣ ४५६ Ⅷ ½ ²", "١2३"),
    *("naïve façade", "nai\u0308ve", "\u0300\u0301a", "e\u0301\u0327", "ʼs 's 'S 'ſ 'K", "ÀÉ ß ẞ ŉ ŀ", "ǅ ǈ ﬁ ﬀ"),
    *("数 漢字 かな カナ 한국어", "مرحبا بالعالم", "שלום", "नमस्ते", "ไทย", "𝔘𝔫𝔦 𐍈 \U0001f9ff", "🙂 👩‍👩‍👧‍👦 🇩🇪"),
    *(
        "\u00a0x\u2003y\u200bz",
        "\ufeffbom",
        "\u2028\u2029\u0085",
        "\x1c\x1d\x1e\x1f",
        "x\u180ey",
        "a\x00b\x04\x7f",
        "\ud7ff\ue000",
    ),
    *("x\n\n\n y", "   indented\n\tcode()", "\r\r\n\n\r", " \n \n", " " * 50 + "x", "\n" * 20, "a" * 300, "ab" * 200),
    *(
        "<|user|>hi<|end|><|assistant|>",
        "<|endoftext|>",
        "<EMAIL> and <PHONE>x",
        "[PAD1]",
        "<0x0A>",
        "▁word ▁",
        "Ġword Ċ",
    ),
    *("…—–“”„", "http://a.b/c?d=e&f=%20", "C:\\path\\x", "#include <stdio.h>\n", "...!!!???", "'", "''", "'s", " 's"),
]
ALPHABETS = (
    *("abc xyz ABC", "0123456789 .,", " \n\r\t\u00a0", "'sStTdDmMlLvVrReE ", "äöüßéèñçÅ", "漢字かなカナ한글"),
    *("🙂👍🏽\u200d\ufe0f❤", "!@#$%^&*()[]{}<>|\\/", "\u0300\u0301\u0903\u0e31", "٠١٢३४Ⅷ½²③"),
    "".join(map(chr, range(1, 0x180))),
)


def nasty_texts(count: int = 200) -> list[str]:
    """Return the chosen texts, and random ones behind them; the same each time."""
    source = random.Random(0)
    texts = list(CHOSEN)
    while len(texts) < count:
        length = source.randint(1, 40)
        texts.append("".join(source.choice(source.choice(ALPHABETS)) for _ in range(length)))
    return texts
