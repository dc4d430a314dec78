"""Which prices are live, by the gateway's clock."""

import time
from datetime import UTC, datetime
from typing import Any


def _seconds(text: str) -> float:
    return datetime.fromisoformat(text).timestamp()


class Freshness:
    """Knows the newest feed of each region, and the gateway's clock."""

    def __init__(self) -> None:
        self.feeds: dict[str, dict[str, Any]] = {}
        # By how many seconds the gateway's clock is ahead: those of replays differ.
        self._ahead: dict[str, float] = {}

    def take(self, feed: dict[str, Any]) -> None:
        self.feeds[feed["region"]] = feed
        self._ahead[feed["region"]] = _seconds(feed["at"]) - time.time()

    def now(self, region: str) -> datetime:
        """The time by the gateway's clock."""
        return datetime.fromtimestamp(time.time() + self._ahead.get(region, 0), UTC)

    def is_live(self, region: str, sport: str, bookmaker: str | None = None) -> bool:
        """Whether the prices of a sport, and of a bookmaker if it is named, are live now."""
        feed = self.feeds.get(region)
        polled = feed and feed["sports"].get(sport)
        if not feed or not polled or feed["state"] != "live":
            return False
        at, until = _seconds(polled["polled_at"]), _seconds(polled["stale_after"])
        if until < self.now(region).timestamp():
            return False
        # A bookmaker that has been missing for longer than a poll stays fresh was left behind.
        seen = feed["bookmakers"].get(bookmaker) if bookmaker else None
        return seen is None or at - _seconds(seen) <= max(0.0, until - at)
