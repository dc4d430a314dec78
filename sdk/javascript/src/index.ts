// The client of a Toteboard gateway.

import { History } from "./history.js";
import { Http, type Query } from "./http.js";
import { Stream, type StreamOptions } from "./stream.js";
import type { Alert, Feed, Produced, Region, Replay, Transaction } from "./types.js";

export { Board, type BoardEvent } from "./board.js";
export { BoardDigest } from "./digest.js";
export { ToteboardError } from "./errors.js";
export { Freshness } from "./freshness.js";
export { History, type RecordedBoard } from "./history.js";
export { Stream, type State, type StreamEvents, type StreamOptions } from "./stream.js";
export type * from "./types.js";

export interface Options {
  /** The gateway's address, such as `https://odds.example.com`. */
  url: string;
  /** A token of the account: `tb_…`. A page of the gateway's own origin can do without. */
  token?: string;
}

/** A rule, as `docs/alerts.md` describes it. */
export type Rule = { kind: string } & Record<string, unknown>;

/** The client of a gateway. */
export class Toteboard {
  readonly history: History;
  readonly #http: Http;

  constructor({ url, token }: Options) {
    this.#http = new Http(url, token);
    this.history = new History(this.#http);
  }

  /** Mirrors regions, for as long as the stream is open. */
  stream(options: StreamOptions = {}): Stream {
    return new Stream(this.#http, { ...options });
  }

  /** Plays back what was recorded. The stream gets what live clients got then. */
  replay(replay: Replay, options: Omit<StreamOptions, "replay"> = {}): Stream {
    return new Stream(this.#http, { ...options, replay });
  }

  /** How fresh each region is. */
  feeds(): Promise<Feed[]> {
    return this.#http.get("/api/regions");
  }

  /** What moved most. docs/opportunities.md defines it. */
  movers(query: { region: Region; minutes?: number; since?: "opening"; sport?: string[]; market?: string[]; bookmaker?: string[]; min_bookmakers?: number; limit?: number }): Promise<{ from: string | null; to: string; movers: Record<string, unknown>[] }> {
    return this.#http.get("/api/movers", query);
  }

  /** Bets at live prices that win together. */
  arbitrages(query: { region?: Region[]; sport?: string[]; market?: string[]; bookmaker?: string[]; commission?: number; total?: number; round_to?: number; limit?: number } = {}): Promise<{ at: string; arbitrages: Record<string, unknown>[] }> {
    return this.#http.get("/api/opportunities/arbitrages", query);
  }

  /** Live prices that are better than the outcome's probability. */
  values(query: { region?: Region[]; sport?: string[]; market?: string[]; bookmaker?: string[]; commission?: number; sharp?: string; min_edge?: number; min_bookmakers?: number; limit?: number } = {}): Promise<{ at: string; values: Record<string, unknown>[] }> {
    return this.#http.get("/api/opportunities/values", query);
  }

  /** Your newest alerts, or those after an id. */
  alerts(query: { after?: string; limit?: number } = {}): Promise<{ alerts: Alert[]; unread: number }> {
    return this.#http.get("/api/alerts", query);
  }

  /** Marks alerts as read: these, or all. Returns how many are still unread. */
  readAlerts(ids?: string[]): Promise<{ unread: number }> {
    return this.#http.send("POST", "/api/alerts/read", ids ? { ids } : {});
  }

  async rules(): Promise<(Rule & { id: string })[]> {
    return this.#http.get("/api/rules");
  }

  /** Makes a rule. When it fires, every stream of yours gets an alert. */
  addRule(rule: Rule): Promise<Rule & { id: string }> {
    return this.#http.send("POST", "/api/rules", rule);
  }

  removeRule(id: string): Promise<void> {
    return this.#http.send("DELETE", `/api/rules/${encodeURIComponent(id)}`);
  }

  /** Has a customer notified by e-mail or SMS. The token needs the scope `produce`. Repeat it as it is if it fails. */
  produce(transaction: Transaction): Promise<Produced> {
    return this.#http.send("POST", "/api/v1/produce", { topic_name: "transactions", ...transaction });
  }

  /** Any other request: `/api/docs` of the gateway lists them. */
  get<T>(path: string, query?: Query): Promise<T> {
    return this.#http.get(path, query);
  }
}
