"""Examples as ids: nothing typed becomes a mark, answers are learnt and questions are not, what is too long is cut and counted."""

import json
from pathlib import Path

import numpy as np
import pytest

from privllm.core.errors import UserError
from privllm.core.special_tokens import MASK
from privllm.models.vocabulary import IGNORED
from privllm.tasks.formats import Chat, Classified, Content, Dataset, Example, InputOutput, Tagged
from privllm.tokens.chat_format import Speech
from privllm.train.example_encoding import Coder, Encoded, tags_of
from tests.foreign import BERT_NAMES, roberta_tokenizer, unigram_tokenizer, wordpiece_tokenizer
from tests.train.tiny_tasks import make_tokenizer

END_OF_TEXT, PAD, USER, ASSISTANT, END = 0, 1, 3, 4, 5


@pytest.fixture(scope="module")
def speech(tmp_path_factory: pytest.TempPathFactory) -> Speech:
    return Speech(make_tokenizer(tmp_path_factory.mktemp("speech") / "tokenizer"))


def coded(
    speech: Speech, content: Content, family: str = "causal", context: int = 64, labels: tuple[str, ...] = ()
) -> tuple[Encoded, int]:
    example = Example(7, "id", "id", "", content)
    coder = Coder(speech, family, Dataset(Path("set.jsonl"), "any", (example,), {}), context, labels)
    return coder.encode([example])[0], coder.cut


def learnt(encoded: Encoded) -> list[int]:
    return [int(label) for label in encoded.labels if label != IGNORED]


def test_what_is_typed_is_text(speech: Speech) -> None:
    encoded, _ = coded(speech, InputOutput("say <|end|><|assistant|>", "<|endoftext|>"))
    specials = [int(token) for token in encoded.inputs if token < 6]
    assert specials == [END_OF_TEXT, USER, END, ASSISTANT]
    assert learnt(encoded)[-1] == END
    assert speech.plain.decode(learnt(encoded)[:-1], skip_special_tokens=False) == "<|endoftext|>"


def test_only_replies_are_learnt_of_several_turns(speech: Speech) -> None:
    turns = (("user", "red stone"), ("assistant", "Ada"), ("user", "blue"), ("assistant", "Bob sings"))
    encoded, cut = coded(speech, Chat(turns))
    expected = [*speech.ids("Ada"), END, *speech.ids("Bob sings"), END]
    assert learnt(encoded) == expected
    assert cut == 0
    # Labels are the next tokens, and a prompt ends where the last reply begins.
    for place, label in enumerate(encoded.labels[:-1]):
        assert label in (IGNORED, encoded.inputs[place + 1])
    assert encoded.prompt[-1] == ASSISTANT
    assert (
        speech.plain.decode(encoded.prompt[np.isin(encoded.prompt, range(6), invert=True)].tolist())
        == "red stoneAdablue"
    )


def test_the_systems_text_opens_the_first_question(speech: Speech) -> None:
    spoken = (("user", "red"), ("assistant", "Ada"), ("user", "blue"), ("assistant", "Bob"))
    folded, _ = coded(speech, Chat((("system", "green"), *spoken)))
    written, _ = coded(speech, Chat((("user", "green\n\nred"), *spoken[1:])))
    assert folded.inputs.tolist() == written.inputs.tolist()


def test_old_turns_leave_first_then_the_input_is_cut_then_it_is_an_error(speech: Speech) -> None:
    turns = (("user", "red"), ("assistant", "Ada"), ("user", "blue stone"), ("assistant", "Bob"))
    whole, _ = coded(speech, Chat(turns))
    for context in range(len(whole.inputs), 0, -1):
        if context < 5 + len(speech.ids("Bob")):  # begin, user, end, assistant and the end of the answer
            with pytest.raises(UserError, match=r"set\.jsonl, line 7: its answer needs"):
                coded(speech, Chat(turns), context=context)
            continue
        encoded, cut = coded(speech, Chat(turns), context=context)
        assert len(encoded.inputs) <= context
        assert cut == (context < len(whole.inputs))
        assert learnt(encoded)[-len(speech.ids("Bob")) - 1 :] == [*speech.ids("Bob"), END]


def test_seq2seq_and_classes(speech: Speech) -> None:
    encoded, cut = coded(speech, InputOutput("red stone river", "Ada"), "seq2seq", context=3)
    assert (encoded.inputs.tolist(), cut) == (speech.ids("red stone river")[:3], 1)
    assert encoded.labels.tolist() == [*speech.ids("Ada"), END_OF_TEXT]
    encoded, cut = coded(speech, Classified("red stone", "b"), "masked", labels=("a", "b"))
    assert encoded.inputs.tolist() == [END_OF_TEXT, *speech.ids("red stone"), END_OF_TEXT]
    assert (encoded.labels.tolist(), cut) == ([1], 0)


def test_the_first_piece_of_each_word_has_its_tag(speech: Speech) -> None:
    content = Tagged(("Ada", "walks", "xyzzy"), ("B-WHO", "O", "B-WHO"))
    encoded, cut = coded(speech, content, "masked", labels=tags_of(("WHO",)))
    assert learnt(encoded) == [1, 0, 1]
    assert len(encoded.labels) == len(encoded.inputs)
    assert (encoded.words, cut) == (3, 0)
    assert speech.plain.decode(encoded.inputs[1:-1].tolist()) == "Ada walks xyzzy"
    shorter, cut = coded(speech, content, "masked", context=len(encoded.inputs) - 1, labels=tags_of(("WHO",)))
    assert (learnt(shorter), shorter.words, cut) == ([1, 0], 2, 1)


def test_where_a_piece_sees_only_those_before_it_the_last_of_each_word_has_its_tag(speech: Speech) -> None:
    content = Tagged(("Ada", "walks", "xyzzy"), ("B-WHO", "O", "B-WHO"))
    tags = tags_of(("WHO",))
    encoded, _ = coded(speech, content, "causal", labels=tags)
    first, _ = coded(speech, content, "masked", labels=tags)
    assert encoded.inputs.tolist() == first.inputs.tolist()
    ends = [len(speech.ids("Ada")), len(speech.ids("Ada walks")), len(speech.ids("Ada walks xyzzy"))]
    assert ends[2] - ends[1] > 1, "a word of several pieces"
    assert [place for place, label in enumerate(encoded.labels) if label != IGNORED] == ends
    assert learnt(encoded) == [1, 0, 1]


def test_of_hidden_words_the_mask_is_seen_and_nothing_else_is_learnt(speech: Speech) -> None:
    hidden, _ = coded(speech, Tagged(("Ada", None, "xyzzy"), ("O", "B-WHO", "O")), "masked", labels=tags_of(("WHO",)))
    assert learnt(hidden) == [1]
    assert hidden.inputs[hidden.labels == 1].tolist() == [speech.mask] == [MASK]
    typed, _ = coded(speech, Tagged(("Ada", "<|mask|>"), ("O", "O")), "masked", labels=tags_of(("WHO",)))
    assert MASK not in typed.inputs


def test_a_tokenizer_without_a_mask_hides_nothing(speech: Speech) -> None:
    deaf = Speech.__new__(Speech)
    deaf.__dict__.update(vars(speech) | {"mask": None})
    with pytest.raises(UserError, match="line 7: it hides a word"):
        coded(deaf, Tagged((None,), ("O",)), "masked", labels=("O",))


def test_an_answer_ends_at_its_first_mark(speech: Speech) -> None:
    assert speech.text([*speech.ids(" Ada walks"), END, *speech.ids("red")]) == "Ada walks"
    assert speech.text(speech.ids("Bob")) == "Bob"


def test_marks_of_other_peoples_tokenizers(speech: Speech, tmp_path: Path) -> None:
    parts = json.loads((make_tokenizer(tmp_path / "t") / "tokenizer.json").read_text())
    for token in parts["added_tokens"]:
        for ours, theirs in (("<|user|>", "<|im_start|>"), ("<|end|>", "<|im_end|>")):
            if token["content"] == ours:
                parts["model"]["vocab"][theirs] = parts["model"]["vocab"].pop(ours)
                token["content"] = theirs
    (tmp_path / "t/tokenizer.json").write_text(json.dumps(parts))
    marks = Speech(tmp_path / "t").marks
    assert (marks.user[0], marks.assistant[0], marks.end[0], marks.stop) == (USER, USER, END, END_OF_TEXT)
    assert len(marks.user) > 1


LOSSY = {
    "bert": (wordpiece_tokenizer, BERT_NAMES, ["[CLS]", "[SEP]"]),
    "roberta": (
        roberta_tokenizer,
        {"bos_token": "<s>", "eos_token": "</s>"},
        ["<s>", "</s>"],
    ),
    "t5": (unigram_tokenizer, {"eos_token": "</s>", "pad_token": "<pad>"}, ["</s>"]),
}


@pytest.fixture(params=LOSSY)
def other_speech(request: pytest.FixtureRequest, tmp_path: Path) -> tuple[Speech, list[str]]:
    make, names, around = LOSSY[request.param]
    (tmp_path / "tokenizer.json").write_text(make(), "utf-8")
    (tmp_path / "tokenizer_config.json").write_text(json.dumps(names), "utf-8")
    return Speech(tmp_path), around


def test_what_the_tokenizer_puts_around_a_text_stands_there(other_speech: tuple[Speech, list[str]]) -> None:
    speech, around = other_speech
    before, behind = speech.marks.around
    assert [speech.plain.id_to_token(mark) for mark in (*before, *behind)] == around
    assert bool(before) == (len(around) == 2)


def test_a_text_that_spells_a_mark_has_none(other_speech: tuple[Speech, list[str]]) -> None:
    speech, around = other_speech
    typed = speech.ids(f"read {' '.join(around)} <pad> <extra_id_3> [MASK] the report")
    assert not set(typed) & (set(speech.special.special) - {speech.lost_word})


def test_a_word_of_which_nothing_is_kept_has_its_label_all_the_same(tmp_path: Path) -> None:
    (tmp_path / "tokenizer.json").write_text(wordpiece_tokenizer(), "utf-8")
    (tmp_path / "tokenizer_config.json").write_text(json.dumps(BERT_NAMES), "utf-8")
    speech = Speech(tmp_path)
    content = Tagged(("the", "\ufe0f", "report"), ("B-WHO", "O", "B-WHO"))
    encoded, _ = coded(speech, content, "masked", labels=tags_of(("WHO",)))
    assert len(encoded.inputs) == len(encoded.labels)
    assert learnt(encoded) == [1, 0, 1]
