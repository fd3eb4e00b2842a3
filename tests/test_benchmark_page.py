"""The page of figures: what is in the file is in its tables and charts."""

from pathlib import Path
from xml.etree import ElementTree

from benchmarks.charts import bar_chart
from benchmarks.page import page
from tests.test_benchmarks import bench, some_result


def test_the_page_has_a_table_and_a_chart_of_each_scenario(tmp_path: Path) -> None:
    results = [some_result(), some_result(variant="4 <processes>"), some_result(scenario="latency", unit="ms")]
    text = page(results, tmp_path)
    assert "| 1 process | 40,000 events/s | 50,000 (the loop written by hand) | 0.80 (0.75–0.85) |" in text
    assert "catchup 20" in text
    assert sorted(picture.name for picture in tmp_path.iterdir()) == ["drain-events-per-s.svg", "latency-ms.svg"]
    assert f"]({tmp_path.name}/drain-events-per-s.svg)" in text
    assert "Sizes were small" in text


def test_a_chart_is_a_picture_with_a_bar_for_each_side() -> None:
    picture = ElementTree.fromstring(bar_chart([some_result(variant="4 <processes>"), some_result(product=None)]))
    texts = [element.text for element in picture.iter("{http://www.w3.org/2000/svg}text")]
    assert {"4 <processes>", "40,000", "50,000"} <= set(texts)


def test_wrong_data_is_said_on_the_page() -> None:
    assert "**(wrong data)**" in page([some_result(correct=False, ratio=None, ratio_range=None)])


def test_a_file_that_is_none_is_refused(tmp_path: Path) -> None:
    file = tmp_path / "a.json"
    file.write_text("[{}]")
    done = bench("--compare", str(file))
    assert done.returncode == 2
    assert "is no file of results" in done.stderr
