"""The stage as a whole: what stops the build and what it says, what it writes, and that it is the same every time."""

import json
import os
import re
import shutil
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pyarrow as pa
import pytest

from privllm.clean.quality import REASONS
from privllm.core.errors import UserError
from privllm.core.report import write_json
from privllm.core.tables import read_folder, write_table
from privllm.validate.drift import MEASURES, DriftConfig
from privllm.validate.drop_reasons import PARAMETERS
from privllm.validate.statistics import STATISTICS

Document = Callable[..., dict[str, Any]]
# One document among thirty that must stop the build: what is wrong with it, and the expectation that says so.
FAULTS = {
    "short id": ({"id": "0123"}, "Every id is 32 hexadecimal digits"),
    "id in capitals": ({"id": "ABCDEF0123456789ABCDEF0123456789"}, "Every id is 32 hexadecimal digits"),
    "id with a line end": ({"id": "0123456789abcdef0123456789abcdef\n"}, "Every id is 32 hexadecimal digits"),
    "no id": ({"id": None}, "Every id is 32 hexadecimal digits"),
    "no source": ({"source": ""}, "Every document says where it came from"),
    "no text": ({"text": ""}, "Every document has at least 1 character"),
    "null for a text": ({"text": None}, "Every document has at least 1 character"),
    "e-mail": ({"text": "ask jo@example.com about it"}, "No document still holds an e-mail address"),
    "card": ({"text": "4111 1111 1111 1111"}, "No document still holds a payment card number"),
    "iban": ({"text": "DE89 3704 0044 0532 0130 00"}, "No document still holds an IBAN"),
    "private key": ({"text": "-----BEGIN PRIVATE KEY-----"}, "No document still holds a private key"),
    "phone": ({"text": "+49 30 12345678"}, "No document still holds an international phone number"),
}


@pytest.fixture(scope="module")
def stopped(corpus: Callable[..., Any], document: Document) -> tuple[Any, str]:
    """A corpus with one document of every fault, and what the build said when it stopped."""
    bad = [document(99, **{"source": f"bad/{fault}.txt", **changes}) for fault, (changes, _) in FAULTS.items()]
    trial = corpus([*map(document, range(30)), *bad])
    with pytest.raises(UserError) as error:
        trial.validate()
    return trial, str(error.value)


@pytest.mark.parametrize("fault", FAULTS)
def test_a_bad_document_stops_the_build_by_name(fault: str, stopped: tuple[Any, str]) -> None:
    changes, expectation = FAULTS[fault]
    failure = stopped[1].split(f'"{expectation}": ')[1].split('"')[0]
    same = [other for other, (_, name) in FAULTS.items() if name == expectation]
    assert failure.startswith(f"{len(same)} of {30 + len(FAULTS)} documents (")
    assert changes.get("source", f"bad/{fault}.txt") + " (" in failure


def test_when_it_stops_everything_is_written_first(stopped: tuple[Any, str]) -> None:
    trial, message = stopped
    expectations = {name for _, name in FAULTS.values()}
    assert message.startswith(f"{len(expectations)} critical expectations failed, and nothing after `validate` runs. ")
    assert message.endswith(f"Every result: {trial.docs / 'index.html'}.")
    assert json.loads((trial.out / "verdict.json").read_text())["passed"] is False
    assert (trial.out / "statistics.json").is_file()
    assert all(name in (trial.docs / "index.html").read_text() for name in expectations)


def test_one_fault_is_enough(corpus: Callable[..., Any], document: Document) -> None:
    with pytest.raises(
        UserError,
        match=r'^a critical expectation failed, .* "No document still holds an IBAN": 1 of 31 documents \(a\.txt ',
    ):
        corpus([*map(document, range(30)), document(99, source="a.txt", text=FAULTS["iban"][0]["text"])]).validate()


def test_two_documents_with_one_id_stop_the_build(corpus: Callable[..., Any], document: Document) -> None:
    rows = [document(number) for number in range(30)]
    with pytest.raises(
        UserError, match=r'"No two documents share an id": 2 of 31 documents \(.*notes/1\.txt .*copy\.txt'
    ):
        corpus([*rows, {**rows[1], "source": "notes/copy.txt"}]).validate()


def test_a_shard_with_other_columns_stops_the_build(corpus: Callable[..., Any]) -> None:
    trial = corpus()
    write_table(pa.table({"id": ["a"]}), trial.inputs.source / "00007.parquet")
    trial.copied(7, [])
    with pytest.raises(UserError, match=r'"Every shard has the documented columns": 1 of 3 shards \(00007\.parquet\)'):
        trial.validate()


REPORTS = [
    ((30, 29, 30), "Clean saw every document that collect found.*collected 30, entered_clean 29"),
    ((30, 30, 29), "No document came from nowhere.*kept 29, documents 30"),
    (
        (1000, 1000, 30),
        r"At least 20% of what was found survives reading and cleaning.*: 0\.03; allowed: at least 0\.2 \(`validate\.min_survival`",
    ),
]


@pytest.mark.parametrize(("counts", "message"), REPORTS)
def test_documents_that_got_lost_stop_the_build(
    counts: tuple[int, int, int], message: str, corpus: Callable[..., Any]
) -> None:
    trial = corpus()
    trial.report(*counts)
    with pytest.raises(UserError, match=message):
        trial.validate()


def test_where_too_little_survives_the_reasons_and_their_parameters_are_named(corpus: Callable[..., Any]) -> None:
    """As of a folder with 300 files of one sentence."""
    trial = corpus()
    trial.report(330, 330, 30, dropped={"too_short": 298, "language": 2}, quarantined={"unsupported": 1})
    with pytest.raises(UserError) as stopped:
        trial.validate()
    why = (
        "Why: clean dropped 298 for too_short (`clean.quality.min_words`), clean dropped 2 for language (`clean.languages`), "
        "collect quarantined 1 for unsupported; data/clean/dropped/dropped.txt"
    )
    assert why in str(stopped.value)


def test_every_reason_of_a_rule_has_its_parameter() -> None:
    """Those without one are of the file itself: no limit would let it pass."""
    of_the_file = {
        "empty",
        "binary",
        "garbage",
        "html_unclosed_formatting",
        "html_too_deep",
        "lorem_ipsum",
        "javascript",
    }
    assert REASONS - of_the_file == PARAMETERS.keys() - {"too_large"}
    assert {parameter.partition(".")[0] for parameter in PARAMETERS.values()} == {"clean", "collect"}


FOUND, DOCUMENTS = "of what was found is quarantined for one reason", "of the documents are dropped for one reason"
LEFT_OUT = [  # by reason, of 30 documents that remain: what is warned of, or what stops the build
    ({"quarantined": {"unsupported": 3}}, "", ""),
    ({"quarantined": {"unsupported": 4}}, f"At most 10% {FOUND}: 4 of 34 for unsupported", ""),
    ({"quarantined": {"binary": 3, "unsupported": 3}}, "", ""),  # neither reason alone
    ({"quarantined": {"unsupported": 30}}, f"At most 10% {FOUND}: 30 of 60 for unsupported", ""),
    (
        {"quarantined": {"empty": 1, "unsupported": 32}},
        "",
        f'"At most 50% {FOUND}": 32 of 63 for unsupported; allowed: at most 0.5',
    ),
    ({"dropped": {"too_short": 3}}, "", ""),
    ({"dropped": {"too_short": 4}}, f"At most 10% {DOCUMENTS}: 4 of 34 for too_short", ""),
    ({"dropped": {"language": 30}}, f"At most 10% {DOCUMENTS}: 30 of 60 for language", ""),
    (
        {"dropped": {"language": 31}},
        "",
        "31 of 61 for language; allowed: at most 0.5 (`validate.losses.stop` in params.yaml)",
    ),
]


@pytest.mark.slow
@pytest.mark.parametrize(("left_out", "warning", "stop"), LEFT_OUT)
def test_what_one_reason_leaves_out_is_judged(
    left_out: dict[str, dict[str, int]], warning: str, stop: str, corpus: Callable[..., Any]
) -> None:
    trial = corpus()
    entered = 30 + sum(left_out.get("dropped", {}).values())
    trial.report(entered, entered, 30, **left_out)
    if stop:
        with pytest.raises(UserError, match=re.escape(stop)):
            trial.validate()
    else:
        assert trial.validate()["warnings_of"] == ([warning] if warning else [])


@pytest.mark.slow
def test_files_that_could_not_be_read_did_not_survive(corpus: Callable[..., Any]) -> None:
    """A folder of PDF once passed with a survival of 1.0."""
    trial = corpus()
    trial.report(30, 30, 30, {"unsupported": 10})
    assert trial.validate()["survival_rate"] == 0.75
    assert trial.validate(min_survival=0.75)["failed_critical"] == 0
    with pytest.raises(
        UserError, match=r"At least 76% of what was found survives reading and cleaning\": 0\.75; allowed"
    ):
        trial.validate(min_survival=0.76)


def test_a_corpus_in_another_language_than_named_stops_the_build(corpus: Callable[..., Any]) -> None:
    with pytest.raises(UserError, match=r"50% of the documents are in `de`.*: 0; allowed: at least 0\.5"):
        corpus().validate(language="de")


def test_a_corpus_of_placeholders_stops_the_build(corpus: Callable[..., Any], document: Document) -> None:
    with pytest.raises(UserError, match=r"The corpus has at most 0\.1 placeholders per word"):
        corpus([document(number, placeholders=20) for number in range(30)]).validate()


@pytest.mark.slow
def test_drift_stops_the_build_in_every_measure(corpus: Callable[..., Any], document: Document) -> None:
    trial = corpus([document(number) for number in range(60)])
    trial.validate()
    shutil.copy(trial.out / "statistics.json", trial.inputs.promoted)
    assert trial.validate()["drift"] == dict.fromkeys(MEASURES, 0.0)
    rows = [
        document(number, source=f"new/{number}", text="same " * 9, language="de", placeholders=1)
        for number in range(60)
    ]
    other = corpus(rows)
    shutil.copy(trial.out / "statistics.json", other.inputs.promoted)
    with pytest.raises(UserError, match=r"`validate\.drift\.stop`") as stopped:
        other.validate(max_mean_placeholder_density=1.0)
    assert "5 critical expectations failed" in str(stopped.value)
    report = other.validate(max_mean_placeholder_density=1.0, drift=DriftConfig(stop=100.0))
    assert report["warnings"] >= 5
    assert all(psi > 0.25 for psi in report["drift"].values())


def test_warnings_are_reported_and_do_not_stop(corpus: Callable[..., Any]) -> None:
    report = corpus().validate(max_characters=600)
    assert report["failed_critical"] == 0
    assert report["warnings_of"] == ["95% of the documents have at most 600 characters: 24 of 30 documents"]


def test_a_sound_corpus_passes_and_its_verdict_says_nothing_of_its_documents(
    corpus: Callable[..., Any], document: Document
) -> None:
    trial = corpus()
    report = trial.validate()
    assert {
        key: report[key]
        for key in ("documents", "failed_critical", "warnings", "survival_rate", "leftover_personal_data")
    } == {
        "documents": 30,
        "failed_critical": 0,
        "warnings": 0,
        "survival_rate": 1.0,
        "leftover_personal_data": 0,
    }
    assert read_folder(trial.out).schema == STATISTICS
    verdict = (trial.out / "verdict.json").read_bytes()
    assert json.loads(verdict) == {"passed": True}
    other = corpus([document(number) for number in range(7)])
    other.validate(max_characters=100)
    assert (other.out / "verdict.json").read_bytes() == verdict


def test_no_documents_is_an_error_that_says_where_to_look(corpus: Callable[..., Any]) -> None:
    with pytest.raises(UserError, match=r"holds no document: .*clean\.json"):
        corpus([]).validate()


def test_an_unusable_report_names_the_stage_to_run(corpus: Callable[..., Any]) -> None:
    trial = corpus()
    write_json(trial.inputs.clean_report, {"documents_in": 30})
    with pytest.raises(UserError, match=r"clean\.json cannot be used \(KeyError: 'cut'\): `dvc repro --force clean`"):
        trial.validate()


PROCESS = """
import json, os, socket, sys
from pathlib import Path
allowed = os.path.abspath(sys.argv[1])

def watch(event, args):
    if event in ("socket.connect", "socket.getaddrinfo", "socket.sendto"):
        os.write(2, f"{event} {args[1:]}\\n".encode()); os._exit(3)
    writes = event == "open" and isinstance(args[0], str) and isinstance(args[2], int) and args[2] & (os.O_WRONLY | os.O_RDWR)
    if writes and not os.path.abspath(args[0]).startswith(allowed) and "__pycache__" not in args[0] and args[0] != os.devnull:
        os.write(2, f"wrote {args[0]}\\n".encode()); os._exit(4)

sys.addaudithook(watch)
from privllm.validate.recipe import ValidateInputs, ValidateConfig, validate
root = Path(sys.argv[1])
inputs = ValidateInputs(root / "data/dedup", root / "reports/collect.json", root / "reports/clean.json", root / "statistics.json")
report = validate(ValidateConfig(max_characters=600), inputs, root / "out", root / "docs")
print(json.dumps(report))
"""


@pytest.mark.slow
def test_another_process_writes_equal_bytes_without_network_or_stray_files(corpus: Callable[..., Any]) -> None:
    trial = corpus()
    report = trial.validate(max_characters=600)
    root, temporary = trial.folder, trial.folder / "temporary"
    temporary.mkdir()
    seed = "1" if os.environ.get("PYTHONHASHSEED") != "1" else "2"
    changed = {
        "PYTHONHASHSEED": seed,
        "HOME": str(root / "home"),
        "TMPDIR": str(temporary),
        "GX_ANALYTICS_ENABLED": "true",
    }
    command = [sys.executable, "-c", PROCESS, str(root)]
    process = subprocess.run(command, env={**os.environ, **changed}, capture_output=True, text=True)
    assert process.returncode == 0, process.stderr
    assert json.loads(process.stdout) == report
    assert contents(root / "out") == contents(trial.out)
    assert contents(root / "docs") == contents(trial.docs)
    assert not (root / "home").exists()
    assert not contents(temporary)


def contents(folder: Path) -> dict[str, bytes]:
    return {str(path.relative_to(folder)): path.read_bytes() for path in sorted(folder.rglob("*")) if path.is_file()}
