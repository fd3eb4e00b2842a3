"""The page of figures: what is in the file is in its tables and charts."""

from pathlib import Path
from xml.etree import ElementTree

import pytest

from benchmarks import result
from benchmarks.charts import bar_chart
from benchmarks.page import CHARTS, figures, main
from tests.test_benchmarks import bench, some_result


def test_the_page_has_a_table_and_a_chart_of_each_scenario(tmp_path: Path) -> None:
    results = [some_result(), some_result(variant="4 <processes>"), some_result(scenario="latency", unit="ms")]
    text = figures(results, tmp_path)
    assert "| 1 process | 40,000 events/s | 50,000 (the loop written by hand) | 0.80 (0.75–0.85) |" in text
    assert "| catchup 20 | 70 (68) |" in text
    pictures = sorted(picture.name for picture in (tmp_path / CHARTS).iterdir())
    assert pictures == ["drain-events-per-s.svg", "latency-ms.svg"]
    assert f"]({CHARTS}/drain-events-per-s.svg)" in text
    assert "Sizes were small" in text
    assert "PostgreSQL 17.2, django " in text and "where the data lie: PostgreSQL ext4 at /;" in text


def test_the_page_has_what_has_no_column(tmp_path: Path) -> None:
    beside = {
        "notes": {"product": {"commits per second": 466.0}, "handwritten": {"commits per second": 995.0}},
        "remarks": ["product: only 466 a second instead of 1,000"],
    }
    results = [some_result(), *(some_result(variant=f"1,000/s {name}", **beside) for name in ("p50", "p99"))]
    lines = [line for line in figures(results, tmp_path).splitlines() if line.startswith("- ")]
    assert lines == [
        "- 1,000/s p50 and 1,000/s p99: product commits per second 466; yard-stick commits per second 995; "
        "product: only 466 a second instead of 1,000"
    ]


def test_a_chart_is_a_picture_with_a_bar_for_each_side() -> None:
    picture = ElementTree.fromstring(bar_chart([some_result(variant="4 <processes>"), some_result(product=None)]))
    texts = [element.text for element in picture.iter("{http://www.w3.org/2000/svg}text")]
    assert {"4 <processes>", "40,000", "50,000"} <= set(texts)


def test_a_file_that_is_none_is_refused(tmp_path: Path) -> None:
    file = tmp_path / "a.json"
    file.write_text("[{}]")
    done = bench("--compare", str(file))
    assert done.returncode == 2
    assert "is no file of results" in done.stderr


def test_a_page_gets_the_figures_of_a_file_and_charts_beside_it(tmp_path: Path) -> None:
    file, written = tmp_path / "results.json", tmp_path / "performance.md"
    result.save([some_result(), some_result(variant="2 processes", correct=False)], file)
    written.write_text("Before.\n<!-- figures -->\nOld.\n<!-- end -->\nAfter.\n")
    main([str(file), str(written)])
    text = written.read_text()
    assert text.startswith("Before.\n") and text.endswith("\nAfter.\n") and "Old." not in text
    assert "| 1 process | 40,000 events/s | 50,000 (the loop written by hand) | 0.80 (0.75–0.85) |" in text
    assert "2 processes **(wrong data)**" in text
    assert "![drain in events/s](images/performance/drain-events-per-s.svg)" in text
    assert "2 processes" in (tmp_path / "images/performance/drain-events-per-s.svg").read_text()


def test_what_a_file_has_nothing_of_keeps_its_figures(tmp_path: Path) -> None:
    before = figures([some_result(), some_result(scenario="latency", unit="ms", product=1.0)], tmp_path)
    text = figures([some_result(scenario="latency", unit="ms", product=2.0)], tmp_path, before)
    drain, latency = text.split("### ")[1:]
    assert f"### {drain.strip()}" in before
    assert "| 2 ms |" in latency and "| 1 ms |" not in text
    assert drain.count("Measured") == latency.count("Measured") == 1


def test_a_page_without_place_for_figures_is_refused(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    file, written = tmp_path / "results.json", tmp_path / "performance.md"
    result.save([some_result()], file)
    written.write_text("Nothing.\n")
    with pytest.raises(SystemExit):
        main([str(file), str(written)])
    assert "has 0 places for 'figures', not one" in capsys.readouterr().err
