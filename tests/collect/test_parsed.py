from privllm.collect.parsed import NoText, Parsed


def test_a_refusal_has_its_reason_and_detail() -> None:
    refusal = NoText("needs_ocr", "no text layer")
    assert (refusal.reason, refusal.detail) == refusal.args == ("needs_ocr", "no text layer")


def test_a_text_says_nothing_of_itself_unless_the_file_does() -> None:
    assert Parsed("words") == Parsed("words", "", "", "")
