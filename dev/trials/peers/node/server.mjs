// The Socket.IO server that the race compares the gateway with. Sends one topic's records to all clients in the
// region's room: each record as it arrives; with --batch, the newest state of each event every so many milliseconds;
// with --changes as well, only the changed quotes, in Toteboard's format. A client that joins gets a snapshot. With
// --workers, that many processes share the port, and each reads the topic for its own clients.
//
//     node server.mjs --brokers 127.0.0.1:9092 --region uk --port 3000 [--batch 100 [--changes]] [--workers 2] [--compression]

import cluster from "node:cluster";
import { createServer } from "node:http";
import { parseArgs } from "node:util";

import { Kafka, logLevel } from "kafkajs";
import { Server } from "socket.io";

const { values } = parseArgs({
  options: {
    brokers: { type: "string" },
    region: { type: "string" },
    port: { type: "string" },
    "fetch-wait": { type: "string" },
    batch: { type: "string" },
    changes: { type: "boolean" },
    workers: { type: "string" },
    compression: { type: "boolean" },
  },
});
const { region } = values;
const workers = Number(values.workers ?? 1);

if (workers > 1 && cluster.isPrimary) lead();
else await serve();

/** Starts the workers, and lets them listen once all of them are in their consumer group. */
function lead() {
  let ready = 0;
  for (let n = 0; n < workers; n++) {
    cluster.fork().on("message", () => {
      if (++ready === workers) for (const worker of Object.values(cluster.workers)) worker.send("listen");
    });
  }
  cluster.on("exit", (_, code) => process.exit(code || 1));
}

async function serve() {
  const batch = Number(values.batch ?? 0);
  const board = values.changes ? quotesOfEvents() : imagesOfEvents();

  const http = createServer((_, response) => response.end("here"));
  // The threshold is that of the gateway, so that both compress the same frames.
  const perMessageDeflate = values.compression ? { threshold: 600 } : false;
  const io = new Server(http, { serveClient: false, perMessageDeflate });
  // Saves memory: the initial request of a connection is not needed any more.
  io.engine.on("connection", (connection) => (connection.request = null));
  io.on("connection", (socket) => {
    const { regions = [] } = socket.handshake.auth;
    if (regions.includes(region)) {
      socket.emit("snapshot", board.snapshot());
      socket.join(region);
    }
  });

  const kafka = new Kafka({ brokers: values.brokers.split(","), logLevel: logLevel.ERROR });
  const consumer = kafka.consumer({
    groupId: `node-${process.pid}`,
    sessionTimeout: 6_000,
    heartbeatInterval: 500,
    maxWaitTimeInMs: Number(values["fetch-wait"] ?? 5_000),
  });
  const joined = new Promise((resolve) => consumer.on(consumer.events.GROUP_JOIN, resolve));
  await consumer.connect();
  await consumer.subscribe({ topic: `odds.${region}`, fromBeginning: true });
  await consumer.run({
    eachMessage: async ({ message }) => {
      const event = board.read(message);
      if (event && !batch) io.to(region).emit("odds", event);
    },
  });
  if (batch) {
    setInterval(() => {
      const frame = board.changes();
      if (frame) io.to(region).emit("odds", frame);
    }, batch);
  }

  await joined;
  const listen = () => http.listen({ port: Number(values.port), host: "127.0.0.1", backlog: 16_384 });
  if (cluster.isPrimary) return listen();
  process.on("message", listen);
  process.send("ready");
}

/** A board of whole events, as in the records. */
function imagesOfEvents() {
  const newest = new Map();
  const changed = new Map();
  return {
    read({ key, value }) {
      const id = key?.toString();
      // Markers are not sent to clients.
      if (id === undefined || id.startsWith("~")) return undefined;
      const event = value === null ? { id, removed: true } : { id, ...JSON.parse(value) };
      if (event.removed) newest.delete(id);
      else newest.set(id, event);
      changed.set(id, event);
      return event;
    },
    snapshot: () => ({ region, events: [...newest.values()] }),
    changes() {
      if (changed.size === 0) return undefined;
      const events = [...changed.values()];
      changed.clear();
      return { region, events };
    },
  };
}

/** A board of single quotes, which tracks the quotes that have changed. */
function quotesOfEvents() {
  const newest = new Map();
  const changed = new Map();
  let [cursor, sent] = ["", ""];

  const change = (id, details) => {
    let it = changed.get(id);
    if (!it || it.removed) changed.set(id, (it = { ...details, quotes: new Map() }));
    return it;
  };
  const plain = (id, { quotes, ...event }) => ({ id, ...event, ...(quotes && { quotes: [...quotes.values()] }) });
  const whole = ([id, { details, quotes }]) => plain(id, { ...details, quotes });

  return {
    read({ key, value, headers }) {
      const id = key?.toString();
      if (id === undefined) return;
      if (id.startsWith("~")) {
        const { digest } = JSON.parse(value);
        if (digest) cursor = `${headers.term}-${headers.step}-${digest}`;
        return;
      }
      if (value === null) {
        if (newest.delete(id)) changed.set(id, { removed: true });
        return;
      }
      const { bookmakers, id: _, ...details } = JSON.parse(value).event;
      const before = newest.get(id);
      // An event's records are in both partitions, which are read in turns, so an older one may arrive later. All
      // belong to one leader's term.
      const step = Number(headers.step);
      if (step < before?.step) return;
      const quotes = new Map();
      for (const { key: bookmaker, markets } of bookmakers) {
        for (const { key: market, last_update, outcomes } of markets) {
          const name = `${bookmaker} ${market}`;
          const old = before?.quotes.get(name);
          const quote = old?.last_update === last_update ? old : { bookmaker, market, last_update, outcomes };
          quotes.set(name, quote);
          if (quote !== old) change(id, before ? {} : details).quotes.set(name, quote);
        }
      }
      for (const [name, { bookmaker, market }] of before?.quotes ?? []) {
        if (!quotes.has(name)) change(id, {}).quotes.set(name, { bookmaker, market });
      }
      newest.set(id, { details, quotes, step });
    },
    // The snapshot includes changes since the last frame, which the next frame sends again.
    snapshot: () => ({ region, cursor: sent, events: [...newest].map(whole) }),
    changes() {
      // Each frame must have a newer cursor than the previous one.
      if (changed.size === 0 || cursor === sent) return undefined;
      const events = [...changed].map(([id, event]) => plain(id, event));
      changed.clear();
      const prev = sent;
      sent = cursor;
      return { region, prev, cursor, events };
    },
  };
}
