// What a gateway's boards were over the last minutes. It is told by the gateway itself, step by step: a client
// that asks for whole boards now and then misses what changes twice in between.

import { io } from "socket.io-client";

/** How long it may take until the board of every region is known. */
const WITHIN = 60_000;
/** How often it forgets what is older than what is to be remembered. */
const FORGET_EVERY = 10_000;

const keyOf = (event, market, bookmaker) => `${event} ${market} ${bookmaker}`;
const nameOf = (labels) => [...labels].sort().join(" / ");

/** As the page writes it. */
function labelOf({ name, point }) {
  if (point === undefined || point === null) return name;
  return point > 0 && !["Over", "Under"].includes(name) ? `${name} +${point}` : `${name} ${point}`;
}

/** The lines of a quote by name, and in each the prices by label. A line has the same point, seen from home. */
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

/** All that one region's board was. A quote has a history: what it was until when, or null while there was none. */
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
    if (prev !== this.cursor) throw new Error(`a step from ${prev} came at ${this.cursor}`);
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
      // What the first board has may be older than that; before what is added later, there was nothing.
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

  /** What a quote was in a window of time. */
  was(key, { from, until }) {
    return (this.#quotes.get(key) ?? []).filter((state) => state.from <= until && state.until >= from);
  }

  keys() {
    return this.#quotes.keys();
  }
}

export class Truth {
  #regions;
  #socket;
  #forgetting;
  #isStopped = false;

  /** Follows the boards of these regions of a gateway, and remembers so many milliseconds of them. */
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
      if (Date.now() > end) throw new Error("the gateway has no board of some region");
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
    // Without it nothing is known any more.
    const failed = (why) => {
      if (!this.#isStopped) throw new Error(`the truth has no connection: ${why}`);
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

  /** Whether it was this price, in any region at any time of the window. */
  was(price, { event, market, bookmaker, line, label }, window) {
    const key = keyOf(event, market, bookmaker);
    const name = nameOf(line);
    const is = ({ lines }) => Math.abs((lines?.get(name)?.get(label) ?? NaN) - price) < 0.0051;
    return [...this.#regions.values()].some((region) => region.was(key, window).some(is));
  }

  /** Whether it was offered all the time, wherever this bookmaker has a price for the market. */
  wasAlwaysOffered({ event, market, bookmaker, line, label }, window) {
    const key = keyOf(event, market, bookmaker);
    const name = nameOf(line);
    const histories = [...this.#regions.values()].map((region) => region.was(key, window));
    const quoting = histories.filter((states) => states.some(({ lines }) => lines !== null));
    return quoting.length > 0 && quoting.every((states) => states.every(({ lines }) => lines?.get(name)?.has(label)));
  }

  /** Events of which a market was quoted by the same bookmaker in the same region all the time. */
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
