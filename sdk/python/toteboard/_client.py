"""The client of a gateway."""

from datetime import datetime
from typing import Any

from ._history import History
from ._http import Http, Query
from ._stream import Stream, replayed
from ._types import Filter, Region


class Toteboard:
    """The client of a gateway. Use it with `async with`, or close it."""

    def __init__(self, url: str, token: str | None = None):
        self._http = Http(url, token)
        self.history = History(self._http)

    async def __aenter__(self) -> "Toteboard":
        return self

    async def __aexit__(self, *_: object) -> None:
        await self.close()

    async def close(self) -> None:
        await self._http.close()

    def stream(
        self,
        regions: list[Region] | None = None,
        *,
        filter: Filter | None = None,
        max_rate: float | None = None,
        alerts: str | None = None,
        first_by_http: bool = True,
        transports: list[str] | None = None,
        digest: bool = True,
    ) -> Stream:
        """Mirrors regions, for as long as the stream is open; without regions, those of the account.

        `max_rate` is the most frames a second in each region. `alerts` is the id of the last alert that you have: you get
        those after it. The first boards come by HTTP, which is compressed, unless `first_by_http` is false. The gateway
        sends a digest with each frame, which is compared with that of the board, unless `digest` is false.
        """
        return Stream(self._http, regions, filter, max_rate, None, alerts, first_by_http, transports, digest)

    def replay(
        self,
        at: datetime | str,
        *,
        speed: float | None = None,
        until: datetime | str | None = None,
        regions: list[Region] | None = None,
        filter: Filter | None = None,
    ) -> Stream:
        """Plays back what was recorded. The stream gets what live clients got then; speed 0 is as fast as it takes it."""
        return Stream(self._http, regions, filter, replay=replayed(at, speed, until))

    async def feeds(self) -> list[dict[str, Any]]:
        """How fresh each region is."""
        return await self._http.get("/api/regions")

    async def movers(self, region: Region, **query: Any) -> dict[str, Any]:
        """What moved most. docs/opportunities.md defines it."""
        return await self._http.get("/api/movers", {"region": region, **query})

    async def arbitrages(self, **query: Any) -> dict[str, Any]:
        """Bets at live prices that win together."""
        return await self._http.get("/api/opportunities/arbitrages", query)

    async def values(self, **query: Any) -> dict[str, Any]:
        """Live prices that are better than the outcome's probability."""
        return await self._http.get("/api/opportunities/values", query)

    async def alerts(self, after: str | None = None, limit: int | None = None) -> dict[str, Any]:
        """Your newest alerts, or those after an id."""
        return await self._http.get("/api/alerts", {"after": after, "limit": limit})

    async def read_alerts(self, ids: list[str] | None = None) -> int:
        """Marks alerts as read: these, or all. Returns how many are still unread."""
        answer = await self._http.send("POST", "/api/alerts/read", {} if ids is None else {"ids": ids})
        return int(answer["unread"])

    async def rules(self) -> list[dict[str, Any]]:
        return await self._http.get("/api/rules")

    async def add_rule(self, **rule: Any) -> dict[str, Any]:
        """Makes a rule. When it fires, every stream of yours gets an alert."""
        return await self._http.send("POST", "/api/rules", rule)

    async def remove_rule(self, id: str) -> None:
        await self._http.send("DELETE", f"/api/rules/{id}")

    async def produce(self, request_id: str, transaction_id: str, message_body: str, **more: Any) -> dict[str, Any]:
        """Has a customer notified. The token needs the scope `produce`. Repeat it as it is if it fails."""
        body = {"request_id": request_id, "transaction_id": transaction_id, "message_body": message_body}
        return await self._http.send("POST", "/api/v1/produce", {"topic_name": "transactions", **body, **more})

    async def get(self, path: str, query: Query | None = None) -> Any:
        """Any other request: `/api/docs` of the gateway lists them."""
        return await self._http.get(path, query)
