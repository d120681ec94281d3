"""Personal data: what is found of sentences whose truth is known, what is taken by mistake in manuals, and megabytes a second.

    python -m benchmarks.personal_data PRESIDIO.json MANUALS [--names]

PRESIDIO.json is in the format of presidio-research: [{"full_text", "spans": [{"entity_type", "start_position",
"end_position"}]}]. MANUALS is a folder of HTML files, one folder for each manual; what is replaced there is counted by
kind, for a person to judge: an address of an example is an address. With --names persons are searched too, by our
replacement and by presidio with the same model, where presidio-analyzer is installed. One core.
"""

import json
import re
import sys
import time
from collections import Counter
from importlib.util import find_spec
from pathlib import Path
from typing import Any

from benchmarks.common import write_result
from privllm.clean import html, names
from privllm.clean.normalise import normalise
from privllm.clean.pii import KINDS, redact
from privllm.nlp.packaged_model import packaged_folder

TYPES = {
    "PHONE_NUMBER": "PHONE",
    "EMAIL_ADDRESS": "EMAIL",
    "IBAN_CODE": "IBAN",
    "CREDIT_CARD": "CARD",
    "IP_ADDRESS": "IP",
    "US_SSN": "SSN",
}
PLACEHOLDER = re.compile(rf"<({'|'.join(KINDS)}|PERSON)(?:_\d+)?>")
MAX_HTML_CHARACTERS = 64_000_000
Span = tuple[str, int, int]


def replaced_spans(before: str, after: str) -> list[Span]:
    """Return (kind, start, end) in `before` of each placeholder in `after`."""
    parts = PLACEHOLDER.split(after)
    groups = [f"(?P<g{index}>.+?)" if index % 2 else re.escape(part) for index, part in enumerate(parts)]
    match = re.fullmatch("".join(groups), before, re.DOTALL)
    assert match, "the text between placeholders is as it was"
    return [(parts[index], *match.span(f"g{index}")) for index in range(1, len(parts), 2)]


def known_spans(sentence: dict[str, Any]) -> list[Span]:
    spans = []
    for span in sentence["spans"]:
        kind = TYPES.get(span["entity_type"], span["entity_type"])
        spans.append((kind, span["start_position"], span["end_position"]))
    return spans


def scores(sentences: list[dict[str, Any]]) -> dict[str, Any]:
    """Return recall by kind (a span counts if all of it is replaced), and precision: what is replaced touches a span of a kind."""
    known: Counter[str] = Counter()
    found: Counter[str] = Counter()
    replaced = wrong = 0
    for sentence in sentences:
        spans = replaced_spans(sentence["full_text"], redact(sentence["full_text"])[0])
        truth = [span for span in known_spans(sentence) if span[0] in KINDS]
        for kind, start, end in truth:
            known[kind] += 1
            found[kind] += any(first <= start and end <= last for _, first, last in spans)
        replaced += len(spans)
        wrong += sum(not any(start < last and first < end for _, start, end in truth) for _, first, last in spans)
    by_kind = {kind: f"{found[kind]}/{known[kind]}" for kind in sorted(known)}
    recall = found.total() / max(1, known.total())
    return {"recall": round(recall, 4), "precision": round(1 - wrong / max(1, replaced), 4), "by_kind": by_kind}


def person_recall(sentences: list[dict[str, Any]], spans_by_sentence: list[list[tuple[int, int]]]) -> float:
    known = found = 0
    for sentence, spans in zip(sentences, spans_by_sentence, strict=True):
        for kind, start, end in known_spans(sentence):
            if kind == "PERSON":
                known += 1
                found += any(first <= start and end <= last for first, last in spans)
    return round(found / max(1, known), 4)


def persons(sentences: list[dict[str, Any]]) -> dict[str, float]:
    """Return the recall of persons, ours and presidio's with the same model."""
    texts = [sentence["full_text"] for sentence in sentences]
    ours = [[span[1:] for span in replaced_spans(text, names.replace_names(text, Counter()))] for text in texts]
    recall = {"ours": person_recall(sentences, ours)}
    if find_spec("presidio_analyzer"):
        from presidio_analyzer import AnalyzerEngine
        from presidio_analyzer.nlp_engine import NlpEngineProvider

        model = {"lang_code": "en", "model_name": str(packaged_folder())}
        provider = NlpEngineProvider(nlp_configuration={"nlp_engine_name": "spacy", "models": [model]})
        engine = AnalyzerEngine(nlp_engine=provider.create_engine(), supported_languages=["en"])
        results = [engine.analyze(text, language="en", entities=["PERSON"]) for text in texts]
        recall["presidio"] = person_recall(sentences, [[(one.start, one.end) for one in found] for found in results])
    return recall


def alarms(manual: Path) -> dict[str, Any]:
    """Return what is replaced in a manual's pages, by kind and for each 100 kB, and the megabytes a second."""
    texts = []
    for page in sorted(path for path in manual.rglob("*.html") if path.is_file()):
        texts.append(normalise(html.extract(page.read_text("utf-8", "replace"), MAX_HTML_CHARACTERS)))
    size = sum(len(text.encode()) for text in texts)
    start = time.process_time()
    counts = [redact(text)[1] for text in texts]
    seconds = time.process_time() - start
    total: Counter[str] = Counter()
    for by_kind in counts:
        total.update(by_kind)
    return {
        "kilobytes": round(size / 1e3),
        "megabytes_per_second": round(size / 1e6 / max(seconds, 1e-9), 1),
        "replaced": dict(sorted(total.items())),
        "per_100_kb": round(total.total() / max(1, size) * 1e5, 2),
    }


def main(presidio: Path, manuals: Path, with_names: bool) -> None:
    for path in (presidio, manuals):
        if not path.exists():
            raise SystemExit(f"{path} is not there: see the head of {__file__} for what is measured")
    sentences = json.loads(presidio.read_text("utf-8"))
    result: dict[str, Any] = {"sentences": scores(sentences)}
    if with_names:
        result["persons"] = persons(sentences)
    result["manuals"] = {manual.name: alarms(manual) for manual in sorted(manuals.iterdir()) if manual.is_dir()}
    print(json.dumps(result, indent=2))
    write_result("personal_data", result)


if __name__ == "__main__":
    main(Path(sys.argv[1]), Path(sys.argv[2]), "--names" in sys.argv[3:])
