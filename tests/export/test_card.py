from privllm.export.card import model_card


def card(**changes: object) -> str:
    return model_card(
        {"name": "A", "family": "causal", "chat": False, "digests": {"code": "0"}, "params": {}, "reports": {}}
        | changes
    )


def test_says_what_is_not_there() -> None:
    assert "No reports were given." in card()
    assert "No parameters were given." in card()


def test_a_chat_model_is_said_to_answer() -> None:
    assert "answers messages" in card(chat=True)
    assert "answers messages" not in card()


def test_cells_cannot_break_the_table() -> None:
    assert '| `clean.pattern` | `"a\\|b"` |' in card(params={"clean": {"pattern": "a|b"}})


def test_what_training_began_with_is_said() -> None:
    assert "Trained from scratch on one collection" in card()
    assert "Trained from scratch on one collection" in card(reports={"pretrain": {"start": "scratch"}})
    assert "documents that are gone since included" in card(reports={"pretrain": {"start": "incumbent"}})
    assert "Trained on from data/base/smollm2" in card(reports={"pretrain": {"start": "data/base/smollm2"}})


def test_it_promises_the_same_model_for_what_it_names_alone() -> None:
    digests = dict.fromkeys(("data", "code", "pack", "guide", "start", "tokenizer", "feedback", "model"), "0")
    shown = card(digests=digests)
    promise = shown[shown.index("Everything that can change the weights") : shown.index("| what |")]
    for name in set(digests) - {"tokenizer"}:
        assert f"(`{name}`)" in promise
    assert "the tokenizer" in promise
