"""A small corpus, its tokenizer, packed rows, annotations and an untrained model, made once."""

import re
from collections.abc import Callable

import pyarrow as pa
import pytest

from privllm.core.base_model import NOTE
from privllm.core.records import ANNOTATIONS, DEDUPED, document_id, shard_name, shard_of
from privllm.core.report import write_json
from privllm.core.split import SplitConfig, split_of
from privllm.core.tables import write_table
from privllm.evaluate.held_out import COPIED
from privllm.evaluate.recipe import EvaluateInputs
from privllm.models.causal import CausalConfig
from privllm.models.loading import build
from privllm.models.masked import MaskedConfig
from privllm.models.seq2seq import Seq2SeqConfig
from privllm.tokens.special_ids import special_ids
from privllm.tokens.vocabulary import TokenizerConfig, learn_tokenizer
from privllm.tokens.vocabulary_sample import SampleConfig, write_sample

CONTEXT = 16
BITS = 1
MODELS = {
    "causal": CausalConfig(layers=1, width=32, heads=2),
    "masked": MaskedConfig(layers=2, width=32, heads=2, local_attention=4, global_every=2),
    "seq2seq": Seq2SeqConfig(encoder_layers=1, decoder_layers=1, width=32, heads=2),
}
SPLIT = SplitConfig(validation=0.1, test=0.3)
TAGS = ("NOUN", "VERB", "ADJ")
WORDS = "the naïve 数据 store keeps every façade 🙂 row in a page of its own, so <EMAIL> reads less".split()


def lines(number: int) -> list[list[str]]:
    words = [WORDS[(number * 7 + i * i) % len(WORDS)] for i in range(12 + number % 40)]
    return [words[:8], words[8:]]


def text_of(number: int) -> str:
    return "\n\n".join(" ".join(line) for line in lines(number))


def document(number: int) -> dict:
    source = f"{('manual', 'mail')[number % 2]}/{number}.txt" if number % 5 else f"{number}.html"
    base = {
        "id": document_id(source),
        "source": source,
        "media_type": "text/html" if source.endswith("html") else "text/plain",
    }
    rest = {"digest": "", "text": text_of(number), "language": "en", "language_score": 1.0, "placeholders": 0}
    return base | rest | {"cluster": base["id"], "split": split_of(SPLIT, base["id"])}


def annotation(row: dict) -> dict:
    words = list(re.finditer(r"\S+", row["text"]))[1:]  # the first word stays without an annotation
    spans = {"token_start": [w.start() for w in words], "token_end": [w.end() for w in words]}
    tags = {"pos": [TAGS[len(w[0]) % 3] for w in words], "dep": ["dep"] * len(words), "head": [0] * len(words)}
    named = [w for w in words if w[0] in ("store", "数据")]
    entities = {"entity_start": [w.start() for w in named], "entity_end": [w.end() for w in named]}
    return {"id": row["id"]} | spans | tags | entities | {"entity_label": ["ORG"] * len(named)}


def copies(rows: list[dict]) -> list[dict]:
    """Of every third held-out document ten bytes were copied, of every seventh all."""
    held_out = [row for row in rows if row["split"] != "train"]
    found = []
    for place, row in enumerate(held_out):
        length = len(row["text"].encode())
        if place % 7 == 0:
            found.append({"id": row["id"], "begin": 0, "end": length})
        elif place % 3 == 0:
            found.append({"id": row["id"], "begin": 5, "end": 15})
    return found


@pytest.fixture(scope="session")
def inputs(tmp_path_factory: pytest.TempPathFactory) -> EvaluateInputs:
    root = tmp_path_factory.mktemp("evaluate")
    rows = sorted((document(number) for number in range(120)), key=lambda row: row["id"])
    for shard in range(2**BITS):
        own = [row for row in rows if shard_of(row["id"], BITS) == shard]
        write_table(pa.Table.from_pylist(own, DEDUPED), root / "dedup" / shard_name(shard))
        write_table(
            pa.Table.from_pylist([annotation(row) for row in own[::2]], ANNOTATIONS),
            root / "annotate" / shard_name(shard),
        )
        write_table(pa.Table.from_pylist(copies(own), COPIED), root / "dedup/copied" / shard_name(shard))
    write_sample(SampleConfig(), root / "dedup", root / "dedup/sample")
    learn_tokenizer(TokenizerConfig(vocabulary=310), root / "dedup/sample", root / "tokenizer")
    for family, cfg in MODELS.items():
        build(family, cfg, special_ids(root / "tokenizer"), CONTEXT, seed=3).save_pretrained(root / "pretrain" / family)
    write_json(root / "start/causal" / NOTE, {"start": "scratch"})
    return EvaluateInputs(
        root / "pretrain/causal", root / "tokenizer", root / "dedup", root / "annotate", root / "start/causal"
    )


@pytest.fixture(scope="session")
def inputs_of(inputs: EvaluateInputs) -> Callable[[str], EvaluateInputs]:
    return lambda family: inputs._replace(model=inputs.model.parent / family)
