"""A table as wide as the terminal."""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass

from django_events.management.printable import columns, cut, printable

GAP = 2
"""Spaces between two columns."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Column:
    """One column of a table. Immutable."""

    title: str
    least: int | None = None
    """How narrow it may become where the terminal is too narrow for all; None: it is never cut."""
    optional: bool = False
    """Whether it is left out where the terminal is too narrow even then."""
    right: bool = False
    """Whether its cells stand to the right, as numbers do."""


Row = Sequence[str]


class Table:
    """Lays rows out as lines. The first rows decide how wide each column is, so more rows may follow chunk by chunk."""

    def __init__(self, columns: Sequence[Column], width: int) -> None:
        self._columns = columns
        self._width = width
        self._widths: dict[int, int] = {}
        """By the number of a column that is shown."""

    def lines(self, rows: Sequence[Row]) -> Iterator[str]:
        """The lines of these rows; the headings come first, once."""
        cells = [[printable(cell) for cell in row] for row in rows]
        if not self._widths:
            self._widths = self._fitting(cells)
            yield self._line([column.title for column in self._columns])
        yield from map(self._line, cells)

    def _line(self, cells: Row) -> str:
        parts = [self._cell(cells[number], number) for number in self._widths]
        return (" " * GAP).join(parts).rstrip()

    def _cell(self, text: str, number: int) -> str:
        column, width = self._columns[number], self._widths[number]
        shown = text if column.least is None else cut(text, width)
        space = " " * (width - columns(shown))
        return space + shown if column.right else shown + space

    def _fitting(self, rows: Sequence[Row]) -> dict[int, int]:
        shown = list(range(len(self._columns)))
        leave_out = [number for number in shown if self._columns[number].optional]
        while True:
            widths = {number: self._natural(rows, number) for number in shown}
            if self._shrink(widths) or not leave_out:
                return widths
            shown.remove(leave_out.pop(0))

    def _natural(self, rows: Sequence[Row], number: int) -> int:
        widest = max((columns(row[number]) for row in rows), default=0)
        return max(columns(self._columns[number].title), min(widest, self._width))

    def _shrink(self, widths: dict[int, int]) -> bool:
        """Take from the widest until all fit; whether they do."""
        while sum(widths.values()) + GAP * (len(widths) - 1) > self._width:
            can = [number for number, width in widths.items() if width > (self._columns[number].least or width)]
            if not can:
                return False
            widths[max(can, key=lambda number: widths[number])] -= 1
        return True
