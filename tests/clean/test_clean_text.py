from privllm.clean.clean_text import clean_text


def test_an_address_hidden_by_an_invisible_character_does_not_pass() -> None:
    assert clean_text("bob\u200b@corp.example  \r\n") == ("<EMAIL>", {"EMAIL": 1})
    assert clean_text("\x00 plain") == (" plain", {})
