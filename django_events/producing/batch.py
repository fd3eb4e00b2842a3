"""How many rows a round reads."""

LARGEST = 16
"""How many times the usual number of rows a round may take."""

SLOW, QUICK = 30e-6, 15e-6
"""Seconds for each row: a read that takes longer is slow, and one that takes less is quick."""


class BatchSize:
    """Grows while reads are slow, so that throughput holds. Owned by one thread.

    While somebody holds an old snapshot (a dump, a report), deleted rows stay in the index, and each read steps over
    them first: its time does not depend on how many rows it then takes. A single slow read only tells of a busy
    machine. Bytes bound a round in any case.
    """

    def __init__(self, usual: int) -> None:
        self._usual = usual
        self.rows = usual
        """Rows that the next round takes."""
        self._was_slow = False

    def read_took(self, seconds: float) -> None:
        """A read of this many rows took so long."""
        is_slow = seconds > SLOW * self.rows
        if is_slow and self._was_slow:
            self.rows = min(self.rows * 2, self._usual * LARGEST)
        elif seconds < QUICK * self.rows:
            self.rows = max(self.rows // 2, self._usual)
        self._was_slow = is_slow
