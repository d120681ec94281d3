from privllm.clean.clean_text import tidy


def test_an_address_hidden_by_an_invisible_character_does_not_pass() -> None:
    assert tidy("bob\u200b@corp.example  \r\n") == ("<EMAIL>", {"EMAIL": 1})
    assert tidy("\x00 plain") == (" plain", {})
