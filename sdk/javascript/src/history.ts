// What was recorded: any board as it was, and every change after it.

import { ToteboardError } from "./errors.js";
import type { Http, Query } from "./http.js";
import type { Change, Filter, RecordedLine, Region } from "./types.js";

/** How long to wait after a stream was cut off, in milliseconds. */
const GO_ON_AFTER = 2_000;
/** How often that may fail in a row. */
const ATTEMPTS = 30;

export interface RecordedBoard {
  region: Region;
  /** The time of its step. */
  at: string;
  /** The time of the next step; null if it is not recorded. */
  until: string | null;
  cursor: string;
  events: Change[];
}

export class History {
  readonly #http: Http;

  constructor(http: Http) {
    this.#http = http;
  }

  /** A region's board as it was at a time or at a cursor, exactly. */
  board(region: Region, moment: { at: string | Date } | { cursor: string }): Promise<RecordedBoard> {
    return this.#http.get(`/api/history/board/${region}`, { ...moment });
  }

  /** Every recorded change, beginning with the board as it was. A stream that is cut off goes on where it was. */
  async *changes(region: Region, { from, after, to, filter = {} }: { from?: string | Date; after?: string; to?: string | Date; filter?: Filter }): AsyncGenerator<RecordedLine> {
    if (Object.values(filter).some((list) => list?.length === 0)) throw new ToteboardError("invalid_filter", "a list is empty, so nothing passes");
    let begin: Query = after === undefined ? { from: from ?? new Date() } : { after };
    // What comes again after a cut.
    const last = new Map<string, string>();
    let isAfterCut = false;
    for (let failed = 0; ; failed++) {
      try {
        for await (const text of this.#http.lines(`/api/history/changes/${region}`, { ...begin, to, ...single(filter) })) {
          let line: RecordedLine | { event: "end"; data: { cursor: string | null } } | { event: "error"; data: { code: string; message: string } };
          try {
            line = JSON.parse(text);
          } catch {
            // It was cut off.
            break;
          }
          if (line.event === "end") return;
          if (line.event === "error") throw new ToteboardError(line.data.code, line.data.message);
          failed = 0;
          if (line.event === "snapshot" || line.event === "odds") {
            begin = { after: line.data.cursor };
            isAfterCut = false;
          } else {
            const text = JSON.stringify(line.data);
            const isAgain = isAfterCut && last.get(line.event) === text;
            last.set(line.event, text);
            if (isAgain) continue;
          }
          yield line;
        }
      } catch (error) {
        const isFirst = "from" in begin && last.size === 0;
        if (!(error instanceof ToteboardError && error.isTemporary) || isFirst || failed >= ATTEMPTS) throw error;
      }
      isAfterCut = true;
      await new Promise((resolve) => setTimeout(resolve, GO_ON_AFTER));
    }
  }

  /** The price of an outcome over time, at each bookmaker. */
  series(query: { event: string; market: string; outcome: string; point?: number; description?: string; region?: Region[]; bookmaker?: string[]; from?: string | Date; to?: string | Date; points?: number }): Promise<{
    series: { region: Region; bookmaker: string; times: number[]; prices: (number | null)[] }[];
    regions: { region: Region; gaps: { from: string | null; until: string }[]; cursor: string | null; recorded_until: string | null }[];
  }> {
    return this.#http.get("/api/history/series", query);
  }

  /** The events that were on the boards. */
  events(query: { region?: Region[]; sport?: string[]; q?: string; from?: string | Date; to?: string | Date; limit?: number } = {}): Promise<{ events: { id: string; [field: string]: unknown }[]; more: boolean }> {
    return this.#http.get("/api/history/events", query);
  }

  /** What the prices of an event did: the first and the last, the lowest and the highest. */
  event(id: string, query: { region?: Region[]; market?: string; bookmaker?: string[]; to?: string | Date } = {}): Promise<{ id: string; regions: unknown[] }> {
    return this.#http.get(`/api/history/events/${encodeURIComponent(id)}`, query);
  }

  /** The prices at an event's start, and the consensus of the bookmakers. */
  closing(id: string, query: { at?: string | Date; market?: string; outcome?: string; price?: number } = {}): Promise<{ id: string; regions: unknown[] }> {
    return this.#http.get(`/api/history/events/${encodeURIComponent(id)}/closing`, query);
  }
}

/** A filter as parameters of a request, each of which is named in the singular. */
export function single({ sports, events, bookmakers, markets }: Filter): Query {
  return { sport: sports, event: events, bookmaker: bookmakers, market: markets };
}
