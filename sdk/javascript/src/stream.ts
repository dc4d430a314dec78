// A connection that mirrors regions exactly, for as long as it is open.

import { io, type Socket } from "socket.io-client";

import { Mirror, type Board, type Taken } from "./board.js";
import { ToteboardError, refusal } from "./errors.js";
import { Freshness } from "./freshness.js";
import { single } from "./history.js";
import type { Http } from "./http.js";
import type { Alert, Bye, Change, Feed, Filter, Odds, Region, Replay, Snapshot, Subscriptions } from "./types.js";

/** The gateway sends a feed at least every ten seconds. */
const SILENT_AFTER = 35_000;
const LONGEST_WAIT = 30_000;
/** How often a wrong board is asked for at once. */
const WRONG_EVERY = 30_000;
const FIRST_WITHIN = 30_000;
/** How many ids of alerts are remembered, so that none is handed out twice. */
const ALERTS = 1_000;

export interface StreamOptions {
  /** Only for this connection; without it, those of the account. */
  regions?: Region[];
  filter?: Filter;
  /** The most frames a second in each region, from 0.01 to 1000. */
  maxRate?: number;
  /** The past instead of the present. */
  replay?: Replay;
  /** The id of the last alert that you have: you get those after it. */
  alerts?: string;
  /** Whether the gateway sends a digest with each frame, which is compared with that of the board. True, if absent. */
  digest?: boolean;
  /** Get the first board by HTTP, which is compressed, and go on from it. Not for replays. */
  firstByHttp?: boolean;
  /** The ways to connect; all that the library knows, if absent. */
  transports?: ("polling" | "websocket")[];
}

/** What a stream tells. */
export interface StreamEvents {
  /** A region has a whole new board. */
  board: Board;
  /** A region's board has changed: it is the board after these changes. */
  change: { board: Board; changes: Change[] };
  feed: Feed;
  alert: Alert;
  /** The regions are these now. */
  subscriptions: Region[];
  /** `connecting`, `live` once all boards are up to date, `offline`, `ended`. */
  state: State;
  /** Something went wrong that does not end the stream. */
  trouble: ToteboardError;
  /** The stream has ended, and does not connect again. */
  end: ToteboardError | null;
}

export type State = "connecting" | "live" | "offline" | "ended";

type Listener<T> = (value: T) => void;

/** A connection that mirrors regions exactly. */
export class Stream {
  state: State = "connecting";
  readonly freshness = new Freshness();
  /** How many frames brought the digest of the board that they led to. */
  checked = 0;
  readonly #http: Http;
  readonly #options: StreamOptions;
  readonly #mirrors = new Map<Region, Mirror>();
  readonly #listeners = new Map<string, Set<Listener<never>>>();
  readonly #alerts = new Set<string>();
  readonly #replay: Record<string, unknown> | undefined;
  #filter: Filter;
  #lastAlert: string | undefined;
  /** The regions of this connection have come. */
  #isSubscribed = false;
  #socket: Socket | null = null;
  #heardAt = Date.now();
  #wait = 1_000;
  #timers = new Set<ReturnType<typeof setTimeout>>();
  #watchdog: ReturnType<typeof setInterval> | null = null;
  #ended: { error: ToteboardError | null } | null = null;

  /** @internal */
  constructor(http: Http, options: StreamOptions) {
    this.#http = http;
    this.#options = options;
    this.#filter = options.filter ?? {};
    this.#lastAlert = options.alerts;
    const { replay } = options;
    // A time that is none is refused here.
    this.#replay = replay && { ...replay, at: new Date(replay.at).toISOString(), ...(replay.until !== undefined && { until: new Date(replay.until).toISOString() }) };
    // Listeners that are set at once miss nothing.
    queueMicrotask(() => void this.#begin());
  }

  /** Calls `listener` each time. Returns a function that ends that. */
  on<K extends keyof StreamEvents>(event: K, listener: Listener<StreamEvents[K]>): () => void {
    const listeners = this.#listeners.get(event) ?? new Set();
    this.#listeners.set(event, listeners);
    listeners.add(listener as Listener<never>);
    return () => void listeners.delete(listener as Listener<never>);
  }

  /** The regions that are mirrored. */
  get regions(): Region[] {
    return [...this.#mirrors.keys()];
  }

  /** A region's board. Undefined if the region is not mirrored, or its first board has not come. */
  board(region: Region): Board | undefined {
    const board = this.#mirrors.get(region)?.board;
    return board?.cursor ? board : undefined;
  }

  /** Whether a price is live now: of a bookmaker for an event. */
  isLive(region: Region, event: string, bookmaker?: string): boolean {
    const sport = this.board(region)?.events.get(event)?.sport_key;
    const isUpToDate = this.#mirrors.get(region)?.isUpToDate === true && this.state === "live";
    return isUpToDate && sport !== undefined && this.freshness.isLive(region, sport, bookmaker);
  }

  /** Waits until all boards are up to date. Fails if the stream ends before. */
  async ready(): Promise<this> {
    if (this.#ended) throw this.#ended.error ?? new ToteboardError("ended", "the stream was closed");
    if (this.state === "live") return this;
    return new Promise((resolve, reject) => {
      const stops = [
        this.on("state", (state) => {
          if (state !== "live") return;
          stops.forEach((stop) => stop());
          resolve(this);
        }),
        this.on("end", (error) => {
          stops.forEach((stop) => stop());
          reject(error ?? new ToteboardError("ended", "the stream was closed"));
        }),
      ];
    });
  }

  /** Changes the regions: those of this connection if it has its own, or else those of the account. */
  async subscribe(regions: Region[]): Promise<void> {
    await this.#request("subscribe", { regions });
    if (this.#options.regions) this.#options.regions = regions;
  }

  /** Narrows the stream. Each region starts with a whole board under the new filter. */
  async filter(filter: Filter): Promise<void> {
    try {
      await this.#request("filter", filter);
    } catch (error) {
      // Whether the gateway has the new filter is unknown: a new connection has the old one.
      if (error instanceof ToteboardError && error.code === "unreachable") this.#reconnect(0);
      throw error;
    }
    this.#filter = filter;
  }

  /** Closes the connection for good. */
  close(): void {
    this.#end(null);
  }

  async #begin(): Promise<void> {
    if (this.#ended) return;
    if (this.#options.firstByHttp !== false && !this.#options.replay) await this.#firstBoards();
    if (this.#ended) return;
    const socket = io(this.#http.url, {
      ...(this.#options.transports && { transports: this.#options.transports }),
      // Not shared with another stream to the same gateway.
      forceNew: true,
      // A function, so that a reconnect sends the cursors of then.
      auth: (send) => send(this.#hello()),
    });
    this.#socket = socket;
    for (const name of ["subscriptions", "snapshot", "odds", "feed", "alert", "bye"] as const) {
      socket.on(name, (payload) => {
        this.#heardAt = Date.now();
        this.#take(name, payload);
      });
    }
    socket.on("connect", () => {
      [this.#heardAt, this.#wait, this.#isSubscribed] = [Date.now(), 1_000, false];
      for (const mirror of this.#mirrors.values()) mirror.connected();
    });
    socket.on("disconnect", (reason) => {
      this.#set("offline");
      // In all other cases the library reconnects by itself.
      if (reason === "io server disconnect" && !this.#ended) this.#connectIn(this.#wait);
    });
    socket.on("connect_error", (error) => this.#refused(error.message));
    // The gateway must answer soon after the connection is open.
    socket.io.on("open", () => (this.#heardAt = Date.now()));
    this.#watchdog = setInterval(() => this.#watch(), 1_000);
  }

  /** Gets the first boards by HTTP. What fails is got over the connection. */
  async #firstBoards(): Promise<void> {
    // No parameter of a request says "nothing".
    if (Object.values(this.#filter).some((list) => list?.length === 0)) return;
    try {
      const regions = this.#options.regions ?? (await this.#http.get<Subscriptions>("/api/subscriptions", {}, FIRST_WITHIN)).regions;
      const boards = regions.map(async (region) => {
        const snapshot = await this.#http.get<Snapshot>(`/api/odds/${region}`, single(this.#filter), FIRST_WITHIN);
        const mirror = this.#mirror(region);
        mirror.seed(snapshot);
        return [region, mirror] as const;
      });
      for (const [region, mirror] of await Promise.all(boards)) this.#mirrors.set(region, mirror);
      for (const mirror of this.#mirrors.values()) this.#tell("board", mirror.board);
    } catch (error) {
      const reason = error instanceof ToteboardError ? error : new ToteboardError("unreachable", String(error));
      if (!reason.isTemporary) return this.#end(reason);
      this.#tell("trouble", reason);
    }
  }

  #mirror(region: Region): Mirror {
    return new Mirror(region, this.#options.digest !== false);
  }

  #hello(): Record<string, unknown> {
    const { regions, maxRate } = this.#options;
    const known = [...this.#mirrors].filter(([, { board }]) => board.cursor !== null);
    return {
      v: 1,
      token: this.#http.token,
      regions,
      filter: this.#filter,
      max_rate: maxRate,
      resume: Object.fromEntries(known.map(([region, { board }]) => [region, board.cursor])),
      alerts: this.#lastAlert,
      replay: this.#replay,
      digest: this.#options.digest !== false,
    };
  }

  #take(name: string, payload: unknown): void {
    if (name === "subscriptions") this.#subscriptions(payload as Subscriptions);
    else if (name === "alert") this.#alert(payload as Alert);
    else if (name === "bye") this.#bye(payload as Bye);
    else this.#frame(name, payload as Snapshot | Odds | Feed);
  }

  #frame(name: string, payload: Snapshot | Odds | Feed): void {
    // Over long polling, a response can be lost: without its regions, a connection is of no use.
    if (!this.#isSubscribed) return this.#reconnect(0);
    const mirror = this.#mirrors.get(payload.region);
    if (!mirror) return;
    let taken: Taken;
    if (name === "snapshot") taken = mirror.snapshot(payload as Snapshot);
    else if (name === "odds") taken = mirror.odds(payload as Odds);
    else taken = mirror.feed(payload as Feed);
    if (taken === "resync") this.#socket?.emit("resync", { region: payload.region, cursor: mirror.board.cursor ?? undefined }, () => {});
    if (taken === "wrong") {
      this.#tell("trouble", new ToteboardError("wrong_digest", `the board of ${payload.region} is not that of the gateway`));
      // Boards that are wrong again and again are asked for when feeds come.
      if (Date.now() - mirror.wrongAt > WRONG_EVERY) this.#socket?.emit("resync", { region: payload.region }, () => {});
      mirror.wrongAt = Date.now();
      if (this.state === "live") this.#set("connecting");
    }
    const isChecked = this.#options.digest !== false && name !== "feed" && (payload as Snapshot | Odds).digest !== undefined;
    if (isChecked && (taken === "whole" || taken === "changed")) this.checked += 1;
    if (taken === "whole") this.#tell("board", mirror.board);
    if (taken === "changed") this.#tell("change", { board: mirror.board, changes: (payload as Odds).events });
    if (name !== "feed") return;
    // What is live of a newer board must not count for this one.
    if (taken !== "resync") this.freshness.take(payload as Feed);
    this.#tell("feed", payload as Feed);
    this.#look();
  }

  /** The stream is live once all boards are up to date. */
  #look(): void {
    if (this.state !== "live" && this.#isSubscribed && [...this.#mirrors.values()].every((mirror) => mirror.isUpToDate)) this.#set("live");
  }

  #subscriptions({ regions }: Subscriptions): void {
    for (const region of this.#mirrors.keys()) if (!regions.includes(region)) this.#mirrors.delete(region);
    const added = regions.filter((region) => !this.#mirrors.has(region));
    for (const region of added) this.#mirrors.set(region, this.#mirror(region));
    this.#isSubscribed = true;
    if (added.length > 0 && this.state === "live") this.#set("connecting");
    this.#tell("subscriptions", regions);
    this.#look();
  }

  #alert(alert: Alert): void {
    // After a reconnect, one may come again.
    if (this.#alerts.has(alert.id)) return;
    this.#alerts.add(alert.id);
    if (this.#alerts.size > ALERTS) this.#alerts.delete(this.#alerts.values().next().value!);
    this.#lastAlert = alert.id;
    this.#tell("alert", alert);
  }

  #bye({ code, message, retry_after_ms }: Bye): void {
    const error = new ToteboardError(code, message);
    if (retry_after_ms === undefined) return this.#end(error);
    this.#tell("trouble", error);
    this.#reconnect(retry_after_ms);
  }

  #reconnect(after: number): void {
    this.#isSubscribed = false;
    this.#socket?.disconnect();
    this.#connectIn(after);
  }

  #refused(message: string): void {
    const error = refusal(message);
    this.#set("offline");
    // The library retries by itself if the gateway can't be reached, but not if the gateway refused.
    if (!this.#socket?.active && !error.isTemporary) return this.#end(error);
    this.#tell("trouble", error);
    if (this.#socket?.active) return;
    this.#connectIn(this.#wait);
    this.#wait = Math.min(2 * this.#wait, LONGEST_WAIT);
  }

  /** Connects again if nothing has come for longer than is allowed. A slow replay may be silent. */
  #watch(): void {
    const silentAfter = Math.max(SILENT_AFTER, 1_000 / (this.#options.maxRate ?? 1_000) + 25_000);
    const isIdle = this.#isSubscribed && (this.#replay !== undefined || this.#mirrors.size === 0);
    if (isIdle || !this.#socket?.active || Date.now() - this.#heardAt < silentAfter) return;
    this.#tell("trouble", new ToteboardError("silent", `nothing has come for ${silentAfter / 1_000} s`));
    this.#heardAt = Date.now();
    this.#reconnect(0);
  }

  #connectIn(milliseconds: number): void {
    const timer = setTimeout(() => {
      this.#timers.delete(timer);
      this.#heardAt = Date.now();
      this.#socket?.connect();
    }, milliseconds);
    this.#timers.add(timer);
  }

  async #request(name: string, payload: unknown): Promise<void> {
    if (!this.#socket?.connected) throw new ToteboardError("unreachable", "the stream is not connected");
    const answer = (await this.#socket.timeout(30_000).emitWithAck(name, payload).catch(() => {
      throw new ToteboardError("unreachable", `${name} was not answered`);
    })) as { error?: { code: string; message: string } };
    if (answer.error) throw new ToteboardError(answer.error.code, answer.error.message);
  }

  #end(error: ToteboardError | null): void {
    if (this.#ended) return;
    this.#ended = { error };
    this.#timers.forEach(clearTimeout);
    if (this.#watchdog) clearInterval(this.#watchdog);
    this.#socket?.disconnect();
    this.#set("ended");
    this.#tell("end", error);
  }

  #set(state: State): void {
    if (this.state === state || (this.#ended && state !== "ended")) return;
    this.state = state;
    this.#tell("state", state);
  }

  #tell<K extends keyof StreamEvents>(event: K, value: StreamEvents[K]): void {
    for (const listener of [...(this.#listeners.get(event) ?? [])]) {
      try {
        (listener as Listener<StreamEvents[K]>)(value);
      } catch (error) {
        // What a listener does wrong is its own fault, and not the end of the stream.
        queueMicrotask(() => {
          throw error;
        });
      }
    }
  }
}
