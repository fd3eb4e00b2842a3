"""The tables of the page about reliability are written between their comments."""

from pathlib import Path
from typing import Any

import pytest

from tests.chaos.planted import BUGS
from tests.chaos.report import write_planted, write_runs
from tests.chaos.result import Result

PAGE = "# Page\n\n<!-- long run -->\nold\n<!-- end -->\n\n<!-- planted bugs -->\n<!-- end -->\n"


def result(seed: int, **changes: Any) -> Result:
    values: dict[str, Any] = {
        "seed": seed, "planted": "", "history": "", "seconds": 60.0, "committed": 1_000, "records": 1_010, "effects": 7,
        "letters": 3, "faults": {"kill": 2, "cut": 1}, "partner_rounds": 4, "falterings": 5, "settled": 4.2,
        "violations": {}, "told": (),
    }  # fmt: skip
    return Result(**(values | changes))


@pytest.fixture
def page(tmp_path: Path) -> Path:
    page = tmp_path / "page.md"
    page.write_text(PAGE)
    return page


def test_the_table_of_runs_adds_them_up(page: Path) -> None:
    write_runs(page, [result(1), result(2, violations={"a_rule": 3}, settled=9.8)])
    text = page.read_text()
    assert "old" not in text
    assert text.endswith("<!-- planted bugs -->\n<!-- end -->\n")
    for row in (
        "| Seeds | 2 (1 to 2) |", "| Events committed | 2,000 |", "| Faults | 6: kill 4, cut 2 |",
        "| Times that a server could not do the plainest for more than a second | 10 |",
        "| Rounds of a catch-up's second thread | 8 |", "| Violations | a_rule 3 |",
        "| Longest time from the last fault until all was at rest | 10 s |",
    ):  # fmt: skip
        assert row in text


def test_a_table_can_be_written_again(page: Path) -> None:
    write_runs(page, [result(1)])
    once = page.read_text()
    write_runs(page, [result(1)])
    assert page.read_text() == once


def test_the_table_of_planted_bugs_says_how_each_was_caught(page: Path) -> None:
    write_planted(page, {"no-lanes": 1, "id-floor": None}, {"no-lanes": ["a_rule", "another"], "id-floor": []})
    assert f"| {BUGS['no-lanes'].what} | 1 of 3 | `a_rule`, `another` |" in page.read_text()
    assert f"| {BUGS['id-floor'].what} | not |" in page.read_text()


def test_a_page_without_the_comments_is_refused(page: Path) -> None:
    page.write_text("# Page\n")
    with pytest.raises(ValueError, match="0 places for 'long run'"):
        write_runs(page, [result(1)])
