"""Files that others made: every row is read as it stands there, or refused with its line and why."""

from __future__ import annotations

import csv
import gzip
import io
import json
import tracemalloc
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from hypothesis import given
from hypothesis import strategies as st

from models.errors import ImportFileError
from models.imports import ReadLimits
from storage.imports import lines as cutting
from storage.imports.reading import read_rows
from storage.imports.rows import Refused, Row

CASE = "Ein Wörterbuch 词典 with <script>alert(1)</script>, =SUM(A1) and \u2028 inside"


def read(path: Path, **limits: Any) -> list[Row | Refused]:
    return list(read_rows(path, ReadLimits(**limits)))


def refusals(rows: list[Row | Refused]) -> list[tuple[int, str]]:
    return [(row.line, row.reason) for row in rows if isinstance(row, Refused)]


def values(rows: list[Row | Refused]) -> list[dict[str, Any]]:
    return [row.values for row in rows if isinstance(row, Row)]


def written(path: Path, data: bytes | str) -> Path:
    path.write_bytes(data if isinstance(data, bytes) else data.encode())
    return path


@pytest.mark.parametrize("encoding", ["utf-8", "utf-8-sig", "utf-16", "utf-16-be", "utf-32"])
@pytest.mark.parametrize("end", ["\n", "\r\n"])
def test_marks_and_line_ends(tmp_path: Path, encoding: str, end: str) -> None:
    text = end.join(json.dumps({"name": f"{CASE} {n}"}, ensure_ascii=False) for n in range(3)) + end
    data = text.encode(encoding)
    if encoding == "utf-16-be":
        data = b"\xfe\xff" + data
    expected = [Row(n + 1, {"name": f"{CASE} {n}"}) for n in range(3)]
    assert read(written(tmp_path / "a.jsonl", data)) == expected
    assert read(written(tmp_path / "a.jsonl.gz", gzip.compress(data))) == expected
    table = f"name,n{end}" + "".join(f'"{CASE} {n}",1{end}' for n in range(3))
    data = table.encode(encoding) if encoding != "utf-16-be" else b"\xfe\xff" + table.encode(encoding)
    assert read(written(tmp_path / "a.csv", data)) == [Row(n + 2, {"name": f"{CASE} {n}", "n": "1"}) for n in range(3)]


BROKEN = {
    "not_json": [b'{"a": 1', b"nonsense", b'{"a": 1} {"b": 2}', b'{"a": ' + b"9" * 5000 + b"}"],
    "not_an_object": [b"3", b'"text"', b"null", b'["a"]'],
    "not_finite": [b'{"a": NaN}', b'{"a": [-Infinity]}', b'{"a": 1e999}'],
    "lone_surrogate": [b'{"a": "\\ud800"}', b'{"a": [{"b": "x\\udfff"}]}', b'{"\\ud83d": 1}'],
    "not_utf8": [b'{"a": "\xff"}', b'{"a": "\xed\xa0\x80"}', "{'a': 'ü'}".encode("latin-1")],
    "duplicate_key": [b'{"a": 1, "a": 2}', b'{"b": {"a": 1, "a": 1}}'],
    "nul": [b'{"a": "\\u0000"}'],
    "too_deep": [b'{"a": ' + b"[" * 100_000 + b"]" * 100_000 + b"}"],
    "field_too_long": [b'{"a": "' + b"x" * 2_000_000 + b'"}'],
}


@pytest.mark.parametrize("reason", BROKEN)
def test_a_broken_line_costs_itself_only(tmp_path: Path, reason: str) -> None:
    good = b'{"a": "\\ud83d\\ude00"}\n'
    bad = BROKEN[reason]
    rows = read(written(tmp_path / "a.jsonl", good + good.join(line + b"\n" for line in bad) + b"\n" + good))
    assert values(rows) == [{"a": "😀"}] * (len(bad) + 1)
    assert refusals(rows) == [(2 * n + 2, reason) for n in range(len(bad))]
    for row in rows:
        assert isinstance(row, Row) or (
            row.what and row.excerpt and row.excerpt.isprintable() and len(row.excerpt) < 130
        )


def test_the_field_is_named(tmp_path: Path) -> None:
    [row] = read(written(tmp_path / "a.jsonl", b'{"name": "a", "text": "\\udc00"}'))
    assert isinstance(row, Refused)
    assert (row.line, row.reason, row.field) == (1, "lone_surrogate", "text")


def test_lone_surrogates_in_utf16(tmp_path: Path) -> None:
    text = '{"a": "\ud800"}\n{"a": "😀"}\n{"a": "\udc00x"}\n{"a": 1}\n'
    data = b"\xff\xfe" + text.encode("utf-16-le", "surrogatepass")
    rows = read(written(tmp_path / "a.jsonl", data))
    assert values(rows) == [{"a": "😀"}, {"a": 1}]
    assert refusals(rows) == [(1, "not_utf8"), (3, "not_utf8")]
    # half a character at the end
    assert refusals(read(written(tmp_path / "b.jsonl", data + b"{"))) == [
        (1, "not_utf8"), (3, "not_utf8"), (5, "not_utf8")
    ]  # fmt: skip


def test_a_line_of_50_mb_is_never_in_memory(tmp_path: Path) -> None:
    path = tmp_path / "a.jsonl"
    with path.open("wb") as file:
        file.write(b'{"a": 1}\n{"a": "')
        for _ in range(50):
            file.write(b"x" * (1 << 20))
        file.write(b'"}\n{"a": 2}\n')
    list(read_rows(path))  # what the first call imports is not counted
    tracemalloc.start()
    rows = list(read_rows(path))
    _, peak = tracemalloc.get_traced_memory()
    tracemalloc.stop()
    assert values(rows) == [{"a": 1}, {"a": 2}]
    assert refusals(rows) == [(2, "too_long")]
    assert peak < 36 << 20, "the limit of a line is 16 MB, and it is held twice at most"
    # as an element of a list and as a row of CSV too
    text = path.read_bytes().strip().replace(b"\n", b",\n")
    assert refusals(read(written(tmp_path / "a.json", b"[" + text + b"]"))) == [(2, "too_long")]
    rows = read(written(tmp_path / "a.csv", b"a,b\n1,2\n" + b"x" * (50 << 20) + b",2\n3,4\n"))
    assert (values(rows), refusals(rows)) == ([{"a": "1", "b": "2"}, {"a": "3", "b": "4"}], [(3, "too_long")])


def test_zip_bombs_are_refused(tmp_path: Path) -> None:
    bomb = io.BytesIO()
    with gzip.GzipFile(fileobj=bomb, mode="wb") as file:
        file.write(b'{"a": "')
        for _ in range(200):
            file.write(b"x" * (1 << 20))
    path = written(tmp_path / "a.jsonl.gz", bomb.getvalue())
    with pytest.raises(ImportFileError, match="unpacks to more than 200 times its size"):
        read(path)
    assert refusals(read(path, max_ratio=2000)) == [(1, "too_long")]
    with pytest.raises(ImportFileError, match="more than 1,000,000 bytes"):
        read(path, max_ratio=2000, max_unpacked_bytes=1_000_000)
    same = pa.table({"a": ["x" * 200_000] * 2000})
    pq.write_table(same, tmp_path / "a.parquet", use_dictionary=False, compression="zstd")
    with pytest.raises(ImportFileError, match="200 times"):
        read(tmp_path / "a.parquet")
    for name, start in (("zip", b"PK\x03\x04"), ("bzip2", b"BZh9"), ("zstd", b"\x28\xb5\x2f\xfd")):
        with pytest.raises(ImportFileError, match=name):
            read(written(tmp_path / "a.jsonl", start + b"rest"))


def test_files_that_are_cut_off(tmp_path: Path) -> None:
    good = b"".join(b'{"a": "%032x"}\n' % (n * 7919**9) for n in range(20_000))
    packed = gzip.compress(good)
    rows = read(written(tmp_path / "a.jsonl.gz", packed[: len(packed) // 2]))
    [(line, reason)] = refusals(rows)
    assert reason == "cut_off" and line == len(rows) and 1000 < line < 20_000
    damaged = packed[: len(packed) // 2] + bytes(100) + packed[len(packed) // 2 + 100 :]
    assert refusals(read(written(tmp_path / "b.jsonl.gz", damaged)))[0][1] in ("cut_off", "not_json")
    assert refusals(read(written(tmp_path / "c.jsonl", good[:-10]))) == [(20_000, "not_json")]
    pq.write_table(pa.table({"a": ["x"] * 1000}), tmp_path / "a.parquet")
    whole = (tmp_path / "a.parquet").read_bytes()
    with pytest.raises(ImportFileError, match="cannot be read as Parquet"):
        read(written(tmp_path / "b.parquet", whole[:-20]))


def test_lists(tmp_path: Path) -> None:
    text = '\n [{"a": "],[{"},\n\n  {"a": "\\\\\\"}"}, {"a": NaN}, 7,\n{"a": {"b": [1, {}]}}\n,{"a": 1}]\n'
    rows = read(written(tmp_path / "a.json", text))
    assert [(row.line, row.values) for row in rows if isinstance(row, Row)] == [
        (2, {"a": "],[{"}),
        (4, {"a": '\\"}'}),
        (5, {"a": {"b": [1, {}]}}),
        (6, {"a": 1}),
    ]
    assert refusals(rows) == [(4, "not_finite"), (4, "not_an_object")]
    assert refusals(read(written(tmp_path / "b.json", '[{"a": 1},\n{"a": [1}, {"a": 2}'))) == [(2, "cut_off")]
    assert refusals(read(written(tmp_path / "c.json", '[{"a": 1}]\n[{"a": 1}]'))) == [(1, "not_json")]
    assert read(written(tmp_path / "d.json", " [ ] ")) == []
    for text in ('{"a": "b",\n "c": 1}', '{"a": [\n  1\n]}', '{ "a": {\n "b": 1}}'):
        with pytest.raises(ImportFileError, match="one JSON object over several lines"):
            read(written(tmp_path / "object.json", text))
    # a line that is cut off is no such object
    assert read(written(tmp_path / "cut.jsonl", '{"a": 1,\n{"a": 2}\n'))[1:] == [Row(2, {"a": 2})]
    with pytest.raises(ImportFileError, match="one JSON object over several lines"):
        read(written(tmp_path / "e.json", '{\n"rows": []}'))


anything = st.recursive(
    st.none() | st.booleans() | st.integers() | st.text(st.characters(codec="utf-8", exclude_characters="\0")),
    lambda inner: st.lists(inner) | st.dictionaries(st.text(max_size=3), inner),
    max_leaves=6,
)


@given(rows=st.lists(st.dictionaries(st.sampled_from('ab"[\\'), anything)), indent=st.none() | st.integers(0, 2))
def test_a_list_is_cut_where_json_says(rows: list[dict[str, Any]], indent: int | None) -> None:
    stream = io.BytesIO(json.dumps(rows, indent=indent, ensure_ascii=False).encode())
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(cutting, "_CHUNK", 3)  # so that everything is cut somewhere
        found = list(cutting.split_list(stream, 10_000))
    assert [json.loads(line.data) for line in found if isinstance(line, cutting.Line)] == rows


cells = st.lists(st.text(st.characters(codec="utf-8", exclude_characters="\0\r")), min_size=2, max_size=2)


@given(rows=st.lists(cells.filter(any)))
def test_csv_is_read_as_it_was_written(rows: list[list[str]], tmp_path_factory: pytest.TempPathFactory) -> None:
    text = io.StringIO()
    csv.writer(text).writerows([["a", "b"], *rows])
    path = written(tmp_path_factory.mktemp("csv") / "a.csv", text.getvalue())
    assert [list(row.values()) for row in values(read(path))] == rows


def test_csv(tmp_path: Path) -> None:
    text = 'id,text\n1,"two\r\nlines, one ""quote"""\n2,=cmd()\n\n3,a,b\n4,"no end\n5,x\n6,"a"b\n7,y\n8\n9,z\n'
    rows = read(written(tmp_path / "a.csv", text))
    assert [(row.line, *row.values.values()) for row in rows if isinstance(row, Row)] == [
        (2, "1", 'two\nlines, one "quote"'),
        (4, "2", "=cmd()"),
        (8, "5", "x"),
        (10, "7", "y"),
        (12, "9", "z"),
    ]
    assert refusals(rows) == [(6, "wrong_columns"), (7, "not_csv"), (9, "not_csv"), (11, "wrong_columns")]
    assert values(read(written(tmp_path / "a.tsv", "id\ttext\n1\ta,b\n"))) == [{"id": "1", "text": "a,b"}]
    assert values(read(written(tmp_path / "b.csv", "id;text\n1;a,b\n"))) == [{"id": "1", "text": "a,b"}]
    assert values(read(written(tmp_path / "tabs.csv", "id\ttext\n1\ta,b\n"))) == [{"id": "1", "text": "a,b"}]
    rows = read(written(tmp_path / "c.csv", b"id,text\n1,\xff\n2,a\0b\n3,ok\n"))
    assert (values(rows), refusals(rows)) == ([{"id": "3", "text": "ok"}], [(2, "not_utf8"), (3, "nul")])
    for header in ("a,a\n", "a\x1b,b\n"):
        with pytest.raises(ImportFileError, match="does not name the columns"):
            read(written(tmp_path / "d.csv", header + "1,2\n"))


def test_parquet(tmp_path: Path) -> None:
    invalid = pa.Array.from_buffers(
        pa.utf8(), 1, [None, pa.array([0, 1], pa.int32()).buffers()[1], pa.py_buffer(b"\xff")]
    )
    texts = pa.chunked_array([pa.array([CASE] * 70), invalid, pa.array(["a\0b", "good"])])
    pq.write_table(pa.table({"text": texts, "n": [0.5] * 72 + [float("nan")]}), tmp_path / "a.parquet")
    rows = read(tmp_path / "a.parquet")
    assert values(rows) == [{"text": CASE, "n": 0.5}] * 70
    assert refusals(rows) == [(71, "not_utf8"), (72, "nul"), (73, "not_finite")]


def test_a_long_text_that_stands_once_and_is_in_every_row(tmp_path: Path) -> None:
    long = "".join(map(str, range(2_000_000)))
    once = pa.DictionaryArray.from_arrays(pa.array([0] * 500 + [1, None], pa.int32()), [long, "short"])
    pq.write_table(pa.table({"text": once}), tmp_path / "a.parquet", dictionary_pagesize_limit=1 << 30)
    before = pa.total_allocated_bytes()
    rows = []
    for row in read_rows(tmp_path / "a.parquet"):
        rows.append(row)
        assert pa.total_allocated_bytes() - before < 10 * len(long)
    assert [reason for _, reason in refusals(rows)] == ["field_too_long"] * 500
    assert values(rows) == [{"text": "short"}, {"text": None}]


def test_files_that_cannot_be_read(tmp_path: Path) -> None:
    with pytest.raises(ImportFileError, match="No such file"):
        read(tmp_path / "none.jsonl")
    for folder in (tmp_path, tmp_path / "dataset.parquet"):
        folder.mkdir(exist_ok=True)
        with pytest.raises(ImportFileError, match=r"is a folder.*one of the files in it"):
            read(folder)
    pq.write_table(pa.table({"a": ["b"]}), tmp_path / "no_suffix")
    with pytest.raises(ImportFileError, match=r"is Parquet; give it a name that ends in \.parquet"):
        read(tmp_path / "no_suffix")
    with pytest.raises(ImportFileError, match="without a byte-order mark"):
        read(written(tmp_path / "a.jsonl", '{"a": 1}'.encode("utf-16-le")))
    assert read(written(tmp_path / "empty.jsonl", b"")) == []
    assert read(written(tmp_path / "empty.csv", b"")) == []
