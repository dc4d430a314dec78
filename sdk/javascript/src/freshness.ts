// Which prices are live, by the gateway's clock.

import type { Feed, Region } from "./types.js";

/** Knows the newest feed of each region, and the gateway's clock. */
export class Freshness {
  readonly feeds = new Map<Region, Feed>();
  /** By how many milliseconds the gateway's clock is ahead, by region: those of replays differ. */
  readonly #ahead = new Map<Region, number>();

  take(feed: Feed): void {
    this.feeds.set(feed.region, feed);
    this.#ahead.set(feed.region, Date.parse(feed.at) - Date.now());
  }

  /** The time by the gateway's clock. */
  now(region: Region): Date {
    return new Date(Date.now() + (this.#ahead.get(region) ?? 0));
  }

  /** Whether the prices of a sport, and of a bookmaker if it is named, are live now. */
  isLive(region: Region, sport: string, bookmaker?: string): boolean {
    const feed = this.feeds.get(region);
    const polled = feed?.sports[sport];
    if (feed?.state !== "live" || !polled) return false;
    const [at, until] = [Date.parse(polled.polled_at), Date.parse(polled.stale_after)];
    if (until < this.now(region).getTime()) return false;
    // A bookmaker that has been missing for longer than a poll stays fresh was left behind.
    const seen = bookmaker === undefined ? undefined : feed.bookmakers[bookmaker];
    return seen === undefined || at - Date.parse(seen) <= Math.max(0, until - at);
  }
}
