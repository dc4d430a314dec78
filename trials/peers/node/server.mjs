// Records of one topic to everybody in the region's room: each as it comes, or, with --batch, the
// newest of each event every so many milliseconds. Who joins is sent what is known.
//
//     node server.mjs --brokers 127.0.0.1:9092 --region uk --port 3000 [--batch 100]

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
  },
});
const { region } = values;
const batch = Number(values.batch ?? 0);

const newest = new Map();
const changed = new Map();

const http = createServer((_, response) => response.end("here"));
const io = new Server(http, { serveClient: false });
io.on("connection", (socket) => {
  const { regions = [] } = socket.handshake.auth;
  if (regions.includes(region)) {
    socket.emit("snapshot", { region, events: [...newest.values()] });
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
    const id = message.key?.toString();
    // Markers are not for people.
    if (id === undefined || id.startsWith("~")) return;
    const event = message.value === null ? { id, removed: true } : { id, ...JSON.parse(message.value) };
    if (event.removed) newest.delete(id);
    else newest.set(id, event);
    if (batch) changed.set(id, event);
    else io.to(region).emit("odds", event);
  },
});
if (batch) {
  setInterval(() => {
    if (changed.size === 0) return;
    io.to(region).emit("odds", { region, events: [...changed.values()] });
    changed.clear();
  }, batch);
}

await joined;
http.listen({ port: Number(values.port), host: "127.0.0.1", backlog: 16_384 });
