import assert from "node:assert/strict";
import { randomBytes } from "node:crypto";
import { io } from "socket.io-client";
import { Board } from "../board.mjs";
import { Connection, Polling, until } from "../connection.mjs";

/** Follows a region with the official client until it has so many frames and this transport. */
async function official(about, options, count, transport) {
  const board = new Board();
  const socket = io(about.url, { auth: { token: about.token, regions: ["uk"], digest: true }, forceNew: true, reconnection: false, ...options });
  socket.on("snapshot", (payload) => board.take("snapshot", payload)).on("odds", (payload) => board.take("odds", payload));
  try {
    const isDone = () => board.frames.length >= count && socket.io.engine.transport.name === transport;
    await until(`${count} frames over ${transport}`, () => board.wrong || isDone(), 30_000);
    assert.equal(board.wrong, undefined);
  } finally {
    socket.close();
  }
}

export const transports = {
  name: "Transports",
  checks: [
    [
      "the official client, with its defaults, upgrades from polling to websocket and misses nothing",
      (about) => official(about, {}, 12, "websocket"),
    ],
    ["long polling alone works", (about) => official(about, { transports: ["polling"] }, 8, "polling")],
    [
      "a board comes over long polling as over websocket",
      async (about) => {
        const polling = await Polling.open(about, { regions: ["uk"], digest: true });
        while (polling.board.frames.length < 4) assert.equal(await polling.poll(), 200);
        assert.equal(polling.board.wrong, undefined);
        assert.ok(polling.board.digests > 0, "no digest");
      },
    ],
    [
      "a poll that is repeated with the same `t` ends the session",
      async (about) => {
        const polling = await Polling.open(about, { regions: ["uk"] });
        assert.equal((await polling.get("same")).status, 200);
        assert.equal((await polling.get("same")).status, 400);
        assert.equal((await polling.get()).status, 400, "the session goes on");
      },
    ],
    [
      "responses to polls are compressed by gzip if the request accepts that",
      async (about) => {
        const polling = await Polling.open(about, { regions: ["uk"] });
        let compressed = false;
        for (let n = 0; n < 10 && !compressed; n++) {
          const response = await polling.get();
          compressed = response.headers.get("content-encoding") === "gzip";
          await response.text();
        }
        assert.ok(compressed, "no response was");
      },
    ],
    [
      "permessage-deflate is accepted, without context takeover on either side",
      async (about) => {
        const client = await Connection.accepted(about, { regions: ["uk"], digest: true }, { options: { perMessageDeflate: true } });
        await client.frames(["uk"], 3);
        for (const part of ["permessage-deflate", "server_no_context_takeover", "client_no_context_takeover"]) {
          assert.ok(client.extensions?.includes(part), `${part} is not in ${client.extensions}`);
        }
      },
    ],
    [
      "an offer that insists on a smaller window is declined, and the client is served without compression",
      async (about) => {
        const client = await Connection.accepted(about, { regions: ["uk"] }, { options: { perMessageDeflate: { serverMaxWindowBits: 10 } } });
        await client.frames(["uk"], 2);
        assert.equal(client.extensions, undefined);
      },
    ],
    [
      "what a client sends may be compressed",
      async (about) => {
        const options = { perMessageDeflate: { threshold: 0 } };
        const client = await Connection.accepted(about, { regions: ["uk"] }, { options });
        assert.deepEqual(await client.ask("filter", { sports: Array.from({ length: 100 }, (_, n) => `sport_${n}`) }), { ok: true });
      },
    ],
    [
      "both handshakes have the same `maxPayload`: a smaller message is taken, and a greater one ends the connection",
      async (about) => {
        const client = await Connection.accepted(about, { regions: ["uk"] });
        const { maxPayload } = client.handshake;
        assert.equal((await Polling.open(about, { regions: [] })).handshake.maxPayload, maxPayload);
        // It can't be compressed to a hundredth, which would end the connection, too.
        const padding = (length) => randomBytes(length).toString("hex").slice(0, length);
        const answer = await client.ask("bet", { padding: padding(maxPayload - 100) });
        assert.equal(answer.error?.code, "unknown_event");
        client.socket.send(`42${JSON.stringify(["filter", { sports: [padding(maxPayload)] }])}`);
        await until("the end of the connection", () => client.closed);
      },
    ],
    [
      "the first ping comes after the interval, and a client that answers none is disconnected",
      async (about) => {
        const client = await Connection.accepted(about, { regions: ["uk"] }, { answers: false });
        const { pingInterval, pingTimeout } = client.handshake;
        await until("a ping", () => client.pings.length > 0, pingInterval + 5_000);
        await until("the end of the connection", () => client.closed, pingInterval + pingTimeout + 10_000);
      },
    ],
  ],
};
