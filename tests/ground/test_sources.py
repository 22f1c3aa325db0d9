"""Files from elsewhere: refused before they are waited for, or before they take memory."""

import gzip
import os
import zipfile
from contextlib import suppress

import numpy as np
import polars as pl
import pytest
from hypothesis import given
from hypothesis import strategies as st

from dafm_core.ground import sources

READERS = (
    sources.source_bytes,
    sources.source_text,
    sources.source_json,
    sources.source_table,
    sources.source_array,
)


@pytest.mark.parametrize("read", READERS)
def test_what_is_no_file_is_refused_at_once(tmp_path, read):
    os.mkfifo(tmp_path / "pipe")
    (tmp_path / "folder").mkdir()
    (tmp_path / "dangling").symlink_to("gone")
    (tmp_path / "round").symlink_to("round")
    for name in ("pipe", "folder", "dangling", "round", "missing"):
        with pytest.raises(OSError, match=name):
            read(tmp_path / name)


@pytest.mark.parametrize("read", READERS[1:])
@given(content=st.binary(max_size=200))
def test_any_bytes_are_a_value_or_a_value_error(tmp_path_factory, read, content):
    path = tmp_path_factory.getbasetemp() / "any"
    for start in (b"", b"\x93NUMPY\x01\x00v\x00", b"PAR1", b'{"a": '):
        path.write_bytes(start + content)
        with suppress(ValueError):
            read(path)


def test_what_unpacks_to_too_much_is_refused(tmp_path, monkeypatch):
    monkeypatch.setattr(sources, "SMALL_BYTES", 2**16)
    path = tmp_path / "x.json.gz"
    for size, is_refused in ((2**16, False), (2**20, True)):
        path.write_bytes(gzip.compress(bytes(size)))
        with zipfile.ZipFile(tmp_path / "x.npz", "w", zipfile.ZIP_DEFLATED) as archive:
            archive.writestr("scores.npy", bytes(size))
            packed = sum(member.compress_size for member in archive.infolist())
            if is_refused:
                with pytest.raises(ValueError, match="unpacks to more"):
                    sources.source_bytes(path)
                with pytest.raises(ValueError, match="unpacks to"):
                    sources.check_archive(archive, packed)
            else:
                assert len(sources.source_bytes(path)) == size
                sources.check_archive(archive, packed)


def test_a_table_of_many_equal_cells_is_refused_by_its_footer(tmp_path):
    path = tmp_path / "x.parquet"
    pl.select(pl.repeat(0, 4_000_000).alias("a")).select(
        pl.col("a").alias(f"c{i}") for i in range(12)
    ).write_parquet(path)
    with pytest.raises(ValueError, match="48,000,000 cells"):
        sources.source_table(path)


def test_an_array_is_mapped_and_equal(tmp_path):
    values = np.arange(12, dtype=np.float32).reshape(3, 4)
    np.save(tmp_path / "x.npy", values)
    read = sources.source_array(tmp_path / "x.npy")
    np.testing.assert_array_equal(read, values)
    assert isinstance(read, np.memmap)


def test_an_archive_is_no_array_whatever_it_is_called(tmp_path):
    with zipfile.ZipFile(tmp_path / "x.npy", "w") as archive:
        archive.writestr("scores.npy", b"")
    with pytest.raises(ValueError, match="archive of arrays by its content"):
        sources.source_array(tmp_path / "x.npy")


def test_text_loses_its_mark_and_nothing_else(tmp_path):
    (tmp_path / "x").write_bytes(b"\xef\xbb\xbf{}\r\n")
    assert sources.source_text(tmp_path / "x") == "{}\r\n"
    assert sources.source_json(tmp_path / "x") == {}


def test_deep_json_is_a_value_error():
    with pytest.raises(ValueError, match="nested too deeply"):
        sources.parsed_json("[" * 100_000)


def test_what_polars_says_when_it_panics_stays_in_it(tmp_path, monkeypatch, capfd):
    class Panic(BaseException):
        pass

    def panics(*arguments, **settings):
        os.write(2, b"thread 'x' panicked at row_group_decode.rs\nstack backtrace: ...\n")
        raise Panic

    path = tmp_path / "x.parquet"
    pl.DataFrame({"a": [1]}).write_parquet(path)
    monkeypatch.setattr(pl, "read_parquet", panics)
    with pytest.raises(ValueError, match=r"it is damaged \(Panic\)"):
        sources.source_table(path)
    os.write(2, b"afterwards")
    assert capfd.readouterr().err == "afterwards"
