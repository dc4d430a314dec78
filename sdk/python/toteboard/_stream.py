"""A connection that mirrors regions exactly, for as long as it is open."""

import asyncio
import contextlib
import time
from collections.abc import Callable
from datetime import datetime
from typing import Any, Literal

import aiohttp
import socketio

from ._board import Board, Mirror
from ._errors import ToteboardError, refusal
from ._freshness import Freshness
from ._history import single
from ._http import Http, moment
from ._types import Filter, Region

State = Literal["connecting", "live", "offline", "ended"]

# The gateway sends a feed at least every ten seconds.
_SILENT_AFTER = 35.0
_LONGEST_WAIT = 30.0
# How often a wrong board is asked for at once.
_WRONG_EVERY = 30.0
_CONNECT_WITHIN = 30
_SHUT_WITHIN = 5
_ANSWER_WITHIN = 30
# How many ids of alerts are remembered, so that none is handed out twice.
_ALERTS = 1_000


class Stream:
    """A connection that mirrors regions exactly. Use it with `async with`, which waits for all boards.

    `on(event, listener)` calls a function each time:

    - `board(board)`: a region has a whole new board.
    - `change(board, changes)`: it is the board after these changes.
    - `feed(feed)`: how fresh a region is.
    - `alert(alert)`: a rule of yours has fired; each comes once.
    - `subscriptions(regions)`: the regions are these now.
    - `state(state)`: `connecting`, `live` once all boards are up to date, `offline`, `ended`.
    - `trouble(error)`: a ToteboardError that the stream survives.
    - `end(error)`: the stream does not connect again; None after `close()`.
    """

    def __init__(
        self,
        http: Http,
        regions: list[Region] | None = None,
        filter: Filter | None = None,
        max_rate: float | None = None,
        replay: dict[str, Any] | None = None,
        alerts: str | None = None,
        first_by_http: bool = True,
        transports: list[str] | None = None,
        digest: bool = True,
    ):
        self.state: State = "connecting"
        self.freshness = Freshness()
        # How many frames brought the digest of the board that they led to.
        self.checked = 0
        self._http, self._regions, self._filter = http, regions, filter or {}
        self._max_rate, self._replay, self._last_alert = max_rate, replay, alerts
        self._first_by_http, self._transports = first_by_http and replay is None, transports
        self._checks = digest
        self._mirrors: dict[Region, Mirror] = {}
        self._listeners: dict[str, list[Callable[..., Any]]] = {}
        self._alerts: dict[str, None] = {}
        self._client: Any = None
        self._heard_at = time.monotonic()
        # Why the connection is over, and after how many seconds to connect again; None is never.
        self._parting: tuple[ToteboardError, float | None] | None = None
        # The regions of this connection have come.
        self._is_subscribed = False
        self._error: ToteboardError | None = None
        self._changed = asyncio.Event()
        self._task: asyncio.Task[None] | None = None

    async def __aenter__(self) -> "Stream":
        try:
            return await self.ready()
        except BaseException:
            await self.close()
            raise

    async def __aexit__(self, *_: object) -> None:
        await self.close()

    def on(self, event: str, listener: Callable[..., Any]) -> Callable[[], None]:
        """Calls the listener each time. Returns a function that ends that."""
        listeners = self._listeners.setdefault(event, [])
        listeners.append(listener)
        return lambda: listeners.remove(listener) if listener in listeners else None

    @property
    def regions(self) -> list[Region]:
        """The regions that are mirrored."""
        return list(self._mirrors)

    def board(self, region: Region) -> Board | None:
        """A region's board. None if the region is not mirrored, or its first board has not come."""
        mirror = self._mirrors.get(region)
        return mirror.board if mirror and mirror.board.cursor else None

    def is_live(self, region: Region, event: str, bookmaker: str | None = None) -> bool:
        """Whether a price is live now: of a bookmaker for an event."""
        board = self.board(region)
        found = board.events.get(event) if board else None
        is_up_to_date = self.state == "live" and board is not None and self._mirrors[region].is_up_to_date
        return found is not None and is_up_to_date and self.freshness.is_live(region, found.sport_key, bookmaker)

    async def ready(self) -> "Stream":
        """Connects, and waits until all boards are up to date. Fails if the stream ends before."""
        self.start()
        while self.state != "live":
            if self.state == "ended":
                raise self._error or ToteboardError("ended", "the stream was closed")
            self._changed.clear()
            await self._changed.wait()
        return self

    async def over(self) -> ToteboardError | None:
        """Waits until the stream has ended. Returns why; None after `close()`."""
        self.start()
        while self.state != "ended":
            self._changed.clear()
            await self._changed.wait()
        return self._error

    async def subscribe(self, regions: list[Region]) -> None:
        """Changes the regions: those of this connection if it has its own, or else those of the account."""
        await self._request("subscribe", {"regions": regions})
        if self._regions is not None:
            self._regions = regions

    async def filter(self, filter: Filter) -> None:
        """Narrows the stream. Each region starts with a whole board under the new filter."""
        try:
            await self._request("filter", filter)
        except ToteboardError as error:
            if error.code == "unreachable" and self.state != "ended":
                # Whether the gateway has the new filter is unknown: a new connection has the old one.
                self._parting = (error, 0)
            raise
        self._filter = filter

    async def close(self) -> None:
        """Closes the connection for good."""
        self._end(None)
        if self._task and self._task is not asyncio.current_task():
            self._task.cancel()
            with contextlib.suppress(asyncio.CancelledError):
                await self._task

    def start(self) -> None:
        """Connects, and does not wait."""
        if self._task is None and self.state != "ended":
            self._task = asyncio.create_task(self._run())

    async def _run(self) -> None:
        try:
            await self._follow()
        except Exception as error:
            self._end(ToteboardError("unreachable", f"the stream has failed: {error!r}"))
            raise

    async def _follow(self) -> None:
        if self._first_by_http:
            await self._first_boards()
        pause = 1.0
        while self.state != "ended":
            self._parting, self._is_subscribed = None, False
            pause = 1.0 if await self._connection() else pause
            self._set("offline")
            error, retry = self._parting or (None, pause)
            if retry is None:
                return self._end(error)
            if error:
                self._tell("trouble", error)
            await asyncio.sleep(max(retry, pause) if retry else 0)
            pause = min(2 * pause, _LONGEST_WAIT)

    async def _connection(self) -> bool:
        """Connects, and returns when the connection is over: whether it came about."""
        # A new client each time: the library's own reconnection knows nothing of refusals and byes.
        session = aiohttp.ClientSession()
        client = self._client = socketio.AsyncClient(reconnection=False, http_session=session)
        came = False
        for name in ("subscriptions", "snapshot", "odds", "feed", "alert", "bye"):
            client.on(name, self._taker(name))
        client.on("connect_error", self._refused)
        for mirror in self._mirrors.values():
            mirror.connected()
        waiting: asyncio.Task[None] | None = None
        try:
            connecting = client.connect(
                self._http.url, auth=self._hello, transports=self._transports, wait_timeout=_CONNECT_WITHIN
            )
            await asyncio.wait_for(connecting, 2 * _CONNECT_WITHIN)
            came, self._heard_at = True, time.monotonic()
            waiting = asyncio.create_task(client.wait())
            while not (await asyncio.wait({waiting}, timeout=1))[0]:
                if self._parting or self._is_silent():
                    break
        except Exception as error:
            # The library raises many kinds if a connection breaks while it is being made.
            self._parting = self._parting or (ToteboardError("unreachable", str(error) or repr(error)), 1.0)
        finally:
            with contextlib.suppress(Exception, asyncio.CancelledError):
                await asyncio.wait_for(client.shutdown(), _SHUT_WITHIN)
            with contextlib.suppress(Exception, asyncio.CancelledError):
                await asyncio.wait_for(client.eio.disconnect(abort=True), _SHUT_WITHIN)
            if waiting:
                waiting.cancel()
                await asyncio.gather(waiting, return_exceptions=True)
            # The library does not close it in all cases.
            await session.close()
        return came

    def _is_silent(self) -> bool:
        """Whether nothing has come for longer than is allowed. A slow replay may be silent."""
        silent_after = max(_SILENT_AFTER, 1 / (self._max_rate or 1_000) + 25)
        is_idle = self._is_subscribed and (self._replay is not None or not self._mirrors)
        if is_idle or time.monotonic() - self._heard_at < silent_after:
            return False
        self._parting = (ToteboardError("silent", f"nothing has come for {silent_after:.0f} s"), 0)
        return True

    async def _first_boards(self) -> None:
        """Gets the first boards by HTTP. What fails is got over the connection."""
        # No parameter of a request says "nothing".
        if any(names == [] for names in self._filter.values()):
            return
        try:
            regions = self._regions
            if regions is None:
                regions = (await self._http.get("/api/subscriptions"))["regions"]
            paths = (self._http.get(f"/api/odds/{region}", single(self._filter)) for region in regions)
            for region, snapshot in zip(regions, await asyncio.gather(*paths), strict=True):
                mirror = self._mirrors.setdefault(region, Mirror(region, self._checks))
                mirror.seed(snapshot)
                self._tell("board", mirror.board)
        except ToteboardError as error:
            if error.is_temporary:
                self._tell("trouble", error)
            else:
                self._end(error)

    def _hello(self) -> dict[str, Any]:
        boards = (mirror.board for mirror in self._mirrors.values())
        hello = {
            "v": 1,
            "token": self._http.token,
            "regions": self._regions,
            "filter": self._filter,
            "max_rate": self._max_rate,
            "resume": {board.region: board.cursor for board in boards if board.cursor},
            "alerts": self._last_alert,
            "replay": self._replay,
            "digest": self._checks or None,
        }
        return {name: value for name, value in hello.items() if value is not None}

    def _taker(self, name: str) -> Callable[[dict[str, Any]], Any]:
        take = {"subscriptions": self._subscriptions, "alert": self._alert, "bye": self._bye}.get(name)

        async def taker(payload: dict[str, Any]) -> None:
            self._heard_at = time.monotonic()
            if take:
                take(payload)
            else:
                await self._frame(name, payload)

        return taker

    async def _frame(self, name: str, payload: dict[str, Any]) -> None:
        region: Region = payload["region"]
        if not self._is_subscribed:
            # Over long polling, a response can be lost: without its regions, a connection is of no use.
            self._parting = (ToteboardError("silent", "the regions have not come"), 0)
            return
        mirror = self._mirrors.get(region)
        if mirror is None:
            return
        taken = {"snapshot": mirror.snapshot, "odds": mirror.odds, "feed": mirror.feed}[name](payload)
        if self._checks and taken in ("whole", "changed") and "digest" in payload:
            self.checked += 1
        if taken == "whole":
            self._tell("board", mirror.board)
        elif taken == "changed":
            self._tell("change", mirror.board, payload["events"])
        elif taken == "resync":
            await self._resync(region, mirror.board.cursor)
        elif taken == "wrong":
            self._tell("trouble", ToteboardError("wrong_digest", f"the board of {region} is not that of the gateway"))
            if self.state == "live":
                self._set("connecting")
            # Boards that are wrong again and again are asked for when feeds come.
            before, mirror.wrong_at = mirror.wrong_at, time.monotonic()
            if mirror.wrong_at - before > _WRONG_EVERY:
                await self._resync(region, None)
        if name == "feed":
            # What is live of a newer board must not count for this one.
            if taken != "resync":
                self.freshness.take(payload)
            self._tell("feed", payload)
            self._look()

    async def _resync(self, region: Region, cursor: str | None) -> None:
        request = {"region": region, "cursor": cursor} if cursor else {"region": region}
        with contextlib.suppress(socketio.exceptions.SocketIOError):
            await self._client.emit("resync", request)

    def _look(self) -> None:
        """The stream is live once all boards are up to date."""
        if self._is_subscribed and all(mirror.is_up_to_date for mirror in self._mirrors.values()):
            self._set("live")

    def _subscriptions(self, payload: dict[str, Any]) -> None:
        regions = payload["regions"]
        has_more = any(region not in self._mirrors for region in regions)
        self._mirrors = {region: self._mirrors.get(region) or Mirror(region, self._checks) for region in regions}
        self._is_subscribed = True
        if has_more and self.state == "live":
            self._set("connecting")
        self._tell("subscriptions", regions)
        self._look()

    def _alert(self, alert: dict[str, Any]) -> None:
        # After a reconnect, one may come again.
        if alert["id"] in self._alerts:
            return
        self._alerts[alert["id"]] = None
        if len(self._alerts) > _ALERTS:
            del self._alerts[next(iter(self._alerts))]
        self._last_alert = alert["id"]
        self._tell("alert", alert)

    def _bye(self, payload: dict[str, Any]) -> None:
        retry = payload.get("retry_after_ms")
        self._parting = (ToteboardError(payload["code"], payload["message"]), None if retry is None else retry / 1_000)

    def _refused(self, error: Any) -> None:
        # A string if the gateway can't be reached, an object if it refused.
        if isinstance(error, dict):
            reason = refusal(str(error.get("message", error)))
            self._parting = (reason, 1.0 if reason.is_temporary else None)

    async def _request(self, name: str, payload: Any) -> None:
        if self._client is None or not self._client.connected:
            raise ToteboardError("unreachable", "the stream is not connected")
        try:
            answer = await self._client.call(name, payload, timeout=_ANSWER_WITHIN)
        except socketio.exceptions.SocketIOError as error:
            raise ToteboardError("unreachable", f"{name} was not answered") from error
        if "error" in answer:
            raise ToteboardError(answer["error"]["code"], answer["error"]["message"])

    def _end(self, error: ToteboardError | None) -> None:
        if self.state == "ended":
            return
        self._error = error
        self._set("ended")
        self._tell("end", error)

    def _set(self, state: State) -> None:
        if self.state in (state, "ended"):
            return
        self.state = state
        self._changed.set()
        self._tell("state", state)

    def _tell(self, event: str, *values: Any) -> None:
        for listener in list(self._listeners.get(event, ())):
            try:
                listener(*values)
            except Exception as error:
                # What a listener does wrong is its own fault, and not the end of the stream.
                context = {"message": f"a listener of {event} has failed", "exception": error}
                asyncio.get_running_loop().call_exception_handler(context)


def replayed(at: datetime | str, speed: float | None, until: datetime | str | None) -> dict[str, Any]:
    """The time and the speed of a replay."""
    wanted = {"at": moment(at), "speed": speed, "until": moment(until) if until else None}
    return {name: value for name, value in wanted.items() if value is not None}
