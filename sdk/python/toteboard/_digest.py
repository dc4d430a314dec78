"""The digest of a board, as PROTOCOL.md defines it."""

import math
import zlib
from typing import Any

_32_BITS = 0xFFFF_FFFF


def _number(text: str) -> int:
    """Of each item: its CRC-32, mixed."""
    number = zlib.crc32(text.encode())
    number = (number ^ (number >> 16)) * 0x85EB_CA6B & _32_BITS
    number = (number ^ (number >> 13)) * 0xC2B2_AE35 & _32_BITS
    return number ^ (number >> 16)


def _millionths(value: float | None) -> str:
    return "" if value is None else str(math.floor(value * 1e6 + 0.5))


def _of_details(change: dict[str, Any]) -> int:
    names = ("id", "sport_key", "sport_title", "commence_time", "home_team", "away_team")
    return _number("".join(f"{change[name] or ''}\n" for name in names))


def _of_quote(id: str, quote: dict[str, Any]) -> int:
    text = f"{id}\n{quote['bookmaker']}\n{quote['market']}\n{quote['last_update']}\n"
    for outcome in quote["outcomes"]:
        point, description = _millionths(outcome.get("point")), outcome.get("description") or ""
        text += f"{outcome['name']}\n{_millionths(outcome['price'])}\n{point}\n{description}\n"
    return _number(text)


class BoardDigest:
    """The digest of a board that takes changes."""

    def __init__(self) -> None:
        self.value = 0
        # The numbers of each event's items, by bookmaker and market, or None for its details.
        self._events: dict[str, dict[tuple[str, str] | None, int]] = {}

    def apply(self, changes: list[dict[str, Any]]) -> None:
        for change in changes:
            id = change["id"]
            if change.get("removed"):
                gone = sum(self._events.pop(id, {}).values())
                self.value = (self.value - gone) & _32_BITS
                continue
            items = self._events.setdefault(id, {})
            if "sport_key" in change:
                self._set(items, None, _of_details(change))
            for quote in change.get("quotes", ()):
                number = _of_quote(id, quote) if quote["outcomes"] else 0
                self._set(items, (quote["bookmaker"], quote["market"]), number)

    def _set(self, items: dict[tuple[str, str] | None, int], key: tuple[str, str] | None, number: int) -> None:
        self.value = (self.value - items.pop(key, 0) + number) & _32_BITS
        if number:
            items[key] = number
