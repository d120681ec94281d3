"""Parameters are listed with their default, their line and their meaning, and the schema accepts what we accept."""

import copy
import json
from dataclasses import dataclass, field
from pathlib import Path

import jsonschema
import pytest
from typer.testing import CliRunner

from privllm.cli.app import app
from privllm.core.errors import UserError
from privllm.core.params import load_sections
from privllm.parameters.listing import SCHEMA_FILE, comments_of, list_parameters, rows_of, schema_of_params
from tests.workshop import ROOT


@dataclass
class Base:
    size: int = 1  # of all, >= 1


@dataclass
class Example(Base):
    # share of documents,
    # [0, 1]
    share: float = 0.5
    names: list[str] = field(default_factory=list)  # of people
    silent: bool = False


def test_a_comment_stands_beside_a_field_or_above_it() -> None:
    comments = {"size": "of all, >= 1", "share": "share of documents, [0, 1]", "names": "of people", "silent": ""}
    assert comments_of(Example) == comments


def params(tmp_path: Path, text: str) -> Path:
    (tmp_path / "params.yaml").write_text(text)
    return tmp_path


def test_a_value_of_params_yaml_has_its_line_and_another_its_default(tmp_path: Path) -> None:
    root = params(tmp_path, "dedup:\n  threshold: 0.7\n")
    parameters = {parameter.key: parameter for parameter in list_parameters("dedup", root)}
    assert (parameters["dedup.threshold"].value, parameters["dedup.threshold"].default) == (0.7, 0.8)
    assert parameters["dedup.threshold"].line == 2
    assert (parameters["dedup.words"].value, parameters["dedup.words"].line) == (
        parameters["dedup.words"].default,
        None,
    )
    rows = list(rows_of(list(parameters.values()), 200, everything=False))
    assert len(rows) == 1
    assert rows[0].startswith("dedup.threshold  0.7 (default 0.8), line 2  # ")
    assert len(list(rows_of(list(parameters.values()), 200, everything=True))) == len(parameters)


def test_a_part_of_a_section_can_be_asked_for_and_an_unknown_one_is_refused(tmp_path: Path) -> None:
    root = params(tmp_path, "split: {}\n")
    assert {parameter.key.rpartition(".")[0] for parameter in list_parameters("clean.quality", root)} == {
        "clean.quality"
    }
    with pytest.raises(UserError, match="the sections are align, annotate"):
        list_parameters("clean.qual", root)


def test_every_parameter_says_what_it_means() -> None:
    silent = [
        parameter.key
        for parameter in list_parameters(root=ROOT)
        if not parameter.meaning and not parameter.key.endswith(".seed")
    ]
    assert silent == []


def test_params_yaml_fits_the_schema_and_faults_do_not() -> None:
    schema, sections = schema_of_params(), load_sections(ROOT / "params.yaml")
    jsonschema.Draft202012Validator.check_schema(schema)
    jsonschema.validate(sections, schema)
    for section, key, value in [("dedup", "treshold", 0.8), ("dedup", "threshold", "high"), ("split", "test", None)]:
        faulty = copy.deepcopy(sections)
        faulty[section][key] = value
        with pytest.raises(jsonschema.ValidationError):
            jsonschema.validate(faulty, schema)
    with pytest.raises(jsonschema.ValidationError):
        jsonschema.validate(sections | {"families": ["causl"]}, schema)
    jsonschema.validate(sections | {"own": {"x": 1}}, schema)  # a section of somebody's own stage
    assert (ROOT / SCHEMA_FILE).is_file()


def test_the_command(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.chdir(params(tmp_path, "dedup:\n  threshold: 0.7\n"))
    assert "dedup.threshold  0.7 (default 0.8), line 2" in CliRunner().invoke(app, ["params"]).stdout
    assert "dedup.words" in CliRunner().invoke(app, ["params", "dedup"]).stdout
    listed = json.loads(CliRunner().invoke(app, ["params", "--json"]).stdout)
    assert {"key": "dedup.threshold", "value": 0.7}.items() <= next(k for k in listed if k["line"]).items()
