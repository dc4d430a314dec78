"""What was recorded: any board as it was, and every change after it."""

import asyncio
import json
from collections.abc import AsyncIterator
from datetime import UTC, datetime
from typing import Any

from ._errors import ToteboardError
from ._http import Http
from ._types import Filter, Region

# How many seconds to wait after a stream was cut off.
_GO_ON_AFTER = 2
# How often that may fail in a row.
_ATTEMPTS = 30

Moment = datetime | str


def single(filter: Filter | None) -> dict[str, Any]:
    """A filter as parameters of a request, each of which is named in the singular."""
    filter = filter or {}
    return {name.removesuffix("s"): filter.get(name) for name in ("sports", "events", "bookmakers", "markets")}


class History:
    def __init__(self, http: Http):
        self._http = http

    async def board(self, region: Region, at: Moment | None = None, cursor: str | None = None) -> dict[str, Any]:
        """A region's board as it was at a time or at a cursor, exactly."""
        return await self._http.get(f"/api/history/board/{region}", {"at": at, "cursor": cursor})

    async def changes(
        self,
        region: Region,
        from_: Moment | None = None,
        to: Moment | None = None,
        after: str | None = None,
        filter: Filter | None = None,
    ) -> AsyncIterator[dict[str, Any]]:
        """Every recorded change, beginning with the board as it was. A stream that is cut off goes on where it was."""
        if any(names == [] for names in (filter or {}).values()):
            raise ToteboardError("invalid_filter", "a list is empty, so nothing passes")
        begin: dict[str, Any] = {"after": after} if after else {"from": from_ or datetime.now(UTC)}
        # What comes again after a cut.
        last: dict[str, Any] = {}
        failed, is_after_cut = 0, False
        while True:
            try:
                query = {**begin, "to": to, **single(filter)}
                async for text in self._http.lines(f"/api/history/changes/{region}", query):
                    line = json.loads(text)
                    if line["event"] == "end":
                        return
                    if line["event"] == "error":
                        raise ToteboardError(line["data"]["code"], line["data"]["message"])
                    failed = 0
                    if line["event"] in ("snapshot", "odds"):
                        begin, is_after_cut = {"after": line["data"]["cursor"]}, False
                    else:
                        is_again = is_after_cut and last.get(line["event"]) == line["data"]
                        last[line["event"]] = line["data"]
                        if is_again:
                            continue
                    yield line
            except ToteboardError as error:
                if not error.is_temporary or ("from" in begin and not last) or failed >= _ATTEMPTS:
                    raise
            failed, is_after_cut = failed + 1, True
            await asyncio.sleep(_GO_ON_AFTER)

    async def series(self, event: str, market: str, outcome: str, **query: Any) -> dict[str, Any]:
        """The price of an outcome over time, at each bookmaker."""
        return await self._http.get("/api/history/series", {"event": event, "market": market, "outcome": outcome, **_named(query)})

    async def events(self, **query: Any) -> dict[str, Any]:
        """The events that were on the boards."""
        return await self._http.get("/api/history/events", _named(query))

    async def event(self, id: str, **query: Any) -> dict[str, Any]:
        """What the prices of an event did: the first and the last, the lowest and the highest."""
        return await self._http.get(f"/api/history/events/{id}", _named(query))

    async def closing(self, id: str, **query: Any) -> dict[str, Any]:
        """The prices at an event's start, and the consensus of the bookmakers."""
        return await self._http.get(f"/api/history/events/{id}/closing", _named(query))


def _named(query: dict[str, Any]) -> dict[str, Any]:
    """`from` is a word of the language, so it is written `from_`."""
    return {name.rstrip("_"): value for name, value in query.items()}
