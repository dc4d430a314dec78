// The payloads of the protocol. Later versions may add fields.

export type Region = "us" | "uk" | "eu" | "au";

export interface Outcome {
  name: string;
  /** Decimal odds. */
  price: number;
  point?: number;
  description?: string;
}

/** A bookmaker's prices of a market. */
export interface Quote {
  bookmaker: string;
  market: string;
  /** Since when the bookmaker has had these prices. */
  last_update: string;
  outcomes: Outcome[];
}

export interface EventDetails {
  id: string;
  sport_key: string;
  sport_title: string;
  commence_time: string;
  home_team: string | null;
  away_team: string | null;
}

/** A change of an event: a new one has details, a quote without outcomes is withdrawn. */
export type Change = { id: string; removed: true } | (Partial<EventDetails> & { id: string; removed?: never; quotes?: Quote[] });

/** What narrows a stream. An absent list lets everything through. */
export interface Filter {
  sports?: string[];
  events?: string[];
  bookmakers?: string[];
  markets?: string[];
}

/** How fresh a region is. */
export interface Feed {
  region: Region;
  /** The gateway's clock, or that of a replay. */
  at: string;
  /** `live`, `stale` or `down`; later versions may add states, which count as stale. */
  state: string;
  reason?: string;
  source: string;
  sports: Record<string, { polled_at: string; stale_after: string }>;
  bookmakers: Record<string, string>;
  bookmaker_names?: Record<string, string>;
  cursor?: string;
}

/** A rule of yours has fired. `docs/alerts.md` says what the fields of each kind are. */
export interface Alert {
  id: string;
  rule: string;
  at: string;
  missed: boolean;
  kind: string;
  [field: string]: unknown;
}

export interface Snapshot {
  region: Region;
  cursor: string;
  events: Change[];
  part?: number;
  parts?: number;
  /** Of the board that has taken all parts. */
  digest?: number;
}

export interface Odds {
  region: Region;
  prev: string;
  cursor: string;
  events: Change[];
  /** Of the board that has taken this. */
  digest?: number;
}

export interface Subscriptions {
  v: number;
  revision?: number;
  regions: Region[];
}

export interface Bye {
  code: string;
  message: string;
  retry_after_ms?: number;
}

/** The time and the speed of a replay. */
export interface Replay {
  at: string | Date;
  /** How many seconds pass in one; 0 is as fast as you take the steps. */
  speed?: number;
  until?: string | Date;
}

/** A line of the stream of recorded changes. */
export type RecordedLine =
  | { event: "snapshot"; at: string; data: Snapshot }
  | { event: "odds"; at: string; data: Odds }
  | { event: "feed"; at: string; data: { region: Region; state: string; reason?: string; source: string } }
  | { event: "gap"; at: string; data: { region: Region; from: string | null; until: string } };

export interface Transaction {
  /** Your own name for the request: repeat it with the same one if there was no answer. */
  request_id: string;
  transaction_id: string;
  message_body: string;
  topic_name?: string;
  email?: string;
  phone?: string;
  customer_id?: string;
  key?: string;
  partition?: number;
}

export interface Produced {
  topic: string;
  partition: number;
  offset: number;
  timestamp: string;
  latency_ms: number;
}
