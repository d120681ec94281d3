"""A wrong parameter is refused with its file, its line and the nearest known key."""

from dataclasses import dataclass, field
from pathlib import Path

import pytest

from privllm.core.errors import UserError
from privllm.core.params import deciding_sections, load_sections, read_params, require


@dataclass
class Inner:
    depth: int = 2

    def __post_init__(self) -> None:
        require(self.depth > 0, "inner.depth", "above 0")


@dataclass
class Sample:
    learning_rate: float = 0.1
    names: list[str] = field(default_factory=lambda: ["en"])
    inner: Inner = field(default_factory=Inner)
    own: dict[str, Inner] = field(default_factory=dict)

    def __post_init__(self) -> None:
        require(self.learning_rate > 0, "sample.learning_rate", "above 0")
        require(all(inner.depth < 9 for inner in self.own.values()), "own", "below 9 in depth")


def params(tmp_path: Path, text: str) -> Path:
    path = tmp_path / "params.yaml"
    path.write_text(text)
    return path


def test_reads_nested_values_and_keeps_defaults(tmp_path: Path) -> None:
    found = read_params("sample", Sample, params(tmp_path, "sample:\n  inner: {depth: 5}\n"))
    assert found == Sample(inner=Inner(depth=5))


def test_missing_section_means_defaults(tmp_path: Path) -> None:
    assert read_params("sample", Sample, params(tmp_path, "other: {}\n")) == Sample()


@pytest.mark.parametrize(
    ("text", "parts"),
    [
        ("a: 1\nsample:\n  learning_rat: 1\n", ["sample.learning_rat", "line 3", "sample.learning_rate"]),
        ("sample:\n  inner:\n    deph: 1\n", ["sample.inner.deph", "line 3", "sample.inner.depth"]),
        ("sample:\n  inner:\n    depth: deep\n", ["sample.inner.depth", "line 3", "deep"]),
        ("sample:\n  own:\n    mine: {deph: 1}\n", ["sample.own.mine.deph", "line 3", "sample.own.mine.depth"]),
        ("sample:\n  names: 3\n", ["sample.names", "line 2"]),
        ("sample:\n  learning_rate: -1\n", ["`sample.learning_rate`", "line 2", "above 0"]),
        ("sample:\n  names: []\n  inner:\n    depth: 0\n", ["`sample.inner.depth`", "line 4", "above 0"]),
        (
            "sample:\n  own:\n    mine: {depth: 1}\n    other:\n      depth: 0\n",
            ["`sample.own.other", "line 4", "above 0"],
        ),
        ("sample:\n  own:\n    mine: {depth: 9}\n", ["`sample.own`", "line 2", "below 9"]),
        ("sample: 3\n", ["sample", "line 1"]),
        ("sample: {learning_rate: [\n", ["not valid YAML"]),
        ("- sample\n", ["mapping"]),
        ("x: 1\nsample:\n  learning_rate: ${x}\n", ["${", "DVC"]),
        ("sample: !!python/object/apply:os.system [true]\n", ["not valid YAML"]),
    ],
)
def test_wrong_values_are_explained(tmp_path: Path, text: str, parts: list[str]) -> None:
    with pytest.raises(UserError) as caught:
        read_params("sample", Sample, params(tmp_path, text))
    for part in parts:
        assert part in str(caught.value)


def test_a_section_over_another(tmp_path: Path) -> None:
    path = params(
        tmp_path,
        "sample:\n  all: {learning_rate: 0.5, inner: {depth: 3}}\n  one:\n    learning_rate: 0.7\n    two:\n      dept: 1\n",
    )
    assert read_params("sample.all", Sample, path) == Sample(0.5, inner=Inner(3))
    path.write_text(path.read_text().replace("    two:\n      dept: 1\n", ""))
    assert read_params("sample.all", Sample, path, over="sample.one") == Sample(0.7, inner=Inner(3))
    path.write_text(path.read_text().replace("learning_rate: 0.7", "inner: {dept: 1}"))
    with pytest.raises(UserError, match=r"sample\.one\.inner\.dept.*line 4.*sample\.one\.inner\.depth"):
        read_params("sample.all", Sample, path, over="sample.one")
    path.write_text(path.read_text().replace("dept: 1", "depth: 0"))
    with pytest.raises(UserError, match=r"`sample\.one\.inner\.depth` .*line 4"):
        read_params("sample.all", Sample, path, over="sample.one")
    path.write_text("sample:\n  all: {inner: {depth: 0}}\n  one: {names: []}\n")
    with pytest.raises(UserError, match=r"`sample\.all\.inner\.depth` .*line 2"):
        read_params("sample.all", Sample, path, over="sample.one")


def test_missing_file_says_where_to_stand(tmp_path: Path) -> None:
    with pytest.raises(UserError, match="root of the repository"):
        read_params("sample", Sample, tmp_path / "params.yaml")


def test_the_order_of_keys_decides_nothing(tmp_path: Path) -> None:
    one = load_sections(params(tmp_path, "b: {y: 1, x: 2}\na: {}\n"))
    other = load_sections(params(tmp_path, "a: {}\nb: {x: 2, y: 1}\n"))
    assert list(one) == list(other) == ["a", "b"]
    assert list(one["b"]) == list(other["b"])


def test_where_work_is_done_is_nothing_to_write_down(tmp_path: Path) -> None:
    path = params(tmp_path, "a: {x: [1]}\nexecutor: {address: 'head:1'}\n")
    assert deciding_sections(path) == {"a": {"x": [1]}}


def test_what_a_caller_changes_stays_its_own(tmp_path: Path) -> None:
    path = params(tmp_path, "a: {x: [1]}\n")
    load_sections(path)["a"]["x"].append(2)
    assert load_sections(path) == {"a": {"x": [1]}}


@pytest.mark.parametrize(
    ("value", "fault"),
    [(".inf", "finite number"), (".nan", "finite number"), ("[1, -.inf]", "finite number")],
)
def test_a_number_that_is_not_finite_is_refused_with_its_line(tmp_path: Path, value: str, fault: str) -> None:
    path = tmp_path / "params.yaml"
    path.write_text(f"a:\n  b: {value}\n")
    with pytest.raises(UserError, match=rf"`a.b` \(.*, line 2\) is .*{fault}"):
        load_sections(path)


@pytest.mark.parametrize(
    ("seed", "is_usable"), [("-1", False), ("0", True), (str(2**63 - 1), True), (str(2**63), False)]
)
def test_a_seed_is_one_that_generators_take(tmp_path: Path, seed: str, is_usable: bool) -> None:
    path = tmp_path / "params.yaml"
    path.write_text(f"a:\n  seed: {seed}\n")
    if is_usable:
        assert load_sections(path) == {"a": {"seed": int(seed)}}
        return
    with pytest.raises(UserError, match=r"`a.seed` \(.*, line 2\) is out of range"):
        load_sections(path)


def test_a_key_that_stands_twice_is_refused_with_both_lines(tmp_path: Path) -> None:
    (tmp_path / "params.yaml").write_text("clean: {languages: []}\nsplit:\n  test: 0.1\n  test: 0.2\n")
    with pytest.raises(UserError, match=r"params\.yaml is not valid YAML: `test` stands in line 3 and again in line 4"):
        load_sections(tmp_path / "params.yaml")
