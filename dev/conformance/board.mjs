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
  /** What was received, in order: `{ kind, cursor, at }`. */
  frames = [];
  wrong;
  digests = 0;
  #aside;

  take(kind, payload) {
    const fail = (reason) => (this.wrong ??= `${kind}: ${reason}`);
    if (kind === "snapshot") {
      const { part = 1, parts = 1, cursor } = payload;
      if (part === 1) this.#aside = { cursor, part: 0, parts, events: new Map() };
      const aside = this.#aside;
      if (!aside || aside.cursor !== cursor || aside.part + 1 !== part || aside.parts !== parts) return fail(`part ${part} of ${parts} does not follow`);
      aside.part = part;
      apply(aside.events, payload.events);
      if (part < parts) return;
      [this.events, this.#aside] = [aside.events, undefined];
    } else {
      if (this.#aside) return fail("it came between the parts of a snapshot");
      if (payload.prev !== this.cursor) return fail(`prev is ${payload.prev} and the cursor ${this.cursor}`);
      apply(this.events, payload.events);
    }
    this.cursor = payload.cursor;
    this.frames.push({ kind, cursor: payload.cursor, at: Date.now() });
    if (payload.digest !== undefined) {
      this.digests++;
      if (payload.digest !== this.digest()) fail(`the digest is ${this.digest()}, not ${payload.digest}`);
    }
  }

  digest() {
    let sum = 0;
    for (const [id, event] of this.events) {
      const { sport_key, sport_title, commence_time, home_team, away_team } = event.details;
      sum = (sum + numberOf([id, sport_key, sport_title, commence_time, home_team, away_team])) >>> 0;
      for (const { bookmaker, market, last_update, outcomes } of event.quotes.values()) {
        const lines = outcomes.flatMap(({ name, price, point, description }) => [name, millionths(price), millionths(point), description]);
        sum = (sum + numberOf([id, bookmaker, market, last_update, ...lines])) >>> 0;
      }
    }
    return sum;
  }

  /** The board as text, for comparisons. */
  text() {
    const events = [...this.events].map(([id, { details, quotes }]) => [id, details, [...quotes].sort()]);
    return JSON.stringify(events.sort());
  }
}

function apply(events, changes) {
  for (const { id, removed, quotes = [], ...details } of changes) {
    if (removed) {
      events.delete(id);
      continue;
    }
    let event = events.get(id);
    if (!event) events.set(id, (event = { details: {}, quotes: new Map() }));
    Object.assign(event.details, details);
    for (const quote of quotes) {
      const place = `${quote.bookmaker}\n${quote.market}`;
      if (quote.outcomes.length) event.quotes.set(place, quote);
      else event.quotes.delete(place);
    }
  }
}

/** The board that an answer over HTTP has. */
export function boardOf(payload) {
  const board = new Board();
  board.take("snapshot", payload);
  return board;
}
