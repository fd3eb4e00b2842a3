"""TCP connections that go through us, so that tests can cut, stall and slow them."""

import asyncio
import threading
from collections.abc import Callable
from contextlib import suppress
from enum import Enum


class Condition(Enum):
    """What a link does to the bytes that it is given."""

    OPEN = "open"
    CUT = "cut"
    """Connections are reset, new ones too."""
    STALLED = "stalled"
    """Connections stay open, and nothing arrives until the link is open again."""
    SLOW = "slow"
    """Each piece arrives late."""


SLOWNESS = 0.3
"""Seconds by which a slow link delays each piece."""


class Proxy:
    """Runs links in a thread of its own. ``close`` it."""

    def __init__(self) -> None:
        self._loop = asyncio.new_event_loop()
        self._links: list[Link] = []
        self._entrances: list[_Entrance] = []
        self._thread = threading.Thread(target=self._loop.run_forever, name="proxy", daemon=True)
        self._thread.start()

    def link(self, target: int) -> "Link":
        """Carry what comes to a new port of 127.0.0.1 to another, and back."""
        link = self.link_of_several()
        link.port = self.entrance(target, lambda _port: link)
        return link

    def link_of_several(self) -> "Link":
        """A link for connections that come in at several entrances."""
        link = Link(self._loop)
        self._links.append(link)
        return link

    def entrance(self, target: int, link_of: "Callable[[int], Link]") -> int:
        """Carry what comes to a new port, which is returned, to another, and back: each connection by the link that it
        has by its own port."""
        entrance = _Entrance(target, link_of)
        self._entrances.append(entrance)
        return asyncio.run_coroutine_threadsafe(entrance.listen(), self._loop).result(60)

    def close(self) -> None:
        asyncio.run_coroutine_threadsafe(self._close_links(), self._loop).result(60)
        self._loop.call_soon_threadsafe(self._loop.stop)
        self._thread.join(60)
        self._loop.close()

    async def _close_links(self) -> None:
        for entrance in self._entrances:
            entrance.close()
        for link in self._links:
            link.close()
        others = asyncio.all_tasks() - {asyncio.current_task()}
        for task in others:
            task.cancel()
        await asyncio.gather(*others, return_exceptions=True)
        await asyncio.sleep(0)  # for the transports to close their sockets


class _Entrance:
    """A port that stands for that of a server."""

    def __init__(self, target: int, link_of: "Callable[[int], Link]") -> None:
        self._target = target
        self._link_of = link_of

    async def listen(self) -> int:
        """Begin; the port."""
        self._server = await asyncio.start_server(self._accept, "127.0.0.1", 0)
        return int(self._server.sockets[0].getsockname()[1])

    def close(self) -> None:
        self._server.close()

    async def _accept(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        _, port = writer.get_extra_info("peername")
        await self._link_of(port).carry(reader, writer, self._target)


class Link:
    """All connections between two ends. ``become`` is thread-safe; all else runs in the proxy's loop."""

    def __init__(self, loop: asyncio.AbstractEventLoop) -> None:
        self._loop = loop
        self.port = 0
        """Where clients find the server, if it has an entrance of its own."""
        self._condition = Condition.OPEN
        self._flowing = asyncio.Event()
        self._flowing.set()
        self._ends: set[asyncio.StreamWriter] = set()

    def become(self, condition: Condition) -> None:
        """Change what happens to open connections and to new ones."""
        self._loop.call_soon_threadsafe(self._become, condition)

    def close(self) -> None:
        self._abort_all()

    def _become(self, condition: Condition) -> None:
        self._condition = condition
        if condition is Condition.STALLED:
            self._flowing.clear()
        else:
            self._flowing.set()
        if condition is Condition.CUT:
            self._abort_all()

    def _abort_all(self) -> None:
        for end in list(self._ends):
            end.transport.abort()

    async def carry(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter, target: int) -> None:
        """Carry one connection to this port, until it ends."""
        if self._condition is Condition.CUT:
            writer.transport.abort()
            return
        try:
            server_reader, server_writer = await asyncio.open_connection("127.0.0.1", target)
        except OSError:  # nobody is there: so it shall look from the client's side
            writer.transport.abort()
            return
        ends = {writer, server_writer}
        self._ends |= ends
        try:
            await asyncio.gather(self._carry(reader, server_writer), self._carry(server_reader, writer))
        finally:
            self._ends -= ends

    async def _carry(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        """Carry bytes one way until either end is gone; then the other end goes, too."""
        with suppress(OSError):
            while piece := await reader.read(65_536):
                if self._condition is Condition.SLOW:
                    await asyncio.sleep(SLOWNESS)
                await self._flowing.wait()
                writer.write(piece)
                await writer.drain()
        writer.close()
