// The history of a gateway's boards over the last minutes. It follows every step by the protocol, because a client that
// only fetches whole boards now and then would miss changes in between.

import { io } from "socket.io-client";

/** Time limit until the board of every region is known, in milliseconds. */
const WITHIN = 60_000;
/** Milliseconds between deletions of history that is too old. */
const FORGET_EVERY = 10_000;

const keyOf = (event, market, bookmaker) => `${event} ${market} ${bookmaker}`;
const nameOf = (labels) => [...labels].sort().join(" / ");

/** Returns an outcome's label as the page shows it. */
function labelOf({ name, point }) {
  if (point === undefined || point === null) return name;
  return point > 0 && !["Over", "Under"].includes(name) ? `${name} +${point}` : `${name} ${point}`;
}

/** Returns a quote's lines by name, each with its prices by label. A line has one point, from the home team's view. */
function linesOf({ outcomes }, awayTeam) {
  const together = new Map();
  for (const outcome of outcomes) {
    const point = outcome.name === awayTeam && outcome.point ? -outcome.point : outcome.point;
    const key = `${outcome.description} ${point}`;
    together.set(key, [...(together.get(key) ?? []), outcome]);
  }
  const lines = new Map();
  for (const outcomes of together.values()) {
    const offers = new Map(outcomes.map((outcome) => [labelOf(outcome), outcome.price]));
    lines.set(nameOf([...offers.keys()]), offers);
  }
  return lines;
}

/** The history of one region's board: for each quote, its states with their times; null while there was no quote. */
class Region {
  cursor = null;
  #began = Date.now();
  #awayTeams = new Map();
  #quotes = new Map();
  #incoming = null;

  snapshot({ cursor, events, part = 1, parts = 1 }) {
    if (part === 1) this.#incoming = [];
    this.#incoming.push(...events);
    if (part < parts) return;
    const whole = new Set(this.#incoming.map((event) => event.id));
    for (const event of this.#awayTeams.keys()) if (!whole.has(event)) this.#remove(event);
    for (const event of this.#incoming) {
      const quoted = new Set(event.quotes.map((quote) => keyOf(event.id, quote.market, quote.bookmaker)));
      for (const key of this.#keysOf(event.id)) if (!quoted.has(key)) this.#becomes(key, null);
      this.#apply(event);
    }
    Object.assign(this, { cursor });
  }

  odds({ prev, cursor, events }) {
    if (prev !== this.cursor) throw new Error(`got a frame with prev ${prev} at cursor ${this.cursor}`);
    for (const event of events) {
      if (event.removed) this.#remove(event.id);
      else this.#apply(event);
    }
    Object.assign(this, { cursor });
  }

  #apply({ id, away_team, quotes }) {
    if (away_team !== undefined) this.#awayTeams.set(id, away_team);
    for (const quote of quotes) {
      const lines = quote.outcomes.length > 0 ? linesOf(quote, this.#awayTeams.get(id)) : null;
      this.#becomes(keyOf(id, quote.market, quote.bookmaker), lines);
    }
  }

  #remove(event) {
    for (const key of this.#keysOf(event)) this.#becomes(key, null);
    this.#awayTeams.delete(event);
  }

  #keysOf(event) {
    return [...this.#quotes.keys()].filter((key) => key.startsWith(`${event} `));
  }

  #becomes(key, lines) {
    const now = Date.now();
    if (!this.#quotes.has(key)) {
      // A quote on the first board has no earlier history; one that is added later had no price before.
      this.#quotes.set(key, this.cursor === null ? [] : [{ from: this.#began, until: now, lines: null }]);
    }
    const history = this.#quotes.get(key);
    if (history.length > 0) history.at(-1).until = now;
    history.push({ from: now, until: Infinity, lines });
  }

  forget(before) {
    for (const [key, history] of this.#quotes) {
      while (history[0].until < before) history.shift();
      if (history.length === 1 && history[0].lines === null && history[0].from < before) this.#quotes.delete(key);
    }
  }

  /** Returns a quote's states in a window of time. */
  was(key, { from, until }) {
    return (this.#quotes.get(key) ?? []).filter((state) => state.from <= until && state.until >= from);
  }

  keys() {
    return this.#quotes.keys();
  }
}

/** The history of several regions' boards, against which the page is compared. */
export class Truth {
  #regions;
  #socket;
  #forgetting;
  #isStopped = false;

  /** Starts following the boards of these regions, and keeps this many milliseconds of history. */
  static async of(toteboard, regions, remembered) {
    const headers = { "content-type": "application/json", origin: toteboard.url };
    const body = JSON.stringify({ name: "demo", password: toteboard.password });
    const login = await fetch(`${toteboard.url}/api/login`, { method: "POST", headers, body });
    if (!login.ok) throw new Error(`no session: ${login.status} ${await login.text()}`);
    const cookie = login.headers.getSetCookie().map((it) => it.split(";")[0]).join("; ");
    const truth = new Truth(toteboard.url, cookie, regions);
    truth.#forgetting = setInterval(() => truth.#forget(remembered), FORGET_EVERY);
    const end = Date.now() + WITHIN;
    while ([...truth.#regions.values()].some((region) => region.cursor === null)) {
      if (Date.now() > end) throw new Error("the gateway did not send all boards in time");
      await new Promise((resolve) => setTimeout(resolve, 100));
    }
    return truth;
  }

  constructor(url, cookie, regions) {
    this.#regions = new Map(regions.map((region) => [region, new Region()]));
    this.#socket = io(url, {
      transports: ["websocket"],
      reconnection: false,
      extraHeaders: { cookie, origin: url },
      auth: { v: 1, regions },
    });
    this.#socket.on("snapshot", (snapshot) => this.#regions.get(snapshot.region).snapshot(snapshot));
    this.#socket.on("odds", (odds) => this.#regions.get(odds.region).odds(odds));
    // Without this connection the history has gaps, so the test must fail.
    const failed = (why) => {
      if (!this.#isStopped) throw new Error(`lost the connection for the truth: ${why}`);
    };
    this.#socket.on("disconnect", failed).on("connect_error", failed);
  }

  #forget(remembered) {
    for (const region of this.#regions.values()) region.forget(Date.now() - remembered);
  }

  stop() {
    this.#isStopped = true;
    clearInterval(this.#forgetting);
    this.#socket.disconnect();
  }

  /** Returns whether an offer had this price, in any region at any time of the window. */
  was(price, { event, market, bookmaker, line, label }, window) {
    const key = keyOf(event, market, bookmaker);
    const name = nameOf(line);
    const is = ({ lines }) => Math.abs((lines?.get(name)?.get(label) ?? NaN) - price) < 0.0051;
    return [...this.#regions.values()].some((region) => region.was(key, window).some(is));
  }

  /** Returns whether an outcome was offered all the time, in every region where the bookmaker quoted the market. */
  wasAlwaysOffered({ event, market, bookmaker, line, label }, window) {
    const key = keyOf(event, market, bookmaker);
    const name = nameOf(line);
    const histories = [...this.#regions.values()].map((region) => region.was(key, window));
    const quoting = histories.filter((states) => states.some(({ lines }) => lines !== null));
    return quoting.length > 0 && quoting.every((states) => states.every(({ lines }) => lines?.get(name)?.has(label)));
  }

  /** Returns the events for which one bookmaker quoted this market in one region all the time. */
  alwaysOnBoard(market, window) {
    const events = new Set();
    for (const region of this.#regions.values()) {
      for (const key of region.keys()) {
        const [event, of] = key.split(" ", 2);
        if (of !== market || events.has(event)) continue;
        if (region.was(key, window).every(({ lines }) => lines !== null)) events.add(event);
      }
    }
    return events;
  }
}
