"""Files that we write, read by the real llama.cpp, and a model of it read back; in the nightly lane."""

import math
from collections import Counter
from pathlib import Path

import numpy as np
import pytest
import torch
from tokenizers import AddedToken, Tokenizer
from tokenizers.pre_tokenizers import PreTokenizer
from transformers import AutoModelForCausalLM

from privllm.base.gguf_folder import convert_gguf
from privllm.base.gguf_tokenizer import write_tokenizer
from privllm.core.report import write_json
from privllm.export.gguf import write_gguf
from privllm.export.gguf_layout import ARCHITECTURES
from privllm.export.gguf_vocabulary import Kind
from privllm.models.causal import CausalConfig
from privllm.models.loading import build
from privllm.tokens.encode import without_specials
from privllm.tokens.special_ids import special_ids
from privllm.tokens.vocabulary import TOKENIZER_CONFIG, TokenizerConfig, train
from privllm.train.chat_files import answer_turns
from tests.base.gguf_changes import changed
from tests.export.gguf_models import LLAMA3, tiny_model, values_of
from tests.export.llama_cpp import Ask, install
from tests.export.nasty_texts import nasty_texts
from tests.export.test_gguf_vocabulary import KNOWN, byte_level, folder_of, pieces

ROOT = Path(__file__).resolve().parent.parent.parent
CONTEXT, STEPS = 128, 60
PROMPT, HELD_OUT = "def main(path: Path) -> None:\n", ROOT / "docs/explain/privacy.md"


@pytest.fixture(scope="session")
def ask(tmp_path_factory: pytest.TempPathFactory) -> Ask:
    return install(tmp_path_factory.mktemp("npm"))


NEARLY_EQUAL = 0.01  # nats between two tokens, which fp16 can turn around


def fit(model: torch.nn.Module, ids: torch.Tensor) -> None:
    """Train a model for STEPS steps on rows of a text."""
    optimizer = torch.optim.AdamW(model.parameters(), 3e-3)
    generator = torch.Generator().manual_seed(1)
    for _ in range(STEPS):
        starts = torch.randint(0, len(ids) - CONTEXT, (8,), generator=generator)
        batch = torch.stack([ids[start : start + CONTEXT] for start in starts])
        model(input_ids=batch, labels=batch).loss.backward()
        optimizer.step()
        optimizer.zero_grad()


@pytest.fixture(scope="session")
def trained(ask: Ask, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A model of ours with a vocabulary learnt from this repository, trained for a minute so that its text means something."""
    folder = tmp_path_factory.mktemp("trained")
    texts = [path.read_text("utf-8") for path in sorted((ROOT / "privllm").rglob("*.py"))]
    (folder / "tokenizer.json").write_text(train(TokenizerConfig(vocabulary=1000), texts), "utf-8")
    write_json(folder / "tokenizer_config.json", TOKENIZER_CONFIG)
    ids = torch.tensor(Tokenizer.from_file(str(folder / "tokenizer.json")).encode("\n".join(texts)).ids)
    model = build("causal", CausalConfig(layers=2, width=96, heads=4, kv_heads=2), special_ids(folder), CONTEXT, seed=1)
    fit(model, ids)
    model.eval().save_pretrained(folder)
    answer_turns(folder)
    return folder


@pytest.mark.parametrize(("steps", "ignores_merges", "name"), KNOWN)
def test_every_split_gives_the_same_ids_there(
    ask: Ask, tmp_path: Path, steps: tuple[PreTokenizer, ...], ignores_merges: bool, name: str
) -> None:
    source = [path.read_text("utf-8") for path in sorted((ROOT / "tests/export").glob("*.py"))]
    tokenizer = byte_level(*steps, ignore_merges=ignores_merges, texts=[*source, *nasty_texts(400)], size=2000)
    tokenizer_folder = folder_of(tokenizer, tmp_path / "tokenizer", eos_token="<|end|>")
    folder = tiny_model(tmp_path / "model", "qwen3", tokenizer_folder, rows=2000)
    write_gguf(folder, "f16", tmp_path / "m.gguf", "m")
    assert values_of(tmp_path / "m.gguf")["tokenizer.ggml.pre"] == name
    texts = nasty_texts()
    answer = ask(tmp_path / "m.gguf", texts=texts)
    assert answer["ids"] == [tokenizer.encode(text).ids for text in texts]
    convert_gguf(tmp_path / "m.gguf", tmp_path / "back")
    back = Tokenizer.from_file(str(tmp_path / "back/tokenizer.json"))
    assert answer["ids"] == [back.encode(text).ids for text in texts]


def test_a_sentencepiece_gives_the_same_ids_there(ask: Ask, tmp_path: Path) -> None:
    text = (ROOT / "CHANGELOG.md").read_text("utf-8")
    words = [word for word, _ in Counter(f"▁{word}" for word in text.split()).most_common(300)]
    pieces = {word[:end] for word in words for end in range(2, len(word) + 1)}
    letters = sorted(set("".join(words)))
    tokens = ["<unk>", "<s>", "</s>", *(f"<0x{number:02X}>" for number in range(256))]
    first = len(tokens)
    tokens += [*sorted(pieces, key=lambda piece: (len(piece), piece)), *letters]
    values = {
        "model": "llama",
        "tokens": tokens,
        "scores": [0.0] * first + [float(-number) for number in range(len(tokens) - first)],
        "token_type": [
            Kind.UNKNOWN,
            Kind.CONTROL,
            Kind.CONTROL,
            *[Kind.BYTE] * 256,
            *[Kind.NORMAL] * (len(tokens) - first),
        ],
        **{"bos_token_id": 1, "eos_token_id": 2, "unknown_token_id": 0, "add_bos_token": True},
    }
    (tmp_path / "tokenizer").mkdir()
    write_tokenizer({f"tokenizer.ggml.{key}": value for key, value in values.items()}, tmp_path / "tokenizer", "t")
    folder = tiny_model(tmp_path / "model", "llama", tmp_path / "tokenizer", rows=len(tokens) + 5)
    write_gguf(folder, "f16", tmp_path / "m.gguf", "m")
    tokenizer = Tokenizer.from_file(str(folder / "tokenizer.json"))
    texts = [*nasty_texts(), *text.splitlines()[:100]]
    assert ask(tmp_path / "m.gguf", texts=texts)["ids"] == [
        tokenizer.encode(text, add_special_tokens=False).ids for text in texts
    ]


def nats_of(folder: Path, ids: list[int]) -> float:
    """What a text costs a token by transformers."""
    model = AutoModelForCausalLM.from_pretrained(folder, dtype=torch.float32).eval()
    with torch.inference_mode():
        return model(torch.tensor([ids]), labels=torch.tensor([ids])).loss.item()


@pytest.mark.parametrize(("original", "attention"), [(32, None), (32, 1.5), (256, None)])
def test_long_positions_of_phi_3_are_read_as_there(
    ask: Ask, tmp_path: Path, original: int, attention: float | None
) -> None:
    tokenizer = pieces()
    marks = [AddedToken(mark, rstrip=True, normalized=False) for mark in ("<|user|>", "<|end|>", "</s>")]
    tokenizer.add_special_tokens([*marks, AddedToken("<|endoftext|>", normalized=False)])
    folder = folder_of(tokenizer, tmp_path / "t", bos_token="<s>", eos_token="</s>", unk_token="<unk>")
    write_gguf(tiny_model(tmp_path / "model", "phi3", folder), "f16", tmp_path / "whole.gguf", "Phi-3-tiny")
    scaling = {"scaling.original_context_length": original, "dimension_count": 12, "scaling.attn_factor": attention}
    factors = {"short": np.linspace(1, 1.5, 6, dtype=np.float32), "long": np.linspace(1, 40, 6, dtype=np.float32)}
    changed(
        tmp_path / "whole.gguf",
        tmp_path / "m.gguf",
        values={f"phi3.rope.{key}": value for key, value in scaling.items()},
        beside={f"rope_factors_{length}.weight": numbers for length, numbers in factors.items()},
    )
    convert_gguf(tmp_path / "m.gguf", tmp_path / "back")
    scored = torch.randint(5, 260, (CONTEXT,), generator=torch.Generator().manual_seed(3)).tolist()
    texts = [*nasty_texts(), "<|user|>\n ab<|end|>\n<|user|>", "ab  <|end|>  ab", "<s> ab"]
    answer = ask(tmp_path / "m.gguf", scored=scored, texts=texts)
    back = Tokenizer.from_file(str(tmp_path / "back/tokenizer.json"))
    assert answer["ids"] == [back.encode(text, add_special_tokens=False).ids for text in texts]
    assert answer["nats"] == pytest.approx(nats_of(tmp_path / "back", scored), rel=5e-4)


def reference(folder: Path) -> tuple[Tokenizer, list[int], list[int], list[int], float]:
    """Return the tokenizer, a prompt, what transformers writes on, a text, and its nats a token by transformers."""
    tokenizer = Tokenizer.from_file(str(folder / "tokenizer.json"))
    model = AutoModelForCausalLM.from_pretrained(folder, dtype=torch.float32).eval()
    prompt = tokenizer.encode(PROMPT, add_special_tokens=False).ids
    scored = tokenizer.encode(HELD_OUT.read_text("utf-8"), add_special_tokens=False).ids[:CONTEXT]
    options = {"do_sample": False, "max_new_tokens": 40, "eos_token_id": None}
    with torch.inference_mode():
        written = model.generate(torch.tensor([prompt]), **options)[0, len(prompt) :].tolist()
        nats = model(torch.tensor([scored]), labels=torch.tensor([scored])).loss.item()
    return tokenizer, prompt, written, scored, nats


def assert_written_alike(folder: Path, prompt: list[int], ours: list[int], theirs: list[int]) -> None:
    """Two greedy texts are equal, or up to a token for which another is as likely to fp16."""
    common = next((place for place, pair in enumerate(zip(ours, theirs, strict=True)) if pair[0] != pair[1]), None)
    if common is None:
        return
    model = AutoModelForCausalLM.from_pretrained(folder, dtype=torch.float32).eval()
    with torch.inference_mode():
        chances = model(torch.tensor([prompt + ours[:common]])).logits[0, -1].log_softmax(-1)
    assert float(chances[ours[common]] - chances[theirs[common]]) < NEARLY_EQUAL, f"token {common}"


def test_our_own_model_is_the_same_model_there(ask: Ask, trained: Path, tmp_path: Path) -> None:
    tokenizer, prompt, written, scored, nats = reference(trained)
    plain = Tokenizer.from_str(without_specials((trained / "tokenizer.json").read_text("utf-8")))
    texts = nasty_texts()
    perplexities = {}
    for kind in ("f16", "q8_0", "q4_0"):
        write_gguf(trained, kind, tmp_path / f"{kind}.gguf", "ours")
        job = {"texts": texts, "plain": texts, "prompt": prompt, "length": len(written), "scored": scored}
        answer = ask(tmp_path / f"{kind}.gguf", **job)
        assert answer["ids"] == [tokenizer.encode(text, add_special_tokens=False).ids for text in texts]
        assert answer["plain"] == [plain.encode(text, add_special_tokens=False).ids for text in texts]
        assert answer["ends"] == [0, 5]
        perplexities[kind] = math.exp(answer["nats"])
        if kind == "f16":
            assert_written_alike(trained, prompt, written, answer["written"])
    assert perplexities["f16"] == pytest.approx(math.exp(nats), rel=1e-3)
    assert perplexities["q8_0"] == pytest.approx(perplexities["f16"], rel=0.01)
    assert perplexities["q4_0"] == pytest.approx(perplexities["f16"], rel=0.1)


@pytest.mark.parametrize(
    ("kind", "changes"),
    [
        ("llama", {}),
        ("llama", {"rope_parameters": LLAMA3, "attention_bias": True}),
        ("llama", {"rope_parameters": {"rope_type": "linear", "rope_theta": 1e4, "factor": 4.0}}),
        ("mistral", {"head_dim": 32, "sliding_window": None}),
        ("qwen2", {"tie_word_embeddings": True}),
        ("qwen3", {"head_dim": 32}),
    ],
)
def test_every_architecture_is_the_same_model_there(
    ask: Ask, trained: Path, tmp_path: Path, kind: str, changes: dict[str, object]
) -> None:
    folder = tiny_model(tmp_path / "model", kind, trained, rows=1000, **changes)
    _, _, _, scored, nats = reference(folder)
    write_gguf(folder, "f16", tmp_path / "m.gguf", "m")
    # A random model's likeliest tokens are nearly equal, so what it writes says little; a wrong rotation changes this by half a percent.
    assert ask(tmp_path / "m.gguf", scored=scored)["nats"] == pytest.approx(nats, rel=5e-4)


def learn(folder: Path, ids: torch.Tensor) -> None:
    """Train the model in a folder for a few seconds, so that its likeliest tokens are told apart, and round it to fp16."""
    model = AutoModelForCausalLM.from_pretrained(folder, dtype=torch.float32).train()
    fit(model, ids)
    for parameter in model.parameters():
        parameter.data = parameter.data.half().float()
    model.save_pretrained(folder)


# Gemma 2's capped logits amplify llama.cpp's fp16; all others agree to 1e-4.
TOLERANCES = {"gemma2": 4e-4}


@pytest.mark.parametrize("kind", ARCHITECTURES)
def test_every_architecture_writes_the_same_text_there(ask: Ask, trained: Path, tmp_path: Path, kind: str) -> None:
    folder = tiny_model(tmp_path / "model", kind, trained, rows=1000)
    source = "\n".join(path.read_text("utf-8") for path in sorted((ROOT / "tests/export").glob("*.py")))
    learn(folder, torch.tensor(Tokenizer.from_file(str(folder / "tokenizer.json")).encode(source).ids))
    tokenizer, prompt, written, scored, nats = reference(folder)
    texts = nasty_texts()
    write_gguf(folder, "f16", tmp_path / "f16.gguf", "m")
    answer = ask(tmp_path / "f16.gguf", texts=texts, prompt=prompt, length=len(written), scored=scored)
    assert answer["ids"] == [tokenizer.encode(text, add_special_tokens=False).ids for text in texts]
    assert_written_alike(folder, prompt, written, answer["written"])
    assert answer["nats"] == pytest.approx(nats, rel=TOLERANCES.get(kind, 1e-4))
    write_gguf(folder, "q8_0", tmp_path / "q8_0.gguf", "m")
    assert ask(tmp_path / "q8_0.gguf", scored=scored)["nats"] == pytest.approx(nats, rel=0.01)
