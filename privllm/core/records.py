"""Arrow schemas of the records that flow between the stages.

    collect    DOCUMENTS            data/collect/*.parquet      QUARANTINE   data/collect/quarantine/*.parquet
    clean      CLEAN                data/clean/*.parquet        DROPPED      data/clean/dropped/*.parquet
    dedup      CLEAN, cluster, split data/dedup/*.parquet       CLUSTERS     data/dedup/clusters/*.parquet
               tokens.sample.SAMPLE data/dedup/sample/*.parquet     COPIED_RUNS  data/dedup/copied/*.parquet
    annotate   ANNOTATIONS          data/annotate/*.parquet
    pack       ROWS                 data/pack/{train,validation,test}/*.arrow

A document's `id` is a hash of where it came from (relative path, and line within a file of many
documents), so an edited document keeps its id and its shard. Neighbouring lines of a file share a
shard, so adding, editing or removing a file of a hundred documents changes one shard, not a
hundred.

`clean` cuts long documents into sections, which are documents from then on. A section's source is that of its
document with "#s:" and 16 hexadecimal digits behind it, and it lies in its document's shard.
"""

import re

import pyarrow as pa

from privllm.core.seed import name_digest

ABOUT = [  # what a file says of itself, "" where it does not; after `clean` without personal data
    ("title", pa.string()),
    ("author", pa.string()),
    ("date", pa.string()),  # YYYY-MM-DD
]
DOCUMENTS = pa.schema(
    [
        ("id", pa.string()),  # 32 hexadecimal digits, `document_id`
        (
            "source",
            pa.string(),
        ),  # path relative to data/sources, "/"-separated; "#12" appended for line 12 of a JSONL
        ("media_type", pa.string()),  # text/html, text/plain, text/x-python ..., of an office file its own
        ("encoding", pa.string()),  # what the bytes were decoded with
        ("digest", pa.string()),  # `seed.digest` of the raw bytes
        ("text", pa.string()),
        *ABOUT,
    ]
)
QUARANTINE = pa.schema(
    [
        ("source", pa.string()),
        ("digest", pa.string()),
        ("bytes", pa.int64()),
        ("reason", pa.string()),
        ("detail", pa.string()),
    ]
)

CLEAN = pa.schema(
    [
        ("id", pa.string()),
        ("source", pa.string()),
        ("media_type", pa.string()),
        ("digest", pa.string()),
        ("text", pa.string()),  # clean text, NFC, personal data replaced by placeholders
        ("language", pa.string()),  # ISO 639-1, "" where it was not asked
        ("language_score", pa.float32()),
        ("placeholders", pa.int32()),  # how many pieces of personal data were replaced
        *ABOUT,
    ]
)
DROPPED = CLEAN.append(pa.field("reason", pa.string())).append(pa.field("detail", pa.string()))
# `split` is one of `core.split.SPLITS`; stages after dedup read it here and nowhere else
DEDUPED = CLEAN.append(pa.field("cluster", pa.string())).append(pa.field("split", pa.string()))
CLUSTERS = pa.schema(
    [
        ("id", pa.string()),
        ("digest", pa.string()),  # of the text, white space normalised (`dedup.exact`)
        ("cluster", pa.string()),
        ("kept", pa.bool_()),
        ("reason", pa.string()),  # why it was dropped: exact, near or other_side; else ""
    ]
)
# A document of a promoted build and its side, a row for each version of its text; read by `dedup`, so that no document crosses
SIDES = pa.schema([("id", pa.string()), ("digest", pa.string()), ("split", pa.string())])

# a run of words of a held-out document that also stands in training documents; rows by id and place, none of them touch
COPIED_RUNS = pa.schema([("id", pa.string()), ("begin", pa.int64()), ("end", pa.int64())])  # bytes of the UTF-8 `text`

ANNOTATIONS = pa.schema(
    [
        ("id", pa.string()),
        ("token_start", pa.list_(pa.int32())),  # offsets in Unicode code points of `text`
        ("token_end", pa.list_(pa.int32())),
        ("pos", pa.list_(pa.string())),  # Universal POS tag of each token
        ("dep", pa.list_(pa.string())),  # dependency label
        ("head", pa.list_(pa.int32())),  # index of the head token; a root points at itself
        ("entity_start", pa.list_(pa.int32())),
        ("entity_end", pa.list_(pa.int32())),
        ("entity_label", pa.list_(pa.string())),
    ]
)

# Unannotated tokens, white space, and the tags of Universal Dependencies
# (universaldependencies.org/u/pos).
POS_TAGS = tuple(
    "unannotated SPACE ADJ ADP ADV AUX CCONJ DET INTJ NOUN NUM PART PRON PROPN PUNCT SCONJ SYM VERB X".split()
)

PIECE = pa.struct(
    [
        ("id", pa.string()),  # of the document
        ("row_start", pa.int32()),  # first token of the piece within the row
        ("document_start", pa.int32()),  # the same token's place within the document's tokens
        ("tokens", pa.int32()),
    ]
)
ROWS = pa.schema([("input_ids", pa.list_(pa.int32())), ("pieces", pa.list_(PIECE))])  # see tokens/pack.py

GUIDE = pa.schema(  # beside each row of ROWS; both lists are empty where no token of the row is annotated
    [
        ("pos", pa.list_(pa.uint8())),  # of each token, an index into POS_TAGS
        (
            "span",
            pa.list_(pa.int32()),
        ),  # the entity or phrase that it lies in, from 0 within the document; -1 outside
    ]
)

MAX_SHARD_BITS = 12
SHARD_DIGITS = 4  # of an id, hexadecimal, say its shard
LINE = re.compile("(.+)#([0-9]{1,18})", re.DOTALL)  # a source that is a line of a file
SECTION = re.compile("(.+)#s:[0-9a-f]{16}", re.DOTALL)  # a source that is a section of a document
SECTION_DIGITS = 16
LINES = 128  # of a file that share a shard; few enough for a long file to fill all shards alike


def document_id(source: str) -> str:
    """Return the id of the document that came from `source`: a hash of the source.

    If the source is a line of a file, the first digits are those of its block of lines; if it is a section, those of
    its document.
    """
    source_digest = name_digest("document", source)
    section = SECTION.fullmatch(source)
    if section:
        return document_id(section[1])[:SHARD_DIGITS] + source_digest[SHARD_DIGITS:]
    line = LINE.fullmatch(source)
    if not line:
        return source_digest
    file, number = line[1], int(line[2])
    block_digest = name_digest("lines", file, (number - 1) // LINES)
    return block_digest[:SHARD_DIGITS] + source_digest[SHARD_DIGITS:]


def section_source(source: str, name: str) -> str:
    """Return the source of the section `name`, hexadecimal digits, of a document."""
    return f"{source}#s:{name[:SECTION_DIGITS]}"


def whole_source(source: str) -> str:
    """Return the source of the document that a section was cut from, and any other source as it is."""
    section = SECTION.fullmatch(source)
    return section[1] if section else source


def shard_of(identifier: str, bits: int) -> int:
    """Return which of `2**bits` shards an id belongs to: its leading bits."""
    return int(identifier[:SHARD_DIGITS], 16) >> (4 * SHARD_DIGITS - bits)


def shard_name(index: int) -> str:
    """Return the file name of a shard."""
    return f"{index:05d}.parquet"
