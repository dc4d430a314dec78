// Mirrors the boards of some regions and prints a line whenever one changes. With --every N it prints each board
// every N seconds instead, as one line of JSON in the format of GET /api/odds/{region}.
//
//   npm install
//   node mirror.mjs [--url http://127.0.0.1:8080] [--token tb_…] [--regions uk,eu] [--transport polling] [--every 5]

import { parseArgs } from "node:util";
import { io } from "socket.io-client";

/** Refusals that are worth another attempt. */
const TEMPORARY = ["stopping", "too_many_connections", "too_many_filters", "too_many_attempts", "store_unavailable"];

const { values: settings } = parseArgs({
  options: {
    url: { type: "string", default: "http://127.0.0.1:8080" },
    token: { type: "string" },
    regions: { type: "string" },
    transport: { type: "string" },
    every: { type: "string" },
  },
});

/**
 * The board of each region: its cursor and its events by id, each with its quotes by bookmaker and market. `incoming`
 * collects the parts of a snapshot; `asked` counts the feeds since a resync was requested, until it is answered.
 */
const boards = new Map();
let wait = 1_000;
/** The ids of the alerts that came. */
const alerts = new Set();

const socket = io(settings.url, {
  // By default the library starts with polling and upgrades to websocket.
  ...(settings.transport && { transports: [settings.transport] }),
  // A function, so that a reconnect sends the current cursors.
  auth: (send) => {
    const known = [...boards].filter(([, board]) => board.cursor);
    const resume = Object.fromEntries(known.map(([region, board]) => [region, board.cursor]));
    send({ v: 1, token: settings.token, regions: settings.regions?.split(","), resume, alerts: [...alerts].at(-1) });
  },
});

function apply(board, changes) {
  for (const { id, removed, quotes, ...details } of changes) {
    if (removed) {
      board.events.delete(id);
      continue;
    }
    const event = board.events.get(id) ?? { quotes: new Map() };
    board.events.set(id, Object.assign(event, details));
    for (const quote of quotes) {
      const key = `${quote.bookmaker} ${quote.market}`;
      if (quote.outcomes.length) event.quotes.set(key, quote);
      else event.quotes.delete(key);
    }
  }
}

function outOfStep(region, board) {
  board.incoming = null;
  // While a resync is open, a frame that doesn't fit was sent before the answer.
  if (board.asked === null) resync(region, board);
}

function resync(region, board) {
  board.asked = 0;
  socket.emit("resync", { region, cursor: board.cursor }, () => {});
}

socket.on("subscriptions", ({ regions }) => {
  for (const region of boards.keys()) if (!regions.includes(region)) boards.delete(region);
  for (const region of regions) {
    if (!boards.has(region)) boards.set(region, { cursor: null, events: new Map(), incoming: null, asked: null });
  }
});

socket.on("snapshot", ({ region, cursor, events, part = 1, parts = 1 }) => {
  const board = boards.get(region);
  if (!board) return;
  if (part === 1) Object.assign(board, { incoming: { cursor, part: 0, events: new Map() }, asked: null });
  const { incoming } = board;
  if (incoming?.cursor !== cursor || part !== incoming.part + 1) return outOfStep(region, board);
  apply(incoming, events);
  incoming.part = part;
  // The old board stays until the new one is complete.
  if (part < parts) return;
  show(region, Object.assign(board, { cursor, events: incoming.events, incoming: null }));
});

socket.on("odds", ({ region, prev, cursor, events }) => {
  const board = boards.get(region);
  if (!board) return;
  if (board.cursor !== prev) return outOfStep(region, board);
  apply(board, events);
  show(region, Object.assign(board, { cursor, asked: null }));
});

socket.on("feed", ({ region, state, reason, source, cursor }) => {
  console.error(`${region}: ${state}${reason ? ` (${reason})` : ""}, from ${source}`);
  const board = boards.get(region);
  if (!board) return;
  // Over long polling, a frame can be lost, and also a request or its answer.
  if (board.asked === null && cursor && cursor !== board.cursor) outOfStep(region, board);
  else if (board.asked !== null && ++board.asked === 2) resync(region, board);
});

socket.on("connect", () => {
  wait = 1_000;
  // Nothing that the previous connection left unfinished will be continued.
  for (const board of boards.values()) Object.assign(board, { incoming: null, asked: null });
});

socket.on("disconnect", (reason) => {
  console.error(`disconnected: ${reason}`);
  // In all other cases the library reconnects by itself, or we left on purpose.
  if (reason === "io server disconnect") connectIn(wait);
});

socket.on("alert", ({ id, kind, missed, home_team, away_team, outcome, price, bookmaker, value }) => {
  // After a reconnect, one may come again.
  if (alerts.has(id)) return;
  alerts.add(id);
  const what = [home_team, away_team, outcome, price ?? value, bookmaker].filter((it) => it != null).join(" ");
  console.error(`${missed ? "missed " : ""}alert: ${kind} ${what}`);
});

socket.on("bye", ({ code, message, retry_after_ms }) => {
  console.error(`bye: ${code}: ${message}`);
  if (retry_after_ms === undefined) return leave();
  socket.disconnect();
  connectIn(retry_after_ms);
});

socket.on("connect_error", ({ message }) => {
  console.error(`not connected: ${message}`);
  // The library retries by itself if the gateway can't be reached, but not if the gateway refused.
  if (socket.active) return;
  if (!TEMPORARY.includes(message.split(":")[0])) return leave();
  connectIn(wait);
  wait = Math.min(2 * wait, 30_000);
});

function connectIn(milliseconds) {
  setTimeout(() => socket.connect(), milliseconds);
}

/** Ends the program once all of its output is written, which `process.exit` would not wait for. */
function leave() {
  process.exitCode = 1;
  clearInterval(printing);
  socket.disconnect();
}

function show(region, { cursor, events }) {
  if (settings.every) return;
  const quotes = [...events.values()].reduce((sum, event) => sum + event.quotes.size, 0);
  console.log(`${region} ${cursor}: ${events.size} events, ${quotes} quotes`);
}

let printing;
if (settings.every) {
  printing = setInterval(() => {
    const plain = ([id, event]) => ({ ...event, id, quotes: [...event.quotes.values()] });
    for (const [region, { cursor, events }] of boards) {
      if (cursor) console.log(JSON.stringify({ region, cursor, events: [...events].map(plain) }));
    }
  }, Number(settings.every) * 1_000);
}
