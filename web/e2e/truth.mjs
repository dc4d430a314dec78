// What a gateway's boards were over the last minutes, asked of the gateway itself.

const EVERY = 150;
/** How long a gateway may have no verified board: while it starts, or after its board did not match. */
const UNAVAILABLE_FOR = 60_000;

/** A board at one moment. It was like this at some time from `from` to `until`, as far as can be told. */
class State {
  /** By event, market and bookmaker: the lines that it quotes, and in each the prices by label. */
  quotes = new Map();

  constructor(board, from) {
    this.from = from;
    this.until = Infinity;
    for (const event of board.events) {
      for (const quote of event.quotes) {
        const lines = new Map();
        for (const outcomes of linesOf(event, quote)) {
          const offers = new Map(outcomes.map((outcome) => [labelOf(outcome), outcome.price]));
          lines.set(nameOf([...offers.keys()]), offers);
        }
        this.quotes.set(keyOf(event.id, quote.market, quote.bookmaker), lines);
      }
    }
  }
}

const keyOf = (event, market, bookmaker) => `${event} ${market} ${bookmaker}`;
const nameOf = (labels) => [...labels].sort().join(" / ");

/** As the page writes it. */
function labelOf({ name, point }) {
  if (point === undefined || point === null) return name;
  return point > 0 && !["Over", "Under"].includes(name) ? `${name} +${point}` : `${name} ${point}`;
}

/** The outcomes that belong together: with the same description, and the same point seen from home. */
function linesOf(event, quote) {
  const lines = new Map();
  for (const outcome of quote.outcomes) {
    const point = outcome.name === event.away_team && outcome.point ? -outcome.point : outcome.point;
    const key = `${outcome.description} ${point}`;
    lines.set(key, [...(lines.get(key) ?? []), outcome]);
  }
  return lines.values();
}

export class Truth {
  #states = new Map();
  #stopped = false;

  /** Follows the boards of these regions of a gateway, and remembers so many milliseconds of them. */
  static async of(toteboard, regions, remembered) {
    const login = await fetch(`${toteboard.url}/api/login`, {
      method: "POST",
      headers: { "content-type": "application/json", origin: toteboard.url },
      body: JSON.stringify({ name: "demo", password: toteboard.password }),
    });
    if (!login.ok) throw new Error(`no session: ${login.status} ${await login.text()}`);
    const cookie = login.headers.getSetCookie().map((it) => it.split(";")[0]).join("; ");
    const truth = new Truth();
    for (const region of regions) truth.#follow(`${toteboard.url}/api/odds/${region}`, region, cookie, remembered);
    return truth;
  }

  async #follow(url, region, cookie, remembered) {
    const states = [];
    this.#states.set(region, states);
    let [etag, asked, unavailableSince] = ["", Date.now(), null];
    while (!this.#stopped) {
      const began = Date.now();
      const response = await fetch(url, { headers: { cookie, "if-none-match": etag } }).catch(() => null);
      if (this.#stopped) return;
      if (response?.status === 503) {
        // The gateway has no verified board yet.
        unavailableSince ??= Date.now();
        if (Date.now() - unavailableSince > UNAVAILABLE_FOR) throw new Error(`${region}: unavailable for too long`);
      } else if (response?.status === 200) {
        unavailableSince = null;
        etag = response.headers.get("etag");
        const board = await response.json();
        // It changed after it was asked for the last time, and before this answer.
        if (states.length > 0) states.at(-1).until = Date.now();
        states.push(new State(board, asked));
        while (states[0].until < Date.now() - remembered) states.shift();
      } else if (response?.status === 304) {
        unavailableSince = null;
      } else {
        throw new Error(`${region}: ${response?.status}`);
      }
      asked = began;
      await new Promise((resolve) => setTimeout(resolve, EVERY));
    }
  }

  stop() {
    this.#stopped = true;
  }

  /** For each region, its states in a window of time. */
  #in({ from, until }) {
    return [...this.#states.values()].map((states) => states.filter((state) => state.from <= until && state.until >= from));
  }

  /** Whether it was this price, in any region at any time of the window. */
  was(price, { event, market, bookmaker, line, label }, window) {
    const key = keyOf(event, market, bookmaker);
    const name = nameOf(line);
    const is = (state) => Math.abs((state.quotes.get(key)?.get(name)?.get(label) ?? NaN) - price) < 0.0051;
    return this.#in(window).some((states) => states.some(is));
  }

  /** Whether it was offered all the time, wherever this bookmaker has a price for the market. */
  wasAlwaysOffered({ event, market, bookmaker, line, label }, window) {
    const key = keyOf(event, market, bookmaker);
    const name = nameOf(line);
    const quoting = this.#in(window).filter((states) => states.some((state) => state.quotes.has(key)));
    const offers = (state) => state.quotes.get(key)?.get(name)?.has(label) ?? false;
    return quoting.length > 0 && quoting.every((states) => states.every(offers));
  }

  /** Events of which a market was quoted by the same bookmaker in the same region all the time. */
  alwaysOnBoard(market, window) {
    const events = new Set();
    for (const states of this.#in(window).filter((states) => states.length > 0)) {
      const [first, ...others] = states;
      for (const key of first.quotes.keys()) {
        const [event, of] = key.split(" ", 2);
        if (of === market && !events.has(event) && others.every((state) => state.quotes.has(key))) events.add(event);
      }
    }
    return events;
  }
}
