"""The code by which results are known does not name libraries that count for single results."""

import json

from privllm.engine.fingerprint import fingerprint
from privllm.engine.libraries_apart import APART, code_digest
from tests.workshop import ROOT


def recorded(**libraries: str) -> bytes:
    return json.dumps({"python": "3.11", "modules": {"a": "1"}, "libraries": libraries}).encode()


def test_a_library_apart_changes_no_code_of_its_stage() -> None:
    before = code_digest("collect", recorded(pypdfium2="5", numpy="2"))
    assert code_digest("collect", recorded(pypdfium2="6", numpy="2")) == before
    assert code_digest("collect", recorded(pypdfium2="5", numpy="3")) != before
    assert code_digest("collect", recorded(pypdfium2="5", numpy="2").replace(b'"1"', b'"2"')) != before


def test_for_another_stage_it_counts_as_every_library() -> None:
    assert code_digest("clean", recorded(resiliparse="1")) != code_digest("clean", recorded(resiliparse="2"))


def test_all_libraries_apart_are_in_the_fingerprint_of_their_stage() -> None:
    """So an upgrade runs the stage, which then finds what to make again."""
    for stage, libraries in APART.items():
        assert libraries <= fingerprint(ROOT, f"stages.{stage}")["libraries"].keys()
