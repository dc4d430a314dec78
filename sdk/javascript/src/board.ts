// A board, and how it follows the frames of its region: a machine without a connection.

import { BoardDigest } from "./digest.js";
import type { Change, EventDetails, Feed, Odds, Quote, Region, Snapshot } from "./types.js";

/** An event with its quotes. */
export interface BoardEvent extends EventDetails {
  /** By bookmaker and market, with a space between them. */
  quotes: Map<string, Quote>;
}

/** The board of a region. */
export class Board {
  /** Names exactly this state of the board; null before the first one has come. */
  cursor: string | null = null;
  /** By id. */
  events = new Map<string, BoardEvent>();

  constructor(readonly region: Region) {}

  /** A bookmaker's prices of a market of an event. */
  quote(event: string, bookmaker: string, market: string): Quote | undefined {
    return this.events.get(event)?.quotes.get(`${bookmaker} ${market}`);
  }

  /** The same as the answer of `GET /api/odds/{region}`. */
  toJSON(): { region: Region; cursor: string | null; events: (EventDetails & { quotes: Quote[] })[] } {
    const events = [...this.events.values()].map((event) => ({ ...event, quotes: [...event.quotes.values()] }));
    return { region: this.region, cursor: this.cursor, events };
  }
}

/** What a frame does to a board. One with another digest than the gateway's is wrong, and is dropped. */
export type Taken = "whole" | "changed" | "resync" | "wrong" | "nothing";

/** Follows the frames of a region. */
export class Mirror {
  readonly board: Board;
  /** The parts of a snapshot that is arriving. */
  #incoming: { cursor: string; part: number; events: Map<string, BoardEvent>; digest: BoardDigest | null } | null = null;
  /** That of the board, if it is checked. */
  #digest: BoardDigest | null;
  /** When a board was wrong. */
  wrongAt = -Infinity;
  /** Whether the newest feed had the cursor of the board: nothing is still to come. */
  isUpToDate = false;
  /** How many feeds have come since a resync was asked for; null if none is open. */
  #asked: number | null = null;

  constructor(
    region: Region,
    readonly checks: boolean,
  ) {
    this.board = new Board(region);
    this.#digest = this.#newDigest();
  }

  #newDigest(): BoardDigest | null {
    return this.checks ? new BoardDigest() : null;
  }

  /** Takes a whole board from HTTP. */
  seed({ cursor, events }: Snapshot): void {
    this.board.events = new Map();
    this.#digest = this.#newDigest();
    apply(this.board.events, events);
    this.#digest?.apply(events);
    this.board.cursor = cursor;
  }

  /** Nothing that the connection before has left unfinished is continued. */
  connected(): void {
    this.isUpToDate = false;
    this.#incoming = null;
    this.#asked = null;
  }

  snapshot({ cursor, events, part = 1, parts = 1, digest }: Snapshot): Taken {
    if (part === 1) {
      this.#incoming = { cursor, part: 0, events: new Map(), digest: this.#newDigest() };
      this.#asked = null;
    }
    const incoming = this.#incoming;
    if (incoming?.cursor !== cursor || part !== incoming.part + 1) return this.#outOfStep();
    apply(incoming.events, events);
    incoming.digest?.apply(events);
    incoming.part = part;
    // The old board stays until the new one is complete.
    if (part < parts) return "nothing";
    this.board.cursor = cursor;
    this.board.events = incoming.events;
    this.#digest = incoming.digest;
    this.#incoming = null;
    return this.#checked("whole", digest);
  }

  odds({ prev, cursor, events, digest }: Odds): Taken {
    if (this.board.cursor !== prev) return this.#outOfStep();
    apply(this.board.events, events);
    this.#digest?.apply(events);
    this.board.cursor = cursor;
    this.#asked = null;
    return this.#checked("changed", digest);
  }

  #checked(taken: Taken, digest: number | undefined): Taken {
    if (!this.#digest || digest === undefined || digest === this.#digest.value) return taken;
    this.board.cursor = null;
    this.board.events = new Map();
    this.isUpToDate = false;
    // If nobody asks for the whole board now, the second feed does.
    this.#asked = 0;
    return "wrong";
  }

  /** Over long polling, a frame can be lost, and also a request or its answer: the feed tells. */
  feed({ cursor, state }: Feed): Taken {
    this.isUpToDate = state === "down" || (cursor !== undefined && cursor === this.board.cursor);
    if (this.#asked === null) return cursor !== undefined && cursor !== this.board.cursor ? this.#outOfStep() : "nothing";
    this.#asked += 1;
    if (this.#asked < 2) return "nothing";
    this.#asked = 0;
    return "resync";
  }

  #outOfStep(): Taken {
    this.isUpToDate = false;
    this.#incoming = null;
    // While a resync is open, a frame that doesn't fit was sent before the answer.
    if (this.#asked !== null) return "nothing";
    this.#asked = 0;
    return "resync";
  }
}

function apply(events: Map<string, BoardEvent>, changes: Change[]): void {
  for (const change of changes) {
    if (change.removed) {
      events.delete(change.id);
      continue;
    }
    const { quotes = [], ...details } = change;
    const event = events.get(change.id) ?? ({ quotes: new Map() } as BoardEvent);
    events.set(change.id, Object.assign(event, details));
    for (const quote of quotes) {
      const key = `${quote.bookmaker} ${quote.market}`;
      if (quote.outcomes.length > 0) event.quotes.set(key, quote);
      else event.quotes.delete(key);
    }
  }
}
