"""start: what is named is fetched and checked, and nothing else has a say."""

import json
import shutil
from collections.abc import Callable
from pathlib import Path

import pyarrow as pa
import pytest

from privllm.core.base_model import Start, starts_in
from privllm.core.errors import UserError
from privllm.core.tables import write_table
from privllm.tokens.base_models import take_starts
from privllm.tokens.trained_documents import TRAINED
from tests.foreign import save_foreign

FAMILIES = ("causal", "masked", "seq2seq")
TAKEN = ("config.json", "generation_config.json", "model.safetensors", "start.json", "tokenizer.json")


@pytest.fixture(scope="module")
def llama(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("models") / "llama"
    save_foreign(folder, "causal", "llama")
    return folder


@pytest.fixture
def places(tmp_path: Path, llama: Path) -> Path:
    """A folder with `base`, which holds a model, `promoted`, which holds none yet, and things that are not wanted."""
    (tmp_path / "promoted").mkdir()
    shutil.copytree(llama, tmp_path / "base/llama")
    (tmp_path / "base/llama/README.md").write_text("notes", "utf-8")
    return tmp_path


def promote(places: Path, tokenizer: Path) -> None:
    incumbent = places / "promoted/incumbent"
    for family in FAMILIES[:2]:
        (incumbent / family).mkdir(parents=True)
        kind = {"causal": "qwen3", "masked": "modernbert"}[family]
        (incumbent / family / "config.json").write_text(json.dumps({"model_type": kind}), "utf-8")
        (incumbent / family / "model.safetensors").write_bytes(b"weights")
        (incumbent / family / "training.json").write_text('{"chat": true}', "utf-8")
    shutil.copytree(tokenizer, incumbent / "tokenizer")
    write_table(pa.table([["a"], ["b"]], schema=TRAINED), incumbent / "documents.parquet")


def take(places: Path, **wanted: str) -> dict:
    starts = {name: Start(place, f"base.{name}") for name, place in wanted.items()}
    return take_starts(starts, places / "promoted", places / "base", places / "out")


def take_shared(places: Path, place: str, *families: str) -> dict[str, str]:
    """Where each family and the vocabulary begin, by one `base` for all of them."""
    starts = starts_in({"base": place}, families)
    report = take_starts(starts, places / "promoted", places / "base", places / "out")
    return {name: of_name["start"] for name, of_name in report.items()}


def files(folder: Path) -> dict[str, bytes]:
    return {str(path.relative_to(folder)): path.read_bytes() for path in sorted(folder.rglob("*")) if path.is_file()}


def test_from_scratch_is_one_line_whatever_was_promoted(places: Path, tokenizer: Path) -> None:
    wanted = dict.fromkeys((*FAMILIES, "tokenizer"), "scratch")
    take(places, **wanted)
    before = files(places / "out")
    assert before == {f"{name}/start.json": b'{\n  "start": "scratch"\n}\n' for name in wanted}
    promote(places, tokenizer)
    take(places, **wanted)
    assert files(places / "out") == before


def test_a_base_brings_weights_and_tokenizer_and_nothing_else(places: Path) -> None:
    report = take(places, causal="data/base/llama", tokenizer="data/base/llama")
    copied_files = files(places / "out")
    assert sorted(copied_files) == [
        *(f"causal/{name}" for name in TAKEN),
        *(f"tokenizer/{name}" for name in ("start.json", "tokenizer.json", "tokenizer_config.json")),
    ]
    assert copied_files["causal/model.safetensors"] == (places / "base/llama/model.safetensors").read_bytes()
    assert copied_files["causal/tokenizer.json"] == copied_files["tokenizer/tokenizer.json"]
    for name in ("config.json", "generation_config.json"):
        assert copied_files[f"causal/{name}"] == (places / "base/llama" / name).read_bytes()
    assert json.loads(copied_files["causal/start.json"]) == {
        "start": "data/base/llama",
        "added": {"337": 1, "338": 1, "339": 1},  # marks of turns, near </s>
        "chat": False,
    }
    assert report["tokenizer"]["added"] == ["<|user|>", "<|assistant|>", "<|end|>"]
    assert report["causal"] == {
        "start": "data/base/llama",
        "bytes": sum(len(copied_files[name]) for name in copied_files if name.startswith("causal")),
    }
    (places / "base/llama/README.md").write_text("other notes", "utf-8")
    take(places, causal="data/base/llama", tokenizer="data/base/llama")
    assert files(places / "out") == copied_files


def test_the_incumbent_brings_what_it_was_trained_on(places: Path, tokenizer: Path) -> None:
    promote(places, tokenizer)
    take(places, causal="incumbent", masked="scratch", tokenizer="incumbent")
    copied_files = files(places / "out")
    assert sorted(name for name in copied_files if name.startswith("causal")) == [
        f"causal/{name}"
        for name in (
            "config.json",
            "documents.parquet",
            "model.safetensors",
            "start.json",
            "tokenizer.json",
        )  # no more there
    ]
    assert copied_files["tokenizer/tokenizer.json"] == (tokenizer / "tokenizer.json").read_bytes()
    assert json.loads(copied_files["causal/start.json"]) == {"start": "incumbent", "added": {}, "chat": True}


def test_shards_are_taken_with_their_index(places: Path) -> None:
    base = places / "base/llama"
    (base / "model.safetensors").rename(base / "model-1.safetensors")
    index = {"weight_map": {"a": "model-1.safetensors"}}
    (base / "model.safetensors.index.json").write_text(json.dumps(index), "utf-8")
    take(places, causal="data/base/llama")
    assert {"model-1.safetensors", "model.safetensors.index.json"} <= {
        path.name for path in (places / "out/causal").iterdir()
    }
    (base / "model.safetensors.index.json").write_text(json.dumps({"weight_map": {"a": "../x.safetensors"}}), "utf-8")
    with pytest.raises(UserError, match=r"names \.\./x\.safetensors, which is no file of safetensors there"):
        take(places, causal="data/base/llama")


def link_out(places: Path) -> None:
    (places / "elsewhere").write_bytes((places / "base/llama/model.safetensors").read_bytes())
    (places / "base/llama/model.safetensors").unlink()
    (places / "base/llama/model.safetensors").symlink_to(places / "elsewhere")


def pickled(places: Path) -> None:
    (places / "base/llama/model.safetensors").rename(places / "base/llama/pytorch_model.bin")


def configured(**values: object) -> Callable[[Path], None]:
    def change(places: Path) -> None:
        path = places / "base/llama/config.json"
        path.write_text(json.dumps(json.loads(path.read_text("utf-8")) | values), "utf-8")

    return change


def without(name: str) -> Callable[[Path], None]:
    return lambda places: (places / "base/llama" / name).unlink()


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (pickled, "pytorch_model.bin is a pickle, which could run code"),
        (link_out, "is a link to .*elsewhere, which the build does not track"),
        (configured(model_type="gpt_neox"), "holds a gpt_neox model; a causal one is llama or mistral"),
        (configured(model_type="modernbert"), "holds a modernbert model, which is of the masked family"),
        (configured(quantization_config={}), "quantized"),
        (without("config.json"), "holds no config.json"),
        (without("model.safetensors"), "holds no model.safetensors"),
        (without("tokenizer.json"), "holds no tokenizer.json"),
        (lambda places: (places / "base/llama/config.json").write_text("{", "utf-8"), "is not valid JSON"),
        (lambda places: (places / "base/llama/tokenizer.json").write_text("[]", "utf-8"), "should hold a JSON object"),
        (lambda places: (places / "base/llama").rename(places / "base/lama"), "is not there .*lama"),
    ],
)
def test_what_cannot_be_used_is_refused_with_the_key(
    places: Path, change: Callable[[Path], None], message: str
) -> None:
    change(places)
    with pytest.raises(UserError, match=rf"`base\.causal`.*{message}"):
        take(places, causal="data/base/llama")


def test_an_incumbent_that_is_not_there(places: Path, tokenizer: Path) -> None:
    with pytest.raises(UserError, match=r"`base\.seq2seq`.*nothing has been promoted yet"):
        take(places, seq2seq="incumbent")
    promote(places, tokenizer)
    with pytest.raises(UserError, match="has no part `seq2seq`"):
        take(places, seq2seq="incumbent")
    (places / "promoted/incumbent/documents.parquet").unlink()
    with pytest.raises(UserError, match=r"documents\.parquet is missing"):
        take(places, causal="incumbent")


def test_one_base_is_for_the_family_that_it_is_of_and_its_vocabulary_for_all(places: Path, tokenizer: Path) -> None:
    base = "data/base/llama"
    assert take_shared(places, base, *FAMILIES) == {
        "causal": base,
        "masked": "scratch",
        "seq2seq": "scratch",
        "tokenizer": base,
    }
    with pytest.raises(
        UserError, match=r"`base` .*holds a llama model, which no family can begin with: masked \(modernbert, bert,"
    ):
        take_shared(places, base, "masked")
    with pytest.raises(UserError, match="nothing has been promoted yet"):
        take_shared(places, "incumbent", "causal")
    promote(places, tokenizer)
    assert take_shared(places, "incumbent", *FAMILIES) == {
        "causal": "incumbent",
        "masked": "incumbent",
        "seq2seq": "scratch",
        "tokenizer": "incumbent",
    }


CHATML = (
    "{% for m in messages %}<|im_start|>{{ m.role }}\n{{ m.content }}<|im_end|>\n{% endfor %}"
    "{% if add_generation_prompt %}<|im_start|>assistant\n{% endif %}"
)


def test_a_model_that_can_speak_keeps_its_voice(tmp_path: Path) -> None:
    """Its ids, template and settings stay to the byte, and nothing is added."""
    folder = tmp_path / "base/speaker"
    save_foreign(folder, "causal", "qwen2", ("<|endoftext|>", "<|im_start|>", "<|im_end|>"))
    names = {"eos_token": "<|im_end|>", "pad_token": "<|endoftext|>", "chat_template": CHATML}
    (folder / "tokenizer_config.json").write_text(json.dumps(names), "utf-8")
    report = take(tmp_path, causal="data/base/speaker", tokenizer="data/base/speaker")
    for name in ("tokenizer.json", "tokenizer_config.json"):
        assert (tmp_path / "out/tokenizer" / name).read_bytes() == (folder / name).read_bytes()
    note = json.loads((tmp_path / "out/causal/start.json").read_text("utf-8"))
    assert note == {"start": "data/base/speaker", "added": {}, "chat": True}
    assert (report["tokenizer"]["added"], report["tokenizer"]["chat_template"]) == ([], "kept")


def test_a_template_that_cannot_be_read_is_said(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    folder = tmp_path / "base/speaker"
    save_foreign(folder, "causal", "qwen2", ("<|endoftext|>", "<|im_start|>", "<|im_end|>"))
    (folder / "chat_template.jinja").write_text("{{ strftime_now('%Y') }}" + CHATML, "utf-8")
    report = take(tmp_path, causal="data/base/speaker", tokenizer="data/base/speaker")
    assert report["tokenizer"]["chat_template"] == "replaced"
    assert "cannot be read as marks around turns" in capsys.readouterr().err
    assert not json.loads((tmp_path / "out/causal/start.json").read_text("utf-8"))["chat"]
    (folder / "chat_template.jinja").write_bytes(b"\xff\xfe{{")
    with pytest.raises(UserError, match="is not UTF-8"):
        take(tmp_path, causal="data/base/speaker", tokenizer="data/base/speaker")


def test_a_mask_is_added_where_the_masked_family_is_built(places: Path) -> None:
    report = take(places, causal="data/base/llama", masked="scratch", tokenizer="data/base/llama")
    assert report["tokenizer"]["added"][-1] == "<|mask|>"
