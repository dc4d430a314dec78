"""A board, and how it follows the frames of its region: a machine without a connection."""

from dataclasses import dataclass, field
from typing import Any, Literal

from ._digest import BoardDigest
from ._types import Quote, Region

# What a frame does to a board. One with another digest than the gateway's is wrong, and is dropped.
Taken = Literal["whole", "changed", "resync", "wrong", "nothing"]


@dataclass
class Event:
    """An event with its quotes, which are found by bookmaker and market."""

    id: str
    sport_key: str = ""
    sport_title: str = ""
    commence_time: str = ""
    home_team: str | None = None
    away_team: str | None = None
    quotes: dict[tuple[str, str], Quote] = field(default_factory=dict)


@dataclass
class Board:
    """The board of a region. The cursor names exactly this state of it; None before the first one has come."""

    region: Region
    cursor: str | None = None
    events: dict[str, Event] = field(default_factory=dict)

    def quote(self, event: str, bookmaker: str, market: str) -> Quote | None:
        """A bookmaker's prices of a market of an event."""
        found = self.events.get(event)
        return found.quotes.get((bookmaker, market)) if found else None


class Mirror:
    """Follows the frames of a region."""

    def __init__(self, region: Region, checks: bool):
        self.board = Board(region)
        self._checks, self._digest = checks, BoardDigest()
        # When a board was wrong.
        self.wrong_at = float("-inf")
        self.connected()

    def connected(self) -> None:
        """Nothing that the connection before has left unfinished is continued."""
        # The cursor, the last part, the events and the digest of a snapshot that is arriving; and how many feeds have
        # come since a resync was asked for.
        self._incoming: tuple[str, int, dict[str, Event], BoardDigest] | None = None
        self._asked: int | None = None
        # Whether the newest feed had the cursor of the board: nothing is still to come.
        self.is_up_to_date = False

    def seed(self, snapshot: dict[str, Any]) -> None:
        """Takes a whole board from HTTP."""
        self.board.events, self._digest = {}, BoardDigest()
        self._apply(self.board.events, self._digest, snapshot["events"])
        self.board.cursor = snapshot["cursor"]

    def snapshot(self, payload: dict[str, Any]) -> Taken:
        cursor, part = payload["cursor"], payload.get("part", 1)
        if part == 1:
            self._incoming, self._asked = (cursor, 0, {}, BoardDigest()), None
        if self._incoming is None or self._incoming[:2] != (cursor, part - 1):
            return self._out_of_step()
        events, digest = self._incoming[2:]
        self._apply(events, digest, payload["events"])
        self._incoming = (cursor, part, events, digest)
        # The old board stays until the new one is complete.
        if part < payload.get("parts", 1):
            return "nothing"
        self.board.cursor, self.board.events, self._digest, self._incoming = cursor, events, digest, None
        return self._checked("whole", payload)

    def odds(self, payload: dict[str, Any]) -> Taken:
        if self.board.cursor != payload["prev"]:
            return self._out_of_step()
        self._apply(self.board.events, self._digest, payload["events"])
        self.board.cursor, self._asked = payload["cursor"], None
        return self._checked("changed", payload)

    def _apply(self, events: dict[str, Event], digest: BoardDigest, changes: list[dict[str, Any]]) -> None:
        _apply(events, changes)
        if self._checks:
            digest.apply(changes)

    def _checked(self, taken: Taken, payload: dict[str, Any]) -> Taken:
        if not self._checks or payload.get("digest") in (None, self._digest.value):
            return taken
        self.board.cursor, self.board.events, self.is_up_to_date = None, {}, False
        # If nobody asks for the whole board now, the second feed does.
        self._asked = 0
        return "wrong"

    def feed(self, payload: dict[str, Any]) -> Taken:
        """Over long polling, a frame can be lost, and also a request or its answer: the feed tells."""
        is_down = payload["state"] == "down"
        self.is_up_to_date = is_down or (self.board.cursor is not None and payload.get("cursor") == self.board.cursor)
        if self._asked is None:
            return self._out_of_step() if payload.get("cursor", self.board.cursor) != self.board.cursor else "nothing"
        self._asked += 1
        if self._asked < 2:
            return "nothing"
        self._asked = 0
        return "resync"

    def _out_of_step(self) -> Taken:
        self._incoming, self.is_up_to_date = None, False
        # While a resync is open, a frame that doesn't fit was sent before the answer.
        if self._asked is not None:
            return "nothing"
        self._asked = 0
        return "resync"


def _apply(events: dict[str, Event], changes: list[dict[str, Any]]) -> None:
    for change in changes:
        if change.get("removed"):
            events.pop(change["id"], None)
            continue
        event = events.setdefault(change["id"], Event(change["id"]))
        for name in ("sport_key", "sport_title", "commence_time", "home_team", "away_team"):
            if name in change:
                setattr(event, name, change[name])
        for quote in change.get("quotes", ()):
            key = (quote["bookmaker"], quote["market"])
            if quote["outcomes"]:
                event.quotes[key] = quote
            else:
                event.quotes.pop(key, None)
