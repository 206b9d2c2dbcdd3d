"""Rows come back as they were written; what is damaged says so."""

import pytest

from eat.suite.records import TABLE, is_current, read_part

ROW = {"part": "serving", "threads": 1, "speedup": 1.0, "code": "0123", "settings": "77777777", "commit": None}


def test_rows_come_back(tmp_path):
    TABLE.write(tmp_path / "x.csv", [ROW])
    (row,) = read_part(tmp_path / "x.csv")
    assert {key: row[key] for key in ROW} == ROW  # digests stay text though they look like numbers
    assert row["peak_mib"] is None
    assert (type(row["threads"]), type(row["speedup"])) == (int, float)


def test_no_file_is_no_rows(tmp_path):
    assert read_part(tmp_path / "x.csv") == []


def test_other_columns_are_refused(tmp_path):
    (tmp_path / "x.csv").write_text("a,b\n1,2\n")
    with pytest.raises(ValueError, match=r"x\.csv: expected the columns .* got \['a', 'b'\]; measure it anew"):
        read_part(tmp_path / "x.csv")


def test_a_column_that_is_none_is_refused_and_the_old_file_stays(tmp_path):
    TABLE.write(tmp_path / "x.csv", [ROW])
    before = (tmp_path / "x.csv").read_bytes()
    with pytest.raises(ValueError, match="speed"):
        TABLE.write(tmp_path / "x.csv", [{"speed": 1}])
    assert (tmp_path / "x.csv").read_bytes() == before


def test_measurements_go_stale_with_code_and_settings():
    assert is_current([ROW], "0123", "77777777")
    assert not is_current([ROW], "other", "77777777")
    assert not is_current([ROW], "0123", "other")
    assert not is_current([], "0123", "77777777")
