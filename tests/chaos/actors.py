"""The processes of a run: each is one ``manage.py`` command that may be killed, frozen, and started again."""

import os
import signal
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path

from tests.chaos import facts, history
from tests.chaos.facts import Began, Ended
from tests.chaos.history import History
from tests.processes import Process

TOO_LATE = ("did not end in time", "Timeout (0:")
"""What ``consume`` says if it does not wait any longer when it is to stop; the second where nothing of Python runs any
more, because a client of Kafka that hangs holds its lock."""


class Actor:
    """One of them, with a name that outlives its processes. ``end`` it."""

    def __init__(
        self, name: str, arguments: Sequence[str], env: Mapping[str, str], folder: Path, history_: History
    ) -> None:
        self.name = name
        self._arguments = ["manage.py", *arguments]
        self._history = history_
        self._folder = folder
        self._starts = 0
        self._env = {**os.environ, **env, facts.ACTOR: name, history.FILE: str(history_.path)}
        self._process: Process | None = None
        self.end_was_wanted = False
        """Whether the run has killed or stopped its process, or said that it may end."""

    def start(self, **env: str) -> None:
        """Start a process; ``env`` is added to its environment."""
        self.end_was_wanted = False
        self._starts += 1
        output = self._folder / f"{self.name}-{self._starts}.log"
        self._process = Process(self._arguments, self._env | env, output)
        self._history.note(Began(actor=self.name, process=self._process.pid))

    def start_again(self) -> None:
        """Start a process unless there is one: faults may come late, and so meet."""
        if not self.runs:
            self.start()

    @property
    def process(self) -> Process:
        assert self._process, f"{self.name} was never started"
        return self._process

    @property
    def runs(self) -> bool:
        return self._process is not None and self._process.running()

    def kill(self) -> None:
        """End it by SIGKILL."""
        self.end_was_wanted = True
        self.process.kill()
        self.note_end()

    def freeze(self) -> None:
        """Stop it by SIGSTOP, unless it is dead just now."""
        if self.runs:
            self.process.signal(signal.SIGSTOP)

    def thaw(self) -> None:
        """Let it go on. Does nothing to one that is not frozen."""
        if self.runs:
            self.process.signal(signal.SIGCONT)

    def wish_end(self) -> None:
        """Send it SIGTERM."""
        self.end_was_wanted = True
        if self.runs:
            self.process.signal(signal.SIGTERM)

    def expect_end(self) -> None:
        """It may end now: whoever finds it ended need not wonder."""
        self.end_was_wanted = True

    def note_end(self) -> bool:
        """Note that its process has ended, if it has and nobody has noted it; whether that is so."""
        if self._process is None or (code := self._process.code) is None:
            return False
        too_late = any(text in self._process.output for text in TOO_LATE)
        self._history.note(
            Ended(actor=self.name, process=self._process.pid, code=code, wanted=self.end_was_wanted, too_late=too_late)
        )
        self._process = None
        return True

    def end(self) -> None:
        """Whatever it does: it is over."""
        if self._process:
            self._process.kill()


def all_say(actors: Iterable[Actor], text: str) -> None:
    """Wait until each has said this in its output."""
    for actor in actors:
        actor.process.says(text)
