// Mirrors the boards of some regions and says a line whenever one changes. With --seconds it ends after
// so many, and prints the boards as JSON.
//
//   node mirror.mjs [--url http://127.0.0.1:8080] [--token tb_…] [--regions uk,eu] [--transport polling] [--seconds 5]

import { parseArgs } from "node:util";
import { io } from "socket.io-client";

const { values: settings } = parseArgs({
  options: {
    url: { type: "string", default: "http://127.0.0.1:8080" },
    token: { type: "string" },
    regions: { type: "string" },
    transport: { type: "string", default: "websocket" },
    seconds: { type: "string" },
  },
});

/** Region by region: where it is, and its events by id, each with its quotes by bookmaker and market. */
const boards = new Map();

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
  if (settings.seconds) return;
  const board = boards.get(region);
  const quotes = [...board.events.values()].reduce((sum, event) => sum + event.quotes.size, 0);
  console.log(`${region} ${board.cursor}: ${board.events.size} events, ${quotes} quotes`);
}

if (settings.seconds) {
  setTimeout(() => {
    const plain = ([id, event]) => [id, { ...event, quotes: [...event.quotes.values()] }];
    const events = ([region, board]) => [region, Object.fromEntries([...board.events].map(plain))];
    process.stdout.write(`${JSON.stringify(Object.fromEntries([...boards].map(events)))}\n`, () => process.exit(0));
  }, Number(settings.seconds) * 1000);
}
