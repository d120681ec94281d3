"""Files on disk that are called as what lies in another file: `a.zip#b.txt` beside `a.zip`, which holds `b.txt`.

A document is known by its name, so of two with one name only the first is kept, by the order of the files: what
lies in the archive. The other is refused, with what to do.
"""

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from privllm.collect.seen_files import SAME_NAME, SeenFiles

DETAIL = "what lies in another file has this name: rename this file"


def without_same_names(seen: SeenFiles) -> SeenFiles:
    """Return files and entries, each document whose id another has before it refused.

    Its file has no MD5 any more, so that the next run reads it again: its text is in no shard.
    """
    has_mark = pc.match_substring(seen.files["source"], "#").to_numpy()
    if not has_mark.any():
        return seen
    entries = seen.entries
    file_of_entry = seen.file_of_entries().to_numpy()
    refused = _repeated(seen, np.flatnonzero(has_mark[file_of_entry]), file_of_entry)
    if not len(refused):
        return seen
    is_refused = np.zeros(len(entries), bool)
    is_refused[refused] = True
    for name, value in (("id", ""), ("reason", SAME_NAME), ("detail", DETAIL)):
        place = entries.schema.get_field_index(name)
        entries = entries.set_column(place, entries.schema.field(name), pc.if_else(is_refused, value, entries[name]))
    is_read_again = np.zeros(len(seen.files), bool)
    is_read_again[file_of_entry[refused]] = True
    place = seen.files.schema.get_field_index("md5")
    md5 = pc.if_else(is_read_again, "", seen.files["md5"])
    return SeenFiles.of(seen.files.set_column(place, seen.files.schema.field("md5"), md5), entries)


def _repeated(seen: SeenFiles, marked: np.ndarray, file_of_entry: np.ndarray) -> list[int]:
    """Return the rows of the entries whose id one of another file, or an earlier one, has; `marked` hold all but the first."""
    ids = seen.entries["id"]
    asked = ids.take(pa.array(marked))
    is_alike = pc.and_(pc.is_in(ids, asked.combine_chunks()), pc.not_equal(ids, ""))
    rows = np.flatnonzero(is_alike.to_numpy())
    sources = seen.files["source"].take(pa.array(file_of_entry[rows])).to_pylist()
    ids_before: set[str] = set()
    repeated = []
    for _, row, identifier in sorted(zip(sources, rows.tolist(), ids.take(pa.array(rows)).to_pylist(), strict=True)):
        if identifier in ids_before:
            repeated.append(row)
        ids_before.add(identifier)
    return repeated
