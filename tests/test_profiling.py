"""A flame graph's samples count for the innermost line of ours."""

import shutil
import subprocess
import sys
import textwrap
from pathlib import Path

import pytest

from benchmarks.dearest import ELSEWHERE, samples_by_line, table
from benchmarks.profiling import profiled

FRAMES = [
    (36, 0, 100, "all"),
    (52, 0, 70, "run (django_events/relay.py:10)"),
    (52, 70, 30, "run (threading.py:982)"),
    (68, 0, 40, "execute (django/db/models/sql/compiler.py:1562)"),
    (68, 40, 20, "send (django_events/producing/courier.py:145)"),
    (84, 0, 40, "execute (psycopg/cursor.py:97)"),
    (84, 40, 5, "encode (msgspec/json.py:3)"),
]
"""Row, begin, samples and name of each frame."""


def test_a_sample_counts_for_the_innermost_line_of_ours(tmp_path: Path) -> None:
    picture = tmp_path / "picture.svg"
    drawn = "".join(
        f"<g><title>{name} ({samples:,} samples, {samples:.2f}%)</title>"
        f'<rect x="{begin}%" y="{row}" width="{samples}%" height="15" fg:x="{begin}" fg:w="{samples}"/></g>'
        for row, begin, samples, name in reversed(FRAMES)
    )
    spaces = 'xmlns="http://www.w3.org/2000/svg" xmlns:fg="http://github.com/jonhoo/inferno"'
    picture.write_text(f'<?xml version="1.0"?><svg {spaces}><svg id="frames">{drawn}</svg></svg>')
    assert samples_by_line(picture) == {
        "run (django_events/relay.py:10)": 50,
        "send (django_events/producing/courier.py:145)": 20,
        ELSEWHERE: 30,
    }
    assert table(picture, lines=2).splitlines() == ["  50.0%  run (django_events/relay.py:10)", "  30.0%  elsewhere"]


BUSY = """
def toil():
    return sum(range(3_000_000))

input()
for _ in range(40):
    toil()
"""


def test_the_dearest_line_of_a_process_is_found(tmp_path: Path) -> None:
    if not shutil.which("py-spy", path=str(Path(sys.executable).parent)):
        pytest.skip("py-spy is not installed: it is of the extra 'profile'")
    script, picture = tmp_path / "busy.py", tmp_path / "picture.svg"
    script.write_text(textwrap.dedent(BUSY))
    process = subprocess.Popen([sys.executable, script], stdin=subprocess.PIPE)
    with profiled(picture, process.pid):
        process.communicate(b"\n")
    if not picture.exists():
        pytest.skip("py-spy may not look into other processes here")
    ((line, _),) = samples_by_line(picture, ours="busy.py").most_common(1)
    assert line.startswith("toil (")
    assert line.endswith("busy.py:3)")
