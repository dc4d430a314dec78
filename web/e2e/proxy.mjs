// A slow TCP proxy in front of a gateway, which can cut connections.

import { once } from "node:events";
import net from "node:net";

/**
 * Starts a proxy to the gateway at this address. It limits websockets to `bytesASecond` and tracks whether one is in
 * the middle of a snapshot.
 */
export async function startProxy(gatewayUrl, bytesASecond) {
  const { hostname, port } = new URL(gatewayUrl);
  const websockets = new Set();
  const all = new Set();
  const server = net.createServer((client) => {
    const gateway = net.connect(Number(port), hostname);
    const connection = { client, gateway, isInSnapshot: false };
    const end = () => {
      all.delete(connection);
      websockets.delete(connection);
      client.destroy();
      gateway.destroy();
    };
    all.add(connection);
    for (const socket of [client, gateway]) socket.setNoDelay(true).on("error", end).on("close", end);
    client.on("data", (bytes) => {
      if (bytes.includes("Upgrade: websocket")) websockets.add(connection);
      gateway.write(bytes);
    });
    gateway.on("data", async (bytes) => {
      if (!websockets.has(connection)) return client.write(bytes);
      gateway.pause();
      connection.isInSnapshot = isInSnapshot(bytes.toString("latin1"), connection.isInSnapshot);
      client.write(bytes);
      await new Promise((resolve) => setTimeout(resolve, (1_000 * bytes.length) / bytesASecond));
      gateway.resume();
    });
  });
  server.listen(0, "127.0.0.1");
  await once(server, "listening");
  const cut = (connections) => {
    for (const { client, gateway } of connections) {
      client.resetAndDestroy();
      gateway.destroy();
    }
  };
  return {
    url: `http://127.0.0.1:${server.address().port}`,
    /** Cuts all websockets. Returns their number, and how many of them were in the middle of a snapshot. */
    cut() {
      const cuts = { all: websockets.size, inSnapshot: [...websockets].filter((it) => it.isInSnapshot).length };
      cut([...websockets]);
      return cuts;
    },
    /** Returns whether a websocket is in the middle of a snapshot. */
    isInSnapshot: () => [...websockets].some((it) => it.isInSnapshot),
    stop() {
      server.close();
      cut([...all]);
    },
  };
}

/** Returns whether the last event that begins in these bytes is a part of a snapshot, and not its last part. */
function isInSnapshot(text, before) {
  const start = Math.max(text.lastIndexOf('42["snapshot"'), text.lastIndexOf('42["odds"'));
  if (start < 0) return before;
  // The fields may be at the beginning or at the end of the event.
  const parts = text.slice(start).match(/"part":(\d+),"parts":(\d+)/);
  return text.startsWith('42["snapshot"', start) && (!parts || parts[1] !== parts[2]);
}
