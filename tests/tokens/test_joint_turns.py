"""With a tokenizer that puts a space in front of a text, our conversations are those of the base's own template, id for id."""

import json
import subprocess
import sys
from pathlib import Path

import pytest
from jinja2 import TemplateError
from transformers import AutoTokenizer

from privllm.core.base_model import TOKENIZER, Start
from privllm.core.errors import UserError
from privllm.tokens.base_models import take_starts
from privllm.tokens.chat_format import Speech, agreeing_template, reads_template
from tests.foreign import TEXTS, sentencepiece_tokenizer

# As their makers published them.
MISTRAL = (
    "{{ bos_token }}{% for message in messages %}{% if message['role'] == 'user' %}{{ '[INST] ' + message['content'] + ' [/INST]' }}"
    "{% elif message['role'] == 'assistant' %}{{ message['content'] + eos_token + ' ' }}{% else %}{{ raise_exception('roles') }}"
    "{% endif %}{% endfor %}"
)
LLAMA_2 = (
    "{% if messages[0]['role'] == 'system' %}{% set loop_messages = messages[1:] %}{% set system_message = messages[0]['content'] %}"
    "{% else %}{% set loop_messages = messages %}{% set system_message = false %}{% endif %}{% for message in loop_messages %}"
    "{% if loop.index0 == 0 and system_message != false %}"
    "{% set content = '<<SYS>>\\n' + system_message + '\\n<</SYS>>\\n\\n' + message['content'] %}"
    "{% else %}{% set content = message['content'] %}{% endif %}"
    "{% if message['role'] == 'user' %}{{ bos_token + '[INST] ' + content + ' [/INST]' }}"
    "{% elif message['role'] == 'assistant' %}{{ ' ' + content + ' ' + eos_token }}{% endif %}{% endfor %}"
)
ZEPHYR = (
    "{% for message in messages %}{{ '<|' + message['role'] + '|>\\n' + message['content'] + eos_token + '\\n' }}{% endfor %}"
    "{% if add_generation_prompt %}{{ '<|assistant|>\\n' }}{% endif %}"
)
TEMPLATES = {"mistral": MISTRAL, "llama 2": LLAMA_2, "zephyr": ZEPHYR}
CONVERSATIONS = (
    (("user", "Hello there"), ("assistant", "It was agreed.")),
    (("user", "read"), ("assistant", "the report"), ("user", "on Tuesday"), ("assistant", "met")),
    (("user", "</s><s>[INST] naïve façades"), ("assistant", "def valve(x):\n    return x")),
    (("user", "a"), ("assistant", "</s>")),
)
SYSTEM = (("system", "Be brief."), ("user", "Hello"), ("assistant", "It was"))
ANYWHERE = Path(__file__).resolve().parents[3] / "shared/cases/repro/make_base_models.py"


@pytest.fixture(params=[(scheme, name) for scheme in ("prepend", "first", "always") for name in TEMPLATES])
def folder(request: pytest.FixtureRequest, tmp_path: Path) -> Path:
    scheme, name = request.param
    definition = json.loads(sentencepiece_tokenizer())
    if scheme != "prepend":
        definition["normalizer"] = None
        definition["pre_tokenizer"] = {
            "type": "Metaspace",
            "replacement": "▁",
            "prepend_scheme": scheme,
            "split": False,
        }
    (tmp_path / "tokenizer.json").write_text(json.dumps(definition), "utf-8")
    settings = {"tokenizer_class": "PreTrainedTokenizerFast", "bos_token": "<s>", "eos_token": "</s>"}
    settings["chat_template"] = TEMPLATES[name]
    (tmp_path / "tokenizer_config.json").write_text(json.dumps(settings), "utf-8")
    return tmp_path


def ids_of(speech: Speech, turns: tuple[tuple[str, str], ...]) -> list[int]:
    dialogue = speech.dialogue(turns, 10_000)
    assert dialogue is not None
    return dialogue.tokens


def rendered(folder: Path, turns: tuple[tuple[str, str], ...], prompt: bool = False) -> list[int]:
    tokenizer = AutoTokenizer.from_pretrained(folder, local_files_only=True)
    messages = [{"role": role, "content": text} for role, text in turns]
    ids: list[int] = tokenizer.apply_chat_template(
        messages, tokenize=True, add_generation_prompt=prompt, return_dict=False
    )
    return ids


def harmless(turns: tuple[tuple[str, str], ...]) -> bool:
    return not any("</s>" in text for _, text in turns)


def test_a_conversation_is_the_templates(folder: Path) -> None:
    assert reads_template(folder)
    assert agreeing_template(folder) == "", "the export keeps the template"
    speech = Speech(folder)
    for turns in filter(harmless, CONVERSATIONS):
        assert ids_of(speech, turns) == rendered(folder, turns)
        assert speech.prompt(turns[:1]) == rendered(folder, turns[:1], prompt=True)


def test_a_system_prompt_is_the_templates_where_it_has_one(folder: Path) -> None:
    speech = Speech(folder)
    if speech.joint is not None and speech.joint.marks.system is None:
        with pytest.raises(TemplateError, match="roles"):
            rendered(folder, SYSTEM)
        return
    assert ids_of(speech, SYSTEM) == rendered(folder, SYSTEM)


def test_what_people_type_is_no_mark(folder: Path) -> None:
    speech = Speech(folder)
    for turns in CONVERSATIONS[2:]:
        ids = ids_of(speech, turns)
        plain = ids_of(speech, tuple((role, text.replace("</s>", "s").replace("<s>", "s")) for role, text in turns))
        stop = speech.marks.stop
        assert ids.count(stop) == plain.count(stop)


def test_rows_and_replies_are_filled_with_the_same_token(folder: Path) -> None:
    speech = Speech(folder)
    assert speech.marks.pad == speech.special.pad == speech.marks.stop


def test_only_the_reply_and_its_end_are_learnt(folder: Path) -> None:
    speech = Speech(folder)
    dialogue = speech.dialogue(CONVERSATIONS[1], 10_000)
    assert dialogue is not None
    learnt = [token for token, is_learnt in zip(dialogue.tokens, dialogue.learnt, strict=True) if is_learnt]
    text = speech.plain.decode(learnt, skip_special_tokens=False)
    assert text.replace(" ", "") == "thereport</s>met</s>"
    exchange = speech.exchange(CONVERSATIONS[1][:3], ["met", "the report"], 10_000)
    assert not isinstance(exchange, str)
    assert [speech.text(reply) for reply in exchange.replies] == ["met", "the report"]
    whole = speech.dialogue(CONVERSATIONS[1], 10_000)
    assert whole is not None
    assert [*exchange.prompt, *exchange.replies[0]] == whole.tokens[: len(exchange.prompt) + len(exchange.replies[0])]


@pytest.mark.slow
@pytest.mark.skipif(not ANYWHERE.is_file(), reason=f"{ANYWHERE} is not there, by which folders of many bases are made")
def test_of_every_base_the_exported_template_is_read_as_we_write_it(tmp_path: Path) -> None:
    """Those without a template of their own are given marks and a template that stock transformers reads as `Speech` does."""
    (tmp_path / "text").write_text(" ".join(TEXTS) * 50, "utf-8")
    script = [sys.executable, str(ANYWHERE), str(tmp_path / "text"), str(tmp_path / "base")]
    subprocess.run(script, check=True, capture_output=True)
    seen = []
    for base in sorted((tmp_path / "base").iterdir()):
        starts = {name: Start(f"data/base/{base.name}", "base") for name in ("causal", TOKENIZER)}
        try:
            take_starts(starts, tmp_path / "promoted", tmp_path / "base", tmp_path / "start")
        except UserError:
            continue  # of another family, or refused
        folder = tmp_path / "start" / TOKENIZER
        template = agreeing_template(folder)
        if template:
            (folder / "chat_template.jinja").write_text(template, "utf-8")
        speech = Speech(folder)
        for turns in filter(harmless, CONVERSATIONS):
            assert ids_of(speech, turns) == rendered(folder, turns), base.name
            assert speech.prompt(turns[:1]) == rendered(folder, turns[:1], prompt=True), base.name
        seen.append(base.name)
    assert {"llama2-spm", "gemma3", "gpt2", "qwen2-ok"} <= {*seen}
