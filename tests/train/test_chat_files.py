"""Every folder that can chat stops by itself: with stock transformers and with `serve`, tuned, aligned, exported and borrowed."""

import asyncio
import json
from pathlib import Path

import pytest
import torch
from transformers import AutoModelForCausalLM, AutoTokenizer, PreTrainedModel

from privllm.core.special_tokens import END_OF_TEXT, END_OF_TURN
from privllm.engine.digests import digest_of
from privllm.export.config import ExportConfig
from privllm.export.folder import ExportInputs, export
from privllm.feedback.records import Message
from privllm.models.causal import CausalConfig
from privllm.models.loading import build
from privllm.serve.engine.base import Done, GenerationRequest, SamplingSettings
from privllm.serve.engine.local import LocalEngine
from privllm.tokens.chat_format import Speech
from privllm.tokens.special_ids import special_ids
from privllm.train.align import recipe
from privllm.train.align.config import AlignInputs, DpoConfig, SftConfig
from privllm.train.chat_files import copy_tokenizer
from privllm.train.finetune import FinetuneInputs, finetune
from privllm.train.loop import Work
from tests.foreign import save_foreign
from tests.train.tiny_feedback import make_rows, places, row, write_lessons
from tests.train.tiny_feedback import tiny as tiny_align
from tests.train.tiny_tasks import CONTEXT, make_tokenizer, tiny, write_examples

HARDLY = 1e-9  # a learning rate that leaves a model what it is
LIMIT = 12
CHATML = (
    "{% for m in messages %}<|im_start|>{{ m.role }}\n{{ m.content }}<|im_end|>\n{% endfor %}"
    "{% if add_generation_prompt %}<|im_start|>assistant\n{% endif %}"
)


@torch.no_grad()
def saying_only(model: PreTrainedModel, token: int) -> PreTrainedModel:
    """The model, which now says that token and nothing else: to whatever it reads, and again and again unless it is stopped."""
    for name, parameter in model.named_parameters():
        parameter.zero_() if name.endswith(
            ("o_proj.weight", "down_proj.weight", "lm_head.weight")
        ) else parameter.fill_(1.0)
    model.get_output_embeddings().weight[token] = 1.0
    return model


@pytest.fixture(scope="module")
def shop(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """tokenizer/, causal/ (which ends every turn at once), rows/, <kind>.jsonl"""
    root = tmp_path_factory.mktemp("turns")
    tokenizer = make_tokenizer(root / "tokenizer")
    shape = CausalConfig(layers=1, width=32, heads=2, tie_embeddings=False)
    saying_only(build("causal", shape, special_ids(tokenizer), CONTEXT, seed=1), END_OF_TURN).save_pretrained(
        root / "causal"
    )
    copy_tokenizer(tokenizer, root / "causal", "causal")
    make_rows(root / "rows", Speech(tokenizer))
    for kind in ("chat", "text2text", "classification"):
        write_examples(root / f"{kind}.jsonl", kind)
    return root


def tuned(shop: Path, place: Path, kind: str = "chat", start: str = "causal") -> Path:
    cfg = tiny(kind, "causal", learning_rate=HARDLY, generated=2)
    inputs = FinetuneInputs(shop / f"{kind}.jsonl", shop / start)
    finetune("mine", cfg, inputs, place / "out", place / "live", Work(place / "work/mine", "code"))
    return place / "out"


@pytest.fixture(scope="module")
def aligned(shop: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    place = tmp_path_factory.mktemp("aligned")
    lessons = [row(i, chosen="Ada walks", rejected="Bob walks") for i in range(4)]
    feedback = write_lessons(place / "clean", preferences=lessons)
    cfg = tiny_align(sft=SftConfig(HARDLY), dpo=DpoConfig(HARDLY), validation=0.0)
    recipe.align(
        "causal", cfg, AlignInputs(shop / "causal", feedback, shop / "rows", shop / "tokenizer"), places(place)
    )
    return place / "out"


def exported(model: Path, shop: Path, place: Path, chat: bool) -> Path:
    (shop / "nothing").mkdir(exist_ok=True)
    export(
        ExportConfig(chat=chat), ExportInputs(model, shop / "tokenizer", shop / "nothing"), "causal", place / "export"
    )
    return place / "export"


def assert_stops(folder: Path, ends: list[int], last: int) -> None:
    """The folder's model, which says `last` and nothing else, says it once: to stock `generate`, and to who is served."""
    for name in ("config.json", "generation_config.json"):
        assert sorted(json.loads((folder / name).read_text("utf-8"))["eos_token_id"]) == ends, name
    model, tokenizer = AutoModelForCausalLM.from_pretrained(folder), AutoTokenizer.from_pretrained(folder)
    asked = [{"role": "user", "content": "red stone"}]
    prompt = tokenizer.apply_chat_template(asked, add_generation_prompt=True, return_tensors="pt", return_dict=True)
    made = model.generate(**prompt, max_new_tokens=LIMIT, do_sample=False)[0, prompt["input_ids"].shape[1] :]
    assert made.tolist() == [last]
    assert prompt["input_ids"][0].tolist() == Speech(folder).prompt([("user", "red stone")])

    async def serve() -> list[object]:
        engine = LocalEngine.open(folder)
        await engine.start()
        try:
            ask = GenerationRequest(
                (Message("user", "red stone"),), "", SamplingSettings(max_tokens=LIMIT, temperature=0.0)
            )
            return [event async for event in engine.stream(ask)]
        finally:
            await engine.close()

    assert asyncio.run(serve()) == [Done("stop", prompt["input_ids"].shape[1], 0)]


@pytest.mark.parametrize("kind", ["chat", "text2text"])
def test_a_tuned_model_stops(shop: Path, tmp_path: Path, kind: str) -> None:
    assert_stops(tuned(shop, tmp_path, kind), [END_OF_TEXT, END_OF_TURN], END_OF_TURN)


def test_a_model_that_only_labels_names_no_end_of_turns(shop: Path, tmp_path: Path) -> None:
    assert (
        json.loads((tuned(shop, tmp_path, "classification") / "config.json").read_text("utf-8"))["eos_token_id"]
        == END_OF_TEXT
    )


def test_an_aligned_model_and_its_export_stop(shop: Path, aligned: Path, tmp_path: Path) -> None:
    assert_stops(aligned, [END_OF_TEXT, END_OF_TURN], END_OF_TURN)
    assert_stops(exported(aligned, shop, tmp_path, chat=False), [END_OF_TEXT, END_OF_TURN], END_OF_TURN)


def test_an_export_that_is_said_to_chat_stops_and_another_is_as_it_was(shop: Path, tmp_path: Path) -> None:
    assert_stops(exported(shop / "causal", shop, tmp_path / "chat", chat=True), [END_OF_TEXT, END_OF_TURN], END_OF_TURN)
    plain = exported(shop / "causal", shop, tmp_path / "plain", chat=False)
    for name in ("config.json", "generation_config.json"):
        assert (plain / name).read_bytes() == (shop / "causal" / name).read_bytes()


def test_an_aligned_model_says_what_it_learnt_from(aligned: Path) -> None:
    feedback = aligned.parent / "clean"
    noted = json.loads((aligned / "training.json").read_text("utf-8"))["align"]["feedback"]
    names = ("sft.jsonl", "chat.jsonl", "preferences.jsonl", "held_out.jsonl", "raters.jsonl")
    assert noted == digest_of(feedback / name for name in names)
    for name in names:
        before = (feedback / name).read_bytes()
        (feedback / name).write_bytes(before + b"{}\n")
        assert noted != digest_of(feedback / other for other in names)
        (feedback / name).write_bytes(before)


def borrowed(shop: Path, name: str, template: str, specials: tuple[str, ...] = ("<|im_start|>", "<|im_end|>")) -> int:
    """A model of others in shop/<name>, that says its last special token and nothing else; returns that."""
    folder, specials = shop / name, ("<s>", "</s>", "<unk>", *specials)
    last = len(specials) - 1
    saying_only(save_foreign(folder, "causal", "llama", specials, tie_word_embeddings=False), last).save_pretrained(
        folder
    )
    names = {"tokenizer_class": "PreTrainedTokenizerFast", "bos_token": "<s>", "eos_token": "</s>"}
    (folder / "tokenizer_config.json").write_text(json.dumps(names), "utf-8")
    if template:
        (folder / "chat_template.jinja").write_text(template, "utf-8")
    return last


def test_a_borrowed_model_keeps_its_template_and_names_the_end_in_it(shop: Path, tmp_path: Path) -> None:
    last = borrowed(shop, "chatml", CHATML)
    folder = tuned(shop, tmp_path, start="chatml")
    assert (folder / "chat_template.jinja").read_text("utf-8") == CHATML
    assert_stops(folder, [1, last], last)


PHI_MARKS = ("<|user|>", "<|assistant|>", "<|end|>")
PHI = "{% for m in messages %}<|{{ m.role }}|>\n{{ m.content }}<|end|>\n{% endfor %}<|assistant|>\n"


@pytest.mark.parametrize(
    ("name", "template", "specials"),
    [
        ("no-template", "", ("<|im_start|>", "<|im_end|>")),
        ("dated", "{{ strftime_now('%Y') }}" + CHATML, ("<|im_start|>", "<|im_end|>")),
        ("no-line-break", PHI, PHI_MARKS),  # Jinja drops the one at the template's end
    ],
)
def test_a_template_that_says_something_else_than_was_taught_is_replaced(
    shop: Path, tmp_path: Path, name: str, template: str, specials: tuple[str, ...]
) -> None:
    last = borrowed(shop, name, template, specials)
    folder = tuned(shop, tmp_path, start=name)
    assert_stops(folder, [1, last], last)
    tokenizer = AutoTokenizer.from_pretrained(folder)
    with pytest.raises(Exception, match="a role is user or assistant"):
        tokenizer.apply_chat_template([{"role": "user", "content": "red"}, {"role": "system", "content": "be"}])
    messages = [
        {"role": "user", "content": "red"},
        {"role": "assistant", "content": "it's {{ 7 }}\n\\n"},
        {"role": "user", "content": "blue"},
    ]
    rendered = tokenizer.apply_chat_template(messages, tokenize=False, add_generation_prompt=True)
    assert rendered.count(specials[-1]) == 3
    assert messages[1]["content"] in rendered


def test_a_template_with_marks_that_are_called_like_ours_is_kept(shop: Path, tmp_path: Path) -> None:
    template = PHI.replace("<|assistant|>\n", "{{ '<|assistant|>\n' }}")
    last = borrowed(shop, "phi", template, PHI_MARKS)
    folder = tuned(shop, tmp_path, start="phi")
    assert_stops(folder, [1, last], last)
    assert (folder / "chat_template.jinja").read_text("utf-8") == template


def test_a_folder_of_others_that_names_too_few_ends_is_served_to_its_templates_end(shop: Path) -> None:
    from privllm.serve.engine.prompting import open_folder

    last = borrowed(shop, "as-it-came", CHATML)
    assert open_folder(shop / "as-it-came")[1].end_ids == {1, last}
    (shop / "as-it-came/chat_template.jinja").write_text(CHATML.replace("<|im_end|>", "."), "utf-8")
    assert open_folder(shop / "as-it-came")[1].end_ids == {1}, "what anybody types ends no reply"


def test_no_weight_is_touched(shop: Path, tmp_path: Path) -> None:
    folder = exported(shop / "causal", shop, tmp_path, chat=True)
    assert (folder / "model.safetensors").read_bytes() == (shop / "causal/model.safetensors").read_bytes()
