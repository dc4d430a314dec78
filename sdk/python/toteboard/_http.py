"""Requests to the gateway's HTTP interface."""

import json
from collections.abc import AsyncIterator, Mapping
from datetime import UTC, datetime
from typing import Any

import aiohttp

from ._errors import ToteboardError

Query = Mapping[str, Any]


def _text(value: Any) -> str:
    if isinstance(value, datetime):
        return moment(value)
    return str(value).lower() if isinstance(value, bool) else str(value)


def moment(value: datetime | str) -> str:
    """A time as the gateway reads it. A datetime without a time zone is refused: nobody knows which one was meant."""
    if isinstance(value, str):
        return value
    if value.tzinfo is None:
        raise ValueError("give the time a time zone, such as datetime.now(UTC)")
    return value.astimezone(UTC).isoformat(timespec="milliseconds").replace("+00:00", "Z")


class Http:
    """Asks a gateway, with a token."""

    def __init__(self, url: str, token: str | None):
        self.url, self.token = url.rstrip("/"), token
        self._session: aiohttp.ClientSession | None = None

    async def close(self) -> None:
        if self._session:
            await self._session.close()

    async def get(self, path: str, query: Query | None = None) -> Any:
        return await self.send("GET", path, query=query)

    async def send(self, method: str, path: str, body: Any = None, query: Query | None = None) -> Any:
        try:
            async with self._ask(method, path, body, query) as response:
                text = await self._whole(response)
        except aiohttp.ClientError as error:
            raise self._unreachable(error) from error
        return json.loads(text) if text else None

    async def lines(self, path: str, query: Query) -> AsyncIterator[bytes]:
        """The lines of an answer, as they come. The last one is cut off if the connection was."""
        try:
            async with self._ask("GET", path, None, query) as response:
                if response.status != 200:
                    await self._whole(response)
                rest = b""
                async for chunk in response.content.iter_any():
                    *lines, rest = (rest + chunk).split(b"\n")
                    for line in lines:
                        if line:
                            yield line
        except aiohttp.ClientError as error:
            raise self._unreachable(error) from error

    def _ask(self, method: str, path: str, body: Any, query: Query | None) -> Any:
        if self._session is None:
            headers = {"authorization": f"Bearer {self.token}"} if self.token else {}
            self._session = aiohttp.ClientSession(headers=headers, timeout=aiohttp.ClientTimeout(total=None, sock_read=60))
        pairs = []
        for name, value in (query or {}).items():
            if value is not None:
                values = value if isinstance(value, list | tuple) else [value]
                pairs.extend((name, _text(it)) for it in values)
        return self._session.request(method, self.url + path, params=pairs, json=body)

    async def _whole(self, response: aiohttp.ClientResponse) -> str:
        text = await response.text()
        if response.ok:
            return text
        try:
            error = json.loads(text)["error"]
            raise ToteboardError(error["code"], error["message"], response.status, error.get("fields"))
        except (ValueError, KeyError, TypeError):
            message = f"an answer that is none of a gateway's: {response.status} {text[:100]}"
            raise ToteboardError("unreachable", message, response.status) from None

    def _unreachable(self, error: Exception) -> ToteboardError:
        return ToteboardError("unreachable", f"{self.url} does not answer ({error})")
