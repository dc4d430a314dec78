// The digest of a board, as PROTOCOL.md defines it.

import type { Change, EventDetails, Quote } from "./types.js";

const TABLE = Uint32Array.from({ length: 256 }, (_, byte) => {
  let rest = byte;
  for (let bit = 0; bit < 8; bit++) rest = rest & 1 ? 0xedb88320 ^ (rest >>> 1) : rest >>> 1;
  return rest;
});
const utf8 = new TextEncoder();

/** Of each item: its CRC-32, mixed. */
function numberOf(text: string): number {
  let crc = -1;
  for (const byte of utf8.encode(text)) crc = TABLE[(crc ^ byte) & 0xff]! ^ (crc >>> 8);
  let number = ~crc;
  number = Math.imul(number ^ (number >>> 16), 0x85ebca6b);
  number = Math.imul(number ^ (number >>> 13), 0xc2b2ae35);
  return number ^ (number >>> 16);
}

const millionths = (value: number | null | undefined) => (value == null ? "" : BigInt(Math.floor(value * 1e6 + 0.5)));

function ofDetails({ id, sport_key, sport_title, commence_time, home_team, away_team }: EventDetails): number {
  return numberOf(`${id}\n${sport_key}\n${sport_title}\n${commence_time}\n${home_team ?? ""}\n${away_team ?? ""}\n`);
}

function ofQuote(id: string, { bookmaker, market, last_update, outcomes }: Quote): number {
  const lines = outcomes.map(({ name, price, point, description }) => `${name}\n${millionths(price)}\n${millionths(point)}\n${description ?? ""}\n`);
  return numberOf(`${id}\n${bookmaker}\n${market}\n${last_update}\n${lines.join("")}`);
}

/** The digest of a board that takes changes. */
export class BoardDigest {
  #sum = 0;
  /** The numbers of each event's items: by bookmaker and market, and its details without a name. */
  readonly #events = new Map<string, Map<string, number>>();

  get value(): number {
    return this.#sum >>> 0;
  }

  apply(changes: Change[]): void {
    for (const change of changes) {
      const items = this.#events.get(change.id) ?? new Map<string, number>();
      if (change.removed) {
        for (const number of items.values()) this.#sum = (this.#sum - number) | 0;
        this.#events.delete(change.id);
        continue;
      }
      this.#events.set(change.id, items);
      if (change.sport_key !== undefined) this.#set(items, "", ofDetails(change as EventDetails));
      for (const quote of change.quotes ?? []) this.#set(items, `${quote.bookmaker} ${quote.market}`, quote.outcomes.length > 0 ? ofQuote(change.id, quote) : null);
    }
  }

  #set(items: Map<string, number>, key: string, number: number | null): void {
    this.#sum = (this.#sum - (items.get(key) ?? 0) + (number ?? 0)) | 0;
    if (number === null) items.delete(key);
    else items.set(key, number);
  }
}
