// Mirrors the boards of some regions and prints each as it stands, one line a quote, whenever it
// changes. With --once it ends when every region was there, and prints the boards as JSON.
//
//   node mirror.mjs [--url http://127.0.0.1:8080] [--token tb_…] [--regions uk,eu] [--transport polling] [--once]

import { parseArgs } from "node:util";
import { io } from "socket.io-client";

const { values: settings } = parseArgs({
  options: {
    url: { type: "string", default: "http://127.0.0.1:8080" },
    token: { type: "string" },
    regions: { type: "string" },
    transport: { type: "string", default: "websocket" },
    once: { type: "boolean", default: false },
  },
});

/** Region by region: where it is, and its events by id, each with its quotes by bookmaker and market. */
const boards = new Map();
let wanted = [];

const socket = io(settings.url, {
  transports: [settings.transport],
  // A function, so that a reconnect sends today's cursors.
  auth: (send) => {
    const resume = Object.fromEntries([...boards].filter(([, board]) => board.cursor).map(([region, board]) => [region, board.cursor]));
    send({ v: 1, token: settings.token, regions: settings.regions?.split(","), resume });
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

socket.on("subscriptions", ({ regions }) => {
  wanted = regions;
  for (const region of boards.keys()) if (!regions.includes(region)) boards.delete(region);
});

socket.on("snapshot", ({ region, cursor, events, part = 1, parts = 1 }) => {
  if (part === 1) boards.set(region, { cursor: null, events: new Map() });
  const board = boards.get(region);
  apply(board, events);
  if (part === parts) board.cursor = cursor;
  show(region);
});

socket.on("odds", ({ region, prev, cursor, events }) => {
  const board = boards.get(region);
  if (board?.cursor !== prev) {
    if (board?.asked) return;
    if (board) board.asked = true;
    socket.emit("resync", { region, cursor: board?.cursor ?? undefined }, () => {});
    return;
  }
  board.asked = false;
  apply(board, events);
  board.cursor = cursor;
  show(region);
});

socket.on("feed", ({ region, state, reason, source }) => {
  console.error(`${region}: ${state}${reason ? ` (${reason})` : ""}, from ${source}`);
});

socket.on("bye", ({ code, message, retry_after_ms }) => {
  console.error(`sent away: ${code}: ${message}`);
  if (retry_after_ms === undefined) process.exitCode = 1;
});

socket.on("connect_error", (error) => {
  console.error(`not connected: ${error.message}`);
  // Turned away: it would be again. Not reached: the client tries again by itself.
  if (!socket.active) process.exit(1);
});

function show(region) {
  const board = boards.get(region);
  if (!settings.once) {
    const quotes = [...board.events.values()].reduce((sum, event) => sum + event.quotes.size, 0);
    console.log(`${region} ${board.cursor}: ${board.events.size} events, ${quotes} quotes`);
    return;
  }
  if (wanted.length && wanted.every((name) => boards.get(name)?.cursor)) {
    const plain = ([name, { cursor, events }]) => [name, { cursor, events: Object.fromEntries([...events].map(([id, event]) => [id, { ...event, quotes: [...event.quotes.values()] }])) }];
    const text = JSON.stringify(Object.fromEntries([...boards].map(plain)));
    process.stdout.write(`${text}\n`, () => process.exit(0));
  }
}
