"""Reading the files that changed; the entries of all others are remembered from the last run.

A worker reads a group of files into runs (`shard_runs`) and lists beside them what it read. The
texts of unchanged files are in the shards as they were; only where a shard is lost are its files
read again.
"""

import time
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from privllm.collect.documents import CollectedDocument, source_of
from privllm.collect.dvc_content import with_digests
from privllm.collect.file_index import KNOWN, recall, save, unsigned
from privllm.collect.read_file import FileReading, Remembered, RememberedParts
from privllm.collect.read_jobs import GROUP_BYTES, GROUP_BYTES_A_SHARD, ReadJobs, ReadSettings, groups
from privllm.collect.reader_versions import NO_VERSION, Versions
from privllm.collect.seen_files import ENTRIES, FILES, Entry, SeenFiles, entry_of
from privllm.collect.shard_runs import RunWriter, read_batch, table_of, write_run
from privllm.collect.slow_files import ReadTimes
from privllm.collect.source_file import ReadOptions, SourceFile
from privllm.engine.digests import md5_of, status_of
from privllm.engine.executor import Executor
from privllm.engine.extensions import Extensions
from privllm.engine.source_guard import content_named_in

# and the number of its entries, the versions of its readers, and the entries that are remembered though it was opened
READ_FILES = pa.schema([*KNOWN, *list(FILES)[2:], ("taken_over", pa.int64())])


class IncrementalReader:
    """Reads the files that are new or changed since the last run."""

    def __init__(
        self,
        settings: ReadSettings,
        scratch: Path,
        executor: Executor,
        note: Path | None,
        index: Path | None,
        verify: bool,
    ) -> None:
        """`note` and `index` remember the last run; with `verify` every file is opened."""
        self.settings, self.scratch, self.execute = settings, scratch, executor
        self.note, self.index, self.verify = note, index, verify
        self.previous_shards: list[tuple[str, int]] = []  # MD5 and bytes, of the last run
        self.files = READ_FILES.empty_table()  # in the order of the files that `read` returns
        self.unread = KNOWN.empty_table()
        self.unopened = 0  # number of `files`, from the first on, whose entries were remembered
        self.runs: list[Path] = []

    def read(self, files: pa.Table) -> SeenFiles:
        """Return the entries of all `files` (file_index.FILES), remembered or read now."""
        md5, remembered, containers = self._remembered(files)
        pa.default_memory_pool().release_unused()
        self.unopened = len(remembered.files)
        is_known = pc.not_equal(md5, "")
        opened_files, opened_entries = self._read_now(files.filter(pc.invert(is_known)), containers)
        unchanged = files.filter(is_known)
        for name in FILES.names[1:]:
            unchanged = unchanged.append_column(name, remembered.files[name])
        unchanged = unchanged.append_column("taken_over", pa.repeat(0, len(unchanged)))
        self.files = pa.concat_tables([unchanged.cast(READ_FILES), opened_files])
        entries = pa.concat_tables([remembered.entries, opened_entries])
        return SeenFiles.of(self.files.select(FILES.names), entries)

    def _remembered(self, files: pa.Table) -> tuple[pa.ChunkedArray, SeenFiles, SeenFiles]:
        """Return the MD5 of each file, "" if it has to be read, the entries of the others, and former ones of those.

        The former entries are of containers, whose parts may be unchanged.
        """
        last = SeenFiles.load(self.note) if self.note else SeenFiles.empty()
        self.previous_shards = last.shards
        md5 = pa.repeat("", len(files))
        if self.index and not self.verify:
            md5 = recall(self.index, files)
        rows = pc.index_in(files["source"], last.files["source"])
        is_current = self._is_current(last.files["readers"])
        has_equal_bytes = pc.equal(last.files["md5"].take(rows), md5)
        may_be_taken = pc.fill_null(pc.and_(has_equal_bytes, is_current.take(rows)), False)
        md5 = pc.if_else(may_be_taken, md5, "")
        is_known = pc.not_equal(md5, "")
        former_rows = rows.filter(pc.and_(pc.invert(is_known), pc.is_valid(rows)))
        holds_many = pc.greater(last.files["rows"].take(former_rows), 1)
        containers = SeenFiles.empty() if self.verify else last.take(former_rows.filter(holds_many).to_numpy())
        return md5, last.take(rows.filter(is_known).to_numpy()), containers

    def _is_current(self, readers: pa.ChunkedArray) -> pa.Array:
        """Return for each file whether all of its readers have the versions with which it was read."""
        now = {NO_VERSION, *self.settings.versions.values()}
        kinds = readers.combine_chunks().dictionary_encode()
        is_current = [now.issuperset(versions.split(" ")) for versions in kinds.dictionary.to_pylist()]
        return pa.array(is_current, pa.bool_()).take(kinds.indices)

    def hash_only(self, files: pa.Table) -> None:
        """Compute the MD5 of `files` (file_index.FILES) that DVC hashes and nobody reads."""
        self.unread = with_digests(self.settings.sources, files, None if self.verify else self.index)

    def hashed_files(self) -> pa.Table:
        """Return all files (KNOWN) whose content is known, read or not."""
        files = pa.concat_tables([self.files.select(KNOWN.names), self.unread])
        return files.filter(pc.not_equal(files["md5"], ""))

    def _read_now(self, files: pa.Table, containers: SeenFiles) -> tuple[pa.Table, pa.Table]:
        """Read `files` (file_index.FILES) into runs; return their READ_FILES and ENTRIES.

        containers: those of them whose unchanged parts are taken over.
        """
        job_count = len(list(self.scratch.glob("*.entries")))  # of earlier calls
        group_bytes = max(GROUP_BYTES, GROUP_BYTES_A_SHARD << self.settings.shard_bits)
        file_groups = groups(files["bytes"].to_pylist(), group_bytes)
        stems = [self.scratch / f"{job_count + i:06d}" for i in range(len(file_groups))]
        jobs = ReadJobs(stems, self.settings, files["source"], file_groups, containers)
        self.execute(read_group, jobs, "collect")
        self.runs = sorted(self.scratch.glob("*.documents"))
        return _concatenated(stems, "files", READ_FILES), _concatenated(stems, "entries", ENTRIES)

    def read_again(self, rows: np.ndarray) -> None:
        """Read the files in some `rows` of `files` into runs, unless all of their texts have been read."""
        taken_over = self.files["taken_over"].to_numpy()
        missing = self.files.take(pa.array(rows[(rows < self.unopened) | (taken_over[rows] > 0)]))
        if len(missing):
            self._read_now(missing, SeenFiles.empty())

    def remember(self, seen: SeenFiles) -> None:
        """Save the state of the sources for the next run."""
        if self.index:
            save(self.index, self.hashed_files(), content_named_in(Path(f"{self.settings.sources}.dvc")))
        if self.note:
            seen.save(self.note)


def _concatenated(stems: list[Path], kind: str, schema: pa.Schema) -> pa.Table:
    """Return the tables `<stem>.<kind>` one after the other."""
    tables = [read_batch(stem.with_name(f"{stem.name}.{kind}"), 0) for stem in stems]
    return pa.concat_tables([schema.empty_table(), *tables])


def read_group(
    stem: Path,
    sources: Path,
    max_bytes: int,
    shard_bits: int,
    extensions: Extensions,
    options: ReadOptions,
    versions: Versions,
    containers: SeenFiles,
    *files: Path,
) -> None:
    """Read `files` into runs, `<stem>.entries` (ENTRIES) and `<stem>.files` (READ_FILES).

    The MD5 of a file is "" where it could not be read or was changed meanwhile. `versions` are those of
    the readers, `containers` the former entries of some of the files.
    """
    runs = RunWriter(stem, shard_bits)
    former_entries = containers.entries_by_file()
    entries: list[Entry] = []
    read_files: list[tuple[object, ...]] = []
    times = ReadTimes()
    for path in files:
        begun = time.perf_counter()
        entries_before = len(entries)
        try:
            status, md5 = status_of(path), md5_of(path)
        except OSError:
            status, md5 = (0, 0, 0, 0), ""
        source, taken_over = source_of(path, sources), 0
        remembered = RememberedParts(former_entries.get(source, ()), {NO_VERSION, *versions.values()})
        reading = FileReading(max_bytes, extensions, remembered, versions)
        for row, origin in reading.rows(SourceFile.at(path, sources, options)):
            if isinstance(row, Remembered):
                entries += row.entries
                taken_over += len(row.entries)
                continue
            entries.append(entry_of(row, *origin))
            if isinstance(row, CollectedDocument):
                runs.add(row)
        if md5 and status_of(path) != status:
            md5 = ""
        readers = " ".join(sorted(reading.readers - {NO_VERSION}))
        read_files.append((source, *unsigned(status), md5, len(entries) - entries_before, readers, taken_over))
        times.note(source, time.perf_counter() - begun)
    runs.flush()
    times.write(stem)
    write_run([table_of(read_files, READ_FILES)], stem.with_name(f"{stem.name}.files"))
    write_run([table_of(entries, ENTRIES)], stem.with_name(f"{stem.name}.entries"))
