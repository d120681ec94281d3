import codecs

import pytest
from hypothesis import given
from hypothesis import strategies as st

from privllm.collect.decode import declared, decode
from privllm.collect.documents import Unreadable

PANGRAMS = {
    "cp1251": "Съешь же ещё этих мягких французских булок, да выпей чаю. Широкая электрификация южных губерний даст мощный толчок.",
    "koi8-r": "Съешь же ещё этих мягких французских булок, да выпей чаю. Широкая электрификация южных губерний даст мощный толчок.",
    "euc_jp": "これは日本語の文章です。文字コードを正しく判定できるかどうかを確かめるために書きました。",
    "cp932": "これは日本語の文章です。文字コードを正しく判定できるかどうかを確かめるために書きました。",
    "cp949": "이것은 한국어 문장입니다. 문자 인코딩을 올바르게 판별할 수 있는지 확인하기 위해 썼습니다.",
    "gb18030": "这是一个中文句子。我们写下它是为了检查程序能否正确地判断文件所用的字符编码。",
    "cp1252": "Voilà où l’été passé, à Noël, une garçonnière naïve a été rénovée près d’un hôtel très âgé.",
    "iso8859-7": "Αυτή είναι μια ελληνική πρόταση που γράφτηκε για να ελεγχθεί η αναγνώριση της κωδικοποίησης.",
}


@given(st.text(st.characters(exclude_categories=["Cs", "Cc"])))
def test_utf8_comes_back_as_it_went_in(text: str) -> None:
    if not text.startswith(("\ufeff", "\ufffe")):
        assert decode(text.encode()) == (text, "utf-8")


@given(
    st.text(st.characters(exclude_categories=["Cs", "Cc"]), min_size=1),
    st.sampled_from(["utf-8", "utf-16-le", "utf-16-be", "utf-32-le", "utf-32-be"]),
)
def test_a_byte_order_mark_decides_and_is_removed(text: str, name: str) -> None:
    assert decode("\ufeff".encode(name) + text.encode(name)) == (text, name)


@pytest.mark.parametrize("name", PANGRAMS)
def test_legacy_encodings_are_detected(name: str) -> None:
    text = (PANGRAMS[name] + "\n") * 3
    assert decode(text.encode(name)).text == text


@pytest.mark.parametrize("name", ["utf-16-le", "utf-16-be", "utf-32-le", "utf-32-be"])
def test_wide_encodings_need_no_mark(name: str) -> None:
    text = "Dear all,\r\nthe minutes of Monday's meeting are below.\r\n"
    assert decode(text.encode(name)) == (text, name)


@pytest.mark.parametrize(
    ("head", "name"),
    [
        ('<meta charset="windows-1251">', "cp1251"),
        ("<META HTTP-EQUIV=Content-Type CONTENT='text/html; charset=KOI8-R'>", "koi8-r"),
        ('<?xml version="1.0" encoding="iso-8859-2"?>', "iso8859-2"),
        ("<meta charset=iso-8859-1>", "cp1252"),  # what browsers take it for
        ("<meta charset=utf-16>", None),  # it could not have been read
        ("<meta charset=klingon>", None),
        ("<p>charset=koi8-r</p>", None),
    ],
)
def test_a_page_may_declare_its_encoding(head: str, name: str | None) -> None:
    assert declared(head.encode()) == name


def test_a_declaration_outweighs_the_detector_but_not_utf8() -> None:
    page = "<meta charset=iso-8859-7><p>\xe1</p>".encode("latin-1")
    assert decode(page, markup=True).text.endswith("<p>α</p>")
    assert decode("<meta charset=koi8-r>é".encode(), markup=True) == ("<meta charset=koi8-r>é", "utf-8")


def test_a_false_declaration_is_not_believed() -> None:
    page = "<meta charset=euc-jp>" + PANGRAMS["cp1251"] * 2
    assert decode(page.encode("cp1251"), markup=True) == (page, "cp1251")


def test_damaged_utf8_stays_utf8_and_says_so() -> None:
    data = ("Größe, Übung, Straße. " * 40).encode() + "ß".encode()[:1]
    text, encoding = decode(data)
    assert encoding == "utf-8:replace"
    assert text == "Größe, Übung, Straße. " * 40 + "\ufffd"


def outcome_of(data: bytes) -> str:
    try:
        return decode(data).encoding
    except Unreadable as why:
        return why.reason


@pytest.mark.parametrize(("characters", "kept"), [(98, False), (99, False), (100, True), (101, True)])
def test_one_damaged_character_in_a_hundred_may_be(characters: int, kept: bool) -> None:
    """Where a mark says UTF-8, where nothing does, and in UTF-16, where half a pair is damage."""
    others = "é" * (characters - 1)
    cases = {
        codecs.BOM_UTF8 + b"\xff" + others.encode(): "utf-8:replace",
        b"\xff" + others.encode(): "utf-8:replace",
        codecs.BOM_UTF16_LE + b"\x00\xd8" + others.encode("utf-16-le"): "utf-16-le:replace",
    }
    for data, name in cases.items():
        assert outcome_of(data) == (name if kept else "undecodable")
        if kept:
            text = decode(data).text
            assert (len(text), text.count("\ufffd")) == (characters, 1)


@pytest.mark.parametrize("control", [b"\0", b"\x01", b"\x08", b"\x0e", b"\x1a", b"\x1f"])
def test_one_control_character_in_a_hundred_may_be(control: bytes) -> None:
    found = {length: outcome_of(control + b"a" * (length - 1)) for length in (97, 99, 100, 101)}
    assert found == {97: "binary", 99: "binary", 100: "utf-8", 101: "utf-8"}


@pytest.mark.parametrize("control", [b"\t", b"\n", b"\v", b"\f", b"\r", b"\x1b"])
def test_these_are_no_sign_of_a_program(control: bytes) -> None:
    assert decode(control * 50) == (control.decode() * 50, "utf-8")


def test_bytes_that_could_be_ideographs_are_not_taken_for_such() -> None:
    """Half of all files have an even length."""
    assert outcome_of(b"8=FIX.4.2\x019=178\x0135=8\x0149=PHLX\x0156=PERS\x01" * 4) == "binary"
    assert outcome_of(("\x01" + "words " * 17)[:100].encode("utf-16-le")) == "utf-16-le"
    assert outcome_of(("\x01\x01" + "words " * 17)[:100].encode("utf-16-le")) == "binary"
    for name in ("utf-16-le", "utf-16-be", "utf-32-le", "utf-32-be"):
        text = "根据合同第十二条的规定，双方应当在三十日内完成付款。\n" * 3
        assert decode(text.encode(name)) == (text, name)


def test_one_accent_far_into_english() -> None:
    text = "plain English all the way down\n" * 5000 + "and a café at last\n"
    assert decode(text.encode("cp1252")).text == text


@pytest.mark.parametrize(
    "data", [b"\x89PNG\r\n\x1a\n\0\0\0\rIHDR\0\0\1\0", bytes(range(256)) * 8, b"\x7fELF\2\1\1" + bytes(64), b"a\0b"]
)
def test_binary_is_named(data: bytes) -> None:
    with pytest.raises(Unreadable) as caught:
        decode(data)
    assert caught.value.reason == "binary"


def test_what_no_encoding_fits_is_undecodable() -> None:
    with pytest.raises(Unreadable) as caught:
        decode(codecs.BOM_UTF16_LE + b"\0\xd8" * 50)
    assert caught.value.reason == "undecodable"


@given(st.binary(max_size=300))
def test_any_bytes_give_text_or_a_reason(data: bytes) -> None:
    try:
        text, encoding = decode(data, markup=True)
        outcome = "text"
    except Unreadable as why:
        text, encoding, outcome = "", "utf-8", why.reason
    text.encode()  # Parquet takes UTF-8: no lone surrogate may pass
    codecs.lookup(encoding.removesuffix(":replace"))
    assert outcome in ("text", "binary", "undecodable")
