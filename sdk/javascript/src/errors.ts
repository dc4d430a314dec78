// What can go wrong, and what to do about it.

const ADVICE: Record<string, string> = {
  unauthenticated: "Make a token on the page, under Settings, and pass it as `token`.",
  forbidden_origin: "Pass a token: only pages of the gateway's own origin can do without.",
  missing_scope: "Make a token with the scope that this needs.",
  token_not_enough: "Sign in with the password on the page: a token can't do this.",
  bad_auth: "Correct the option that the message names.",
  too_many_attempts: "Wait a minute. If it goes on, look for a program with a wrong token at your address.",
  too_many_connections: "Close connections that you don't need, or try again later.",
  too_many_filters: "Use a filter that is in use, or fewer different ones.",
  too_many_requests: "Send fewer requests: more than 64 were waiting, or more than one change came each second.",
  busy: "Try again in a few seconds: the gateway has too much to do.",
  request_running: "Repeat the request in a moment, with the same request_id.",
  request_id_reused: "Use another request_id: another request had this one.",
  result_unknown: "Repeat the request, with the same request_id.",
  messages_unavailable: "Repeat the request in a few seconds, with the same request_id.",
  store_unavailable: "Try again in a few seconds: accounts can't be read at the moment.",
  history_disabled: "Ask whoever runs the gateway to start it with --history.",
  history_unavailable: "Try again in a few seconds: the history can't be read at the moment.",
  history_damaged: "What was recorded next is damaged: begin at a later time.",
  not_recorded: "Ask for another time: nothing is recorded of this one.",
  messages_disabled: "Ask whoever runs the gateway to start it with --outbox.",
  signed_out: "Make a new token: this one was revoked, or its account is disabled or deleted.",
  invalid_regions: "Use us, uk, eu or au.",
  invalid_filter: "Correct the field that the message names.",
  invalid: "Correct the field that the message names.",
  not_ready: "Try again in a moment: the gateway is still reading the board.",
  unreachable: "Check the address, and whether the gateway runs.",
  silent: "Nothing to do: the connection was dead, and is made again.",
  wrong_digest: "Nothing to do: the board is dropped and comes again. If it goes on, something changes what the gateway sends.",
  replay_over: "Everything that is recorded was replayed.",
  stopping: "Nothing to do: the gateway stops, and another one answers.",
};

/** Refusals that end by themselves. */
const TEMPORARY = new Set(["stopping", "store_unavailable", "busy", "request_running", "result_unknown", "messages_unavailable", "too_many_filters", "too_many_connections", "too_many_attempts", "too_many_requests", "history_unavailable", "not_ready", "unreachable"]);

/** What went wrong. `advice` says what to do. */
export class ToteboardError extends Error {
  /** What to do about it. */
  readonly advice: string;

  constructor(
    /** A stable name, as PROTOCOL.md lists them. */
    readonly code: string,
    message: string,
    /** The status of an HTTP answer. */
    readonly status?: number,
    /** The reason for each wrong field. */
    readonly fields: Record<string, string> = {},
  ) {
    const advice = ADVICE[code] ?? "See PROTOCOL.md and /api/docs of the gateway.";
    super(`${code}: ${message}. ${advice}`.replace("..", "."));
    this.name = "ToteboardError";
    this.advice = advice;
  }

  /** Whether it is worth to try again later. */
  get isTemporary(): boolean {
    return TEMPORARY.has(this.code);
  }
}

/** Reads `<code>: <text>`, in which form the gateway refuses a connection. */
export function refusal(text: string): ToteboardError {
  const [, code, message] = /^(\w+): (.*)$/s.exec(text) ?? [];
  return code && message ? new ToteboardError(code, message) : new ToteboardError("unreachable", text);
}
