// The reducer and the digest, written from PROTOCOL.md.

const CRC = Uint32Array.from({ length: 256 }, (_, n) => {
  let value = n;
  for (let bit = 0; bit < 8; bit++) value = value & 1 ? 0xedb88320 ^ (value >>> 1) : value >>> 1;
  return value >>> 0;
});
const UTF8 = new TextEncoder();

function numberOf(lines) {
  let crc = 0xffffffff;
  for (const byte of UTF8.encode(lines.map((line) => `${line ?? ""}\n`).join(""))) crc = CRC[(crc ^ byte) & 0xff] ^ (crc >>> 8);
  let n = (crc ^ 0xffffffff) >>> 0;
  n = Math.imul(n ^ (n >>> 16), 0x85ebca6b);
  n = Math.imul(n ^ (n >>> 13), 0xc2b2ae35);
  return (n ^ (n >>> 16)) >>> 0;
}

const millionths = (value) => (value === undefined || value === null ? "" : BigInt(Math.floor(value * 1_000_000 + 0.5)).toString());

/** The board of one region, as a client keeps it. `wrong` tells the first frame that didn't fit. */
export class Board {
  events = new Map();
  cursor;
  #sum = 0;
  /** What was received, in order: `{ kind, cursor, at }`. */
  frames = [];
  wrong;
  digests = 0;
  #aside;

  take(kind, payload) {
    const fail = (reason) => (this.wrong ??= `${kind}: ${reason}`);
    if (kind === "snapshot") {
      const { part = 1, parts = 1, cursor } = payload;
      if (part === 1) this.#aside = { cursor, part: 0, parts, events: new Map(), sum: 0 };
      const aside = this.#aside;
      if (!aside || aside.cursor !== cursor || aside.part + 1 !== part || aside.parts !== parts) return fail(`part ${part} of ${parts} does not follow`);
      aside.part = part;
      aside.sum = apply(aside.events, payload.events, aside.sum);
      if (part < parts) return;
      [this.events, this.#sum, this.#aside] = [aside.events, aside.sum, undefined];
    } else {
      if (this.#aside) return fail("it came between the parts of a snapshot");
      if (payload.prev !== this.cursor) return fail(`prev is ${payload.prev} and the cursor ${this.cursor}`);
      this.#sum = apply(this.events, payload.events, this.#sum);
    }
    this.cursor = payload.cursor;
    this.frames.push({ kind, cursor: payload.cursor, at: Date.now() });
    if (payload.digest !== undefined) {
      this.digests++;
      if (payload.digest !== this.#sum) fail(`the digest is ${this.#sum}, not ${payload.digest}`);
    }
  }

  /** Begins with what another board has. */
  continue(other) {
    [this.events, this.cursor, this.#sum] = [other.events, other.cursor, other.#sum];
  }

  /** The board as text, for comparisons. */
  text() {
    const events = [...this.events].map(([id, { details, quotes }]) => [id, details, [...quotes].sort()]);
    return JSON.stringify(events.sort());
  }
}

/** Applies changes, and returns the sum of all items' numbers afterwards. */
function apply(events, changes, sum) {
  const replace = (before = 0, after = 0) => {
    sum = (sum - before + after) >>> 0;
    return after;
  };
  for (const { id, removed, quotes = [], ...details } of changes) {
    let event = events.get(id);
    if (removed) {
      replace(event?.number);
      for (const { number } of event?.quotes.values() ?? []) replace(number);
      events.delete(id);
      continue;
    }
    if (!event) {
      if (!details.sport_key) throw new Error(`there are quotes of the unknown event ${id}`);
      events.set(id, (event = { details: {}, quotes: new Map() }));
    }
    if (details.sport_key) {
      event.details = details;
      const { sport_key, sport_title, commence_time, home_team, away_team } = details;
      event.number = replace(event.number, numberOf([id, sport_key, sport_title, commence_time, home_team, away_team]));
    }
    for (const quote of quotes) {
      const { bookmaker, market, last_update, outcomes } = quote;
      const place = `${bookmaker}\n${market}`;
      const before = event.quotes.get(place)?.number;
      if (outcomes.length) {
        const lines = outcomes.flatMap(({ name, price, point, description }) => [name, millionths(price), millionths(point), description]);
        event.quotes.set(place, { ...quote, number: replace(before, numberOf([id, bookmaker, market, last_update, ...lines])) });
      } else {
        replace(before);
        event.quotes.delete(place);
      }
    }
  }
  return sum;
}

/** The board that an answer over HTTP has. */
export function boardOf(payload) {
  const board = new Board();
  board.take("snapshot", payload);
  return board;
}
