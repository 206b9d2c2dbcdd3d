"""Pages show what committed files hold: markers are rewritten, and whatever is stale is found."""

import json
from pathlib import Path

import pytest

from eat.results.command import TableSettings, make_tables
from eat.results.markers import find
from eat.results.pages import check, check_manifests, rewrite, unmarked

ROOT = Path(__file__).parents[2]
CSV = "kind,threshold,value,speedup,speedup_low,speedup_high\na,0.9,0.87844,2,1.5,2.5\nb,,0.5,4,,\n"
INLINE = "It reaches <!-- eat:value source=r/x.csv kind=a digits=3 -->?<!-- /eat --> today.\n"
TABLE = """<!-- eat:table
corner: run
columns: [{title: accuracy, column: value}, {title: faster, column: speedup, show: speedup, digits: 1}]
lines:
- {label: "[ours](x.md), tau 0.9", source: r/x.csv, where: {kind: a}}
- {label: both, source: r/x.csv, each: [{where: {kind: a}}, {where: {kind: b}}], cells: {faster: null}}
-->
<!-- /eat -->
"""


@pytest.fixture
def page(tmp_path: Path) -> Path:
    (tmp_path / "r").mkdir()
    (tmp_path / "r" / "x.csv").write_text(CSV)
    path = tmp_path / "README.md"
    path.write_text(f"# Page\n\n{INLINE}\n{TABLE}\nEnd. `<!-- eat:value -->` is code.\n")
    return path


@pytest.mark.skipif(not (ROOT / "results").is_dir(), reason="the committed results are not here")
def test_the_committed_pages_are_not_stale() -> None:
    pages = [ROOT / "README.md", *sorted((ROOT / "docs").glob("*.md"))]
    assert [fault for page in pages for fault in check(page, ROOT)] == []
    assert check_manifests(ROOT / "results") == []


def test_markers_are_filled_once(page: Path) -> None:
    assert rewrite(page, page.parent)
    text = page.read_text()
    assert "sha256=" in text
    assert "-->0.878<!-- /eat --> today." in text
    assert "| [ours](x.md), tau 0.9 |          0.8784 | 2.0x [1.5, 2.5] |" in text
    assert "| both                  | 0.8784 / 0.5000 |                 |" in text
    assert "`<!-- eat:value -->` is code." in text
    assert not rewrite(page, page.parent)
    assert check(page, page.parent) == []


def test_what_is_stale_is_found(page: Path) -> None:
    root = page.parent
    rewrite(page, root)
    fresh = page.read_text()
    page.write_text(fresh.replace(">0.878<", ">0.879<"))
    (fault,) = check(page, root)
    assert fault == "README.md:3: eat:value: another text than its source has; run `make tables`"
    page.write_text(fresh)
    (root / "r" / "x.csv").write_text(CSV + "\n")
    assert all("r/x.csv changed; run `make tables`" in fault for fault in check(page, root))
    (root / "r" / "x.csv").write_text(CSV)
    (root / "r" / "superseded.json").write_text(json.dumps({"by": "s"}))
    assert all("r is superseded by s" in fault for fault in check(page, root))
    assert len(check(page, root)) == 2
    with pytest.raises(ValueError, match=r"README.md: line 3: r is superseded by s"):
        rewrite(page, root)


def test_results_outside_markers_are_found() -> None:
    table = "| a 0.1 | b 5 % |\n| --- | --- |\n| tau 0.9 | {} |\n"
    assert [cell for _, cell in unmarked(table.format("0.93"))] == ["0.93"]
    assert [line for line, _ in unmarked(table.format("2x"))] == [3]
    assert [cell for _, cell in unmarked(table.format("3 %"))] == ["3 %"]
    for harmless in ("7", "`0.93`", "[x](a/0.93.md)", "", "<!-- 0.9 -->"):
        assert list(unmarked(table.format(harmless))) == []
    assert list(unmarked("```\n" + table.format("0.93") + "```\n")) == []
    assert list(unmarked(f"<!-- eat:table sha256=1 -->\n\n{table.format('0.93')}\n<!-- /eat -->")) == []
    assert list(unmarked(table.format("<!-- eat:value source=x -->0.93<!-- /eat -->"))) == []


REFUSED = [
    ("<!-- eat:valeu source=r/x.csv -->1<!-- /eat -->", r"eat:valeu: expected one of .*did you mean 'value'"),
    ("<!-- eat:value -->1<!-- /eat -->", "eat:value: 'source' is missing"),
    ("<!-- eat:value source=r/none.csv -->1<!-- /eat -->", "none.csv"),
    ("<!-- eat:value source=r/x.csv column=vaule -->1<!-- /eat -->", "no column 'vaule'"),
    ("<!-- eat:value source=r/x.csv -->1<!-- /eat -->", "expected one value where {}, got 2 values"),
    ("<!-- eat:value source=r/x.csv kind=c -->1<!-- /eat -->", "got no row"),
    ("<!-- eat:value source=r/x.csv kind=a show=big -->1<!-- /eat -->", "show: expected one of"),
    ("<!-- eat:value source=r/x.csv kind=a -->1", "a marker stands alone"),
    ("1<!-- /eat -->", "a marker stands alone"),
    ("<!-- eat:value source -->1<!-- /eat -->", "a marker cannot be read"),
    ("<!-- eat:table\n- 1\n-->1<!-- /eat -->", "expected key: value"),
    ("<!-- eat:found source=r/x.csv pattern='a,(.' -->1<!-- /eat -->", "pattern: expected a regular expression"),
    (
        "<!-- eat:found source=r/x.csv pattern='^(.),' -->1<!-- /eat -->",
        "pattern: expected one match in .*, got 2",
    ),
]


@pytest.mark.parametrize(("marker", "reason"), REFUSED)
def test_what_does_not_fit_is_refused_by_line(page: Path, marker: str, reason: str) -> None:
    page.write_text(f"# Page\n\n{marker}\n")
    with pytest.raises((ValueError, OSError), match=reason):
        rewrite(page, page.parent)
    (fault,) = check(page, page.parent)
    assert fault.startswith("README.md:")
    assert "\n" not in fault


def test_numbers_are_found_by_any_way_to_write_their_row(page: Path) -> None:
    (page.parent / "r" / "x.json").write_text(json.dumps({"a": {"b": 2.5}}))
    (page.parent / "r" / "x.md").write_text("depth 3.456 of 6\n")
    page.write_text(
        "<!-- eat:value source=r/x.json column=a.b digits=1 -->?<!-- /eat --> "
        "<!-- eat:value source=r/x.csv threshold=0.90 digits=2 -->?<!-- /eat --> "
        "<!-- eat:found source=r/x.md pattern='depth (\\S+)' digits=2 -->?<!-- /eat --> "
        "<!-- eat:value source=r/x.csv kind=b column=speedup show=ratio digits=1 -->?<!-- /eat -->"
    )
    rewrite(page, page.parent)
    assert [marker.body for marker in find(page.read_text())] == ["2.5", "0.88", "3.46", "4.0x"]


def test_the_command_checks_and_makes_anew(page: Path) -> None:
    settings = {"folder": "r", "pages": ["*.md"]}
    with pytest.raises(ValueError, match="check: 2 parts of tables and pages are stale"):
        make_tables(TableSettings(check=True, **settings), page.parent)
    assert make_tables(TableSettings(**settings), page.parent) == [page]
    assert make_tables(TableSettings(check=True, **settings), page.parent) == []


def test_where_there_is_nothing_to_tabulate_is_said(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    with pytest.raises(FileNotFoundError, match=r"folder: expected a folder of finished runs, .*nowhere is not there"):
        make_tables(TableSettings(folder="nowhere"), tmp_path)
    (tmp_path / "runs" / "sst2").mkdir(parents=True)
    assert make_tables(TableSettings(folder="runs"), tmp_path) == []
    assert "no run of ablation or systems in" in caplog.text and "suite=null" in caplog.text


def test_an_ablation_is_shown_by_its_section(page: Path) -> None:
    tables = "## one\n\n- fact\n\n| experiment |\n\n## two\n\n| experiment | 2\n\nValue: mean"
    text = f"# Ablation: t\n\n{tables}\n\n## Published figures\n\nx\n"
    (page.parent / "r" / "ablation.md").write_text(text)
    page.write_text("<!-- eat:ablation source=r/ablation.md section=two --><!-- /eat -->")
    rewrite(page, page.parent)
    assert page.read_text().endswith("-->\n\n**two**\n\n| experiment | 2\n\n<!-- /eat -->")
    page.write_text("<!-- eat:ablation source=r/ablation.md --><!-- /eat -->")
    rewrite(page, page.parent)
    assert "**one**\n\n- fact" in page.read_text()
    assert "Published" not in page.read_text()


BAD = [
    ({"within": -1}, "within: expected a number of 0 or more, got -1"),
    ({"pages": "README.md"}, "pages: expected a list"),
    ({"pages": ["/etc/x.md"]}, "pages: expected files within this folder"),
    ({"tasks": 3}, "tasks: expected a list"),
    ({"suite": ""}, "suite: expected the name of experiments"),
    ({"suite": ["ablation", 3]}, "suite: expected the name of experiments, got 3"),
    ({"suite": 3}, "suite: expected a list"),
    ({"baseline": None}, "baseline: expected the name of experiments, got None"),
    ({"check": 1}, "check: expected true or false"),
    ({"folder": " "}, "folder: expected a folder"),
]


@pytest.mark.parametrize(("options", "message"), BAD)
def test_settings_are_refused_by_name(options: dict, message: str) -> None:
    settings = object.__new__(TableSettings)  # as its own constructor would check types before values
    for name, value in (vars(TableSettings()) | options).items():
        object.__setattr__(settings, name, value)
    with pytest.raises(ValueError, match=message):
        settings.__post_init__()
