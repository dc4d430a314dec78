// A slow network in front of a gateway: all connections share one link in each direction.

import { once } from "node:events";
import net from "node:net";

/** Above this number of bytes on the link, nothing more is read. */
const MOST_QUEUED = 65_536;
const PIECE = 1_460;

/** One direction of the link. */
class Link {
  #bytesASecond;
  #delay;
  #freeAt = 0;
  #queued = 0;
  /** Who waits until there is room on the link. */
  #paused = new Set();

  constructor(bytesASecond, delay) {
    this.#bytesASecond = bytesASecond;
    this.#delay = delay;
  }

  /** Carries what `from` sends to `to`. The first bytes are `later` milliseconds late. */
  carry(from, to, later) {
    let open = performance.now() + later;
    from.on("data", (bytes) => {
      for (let at = 0; at < bytes.length; at += PIECE) {
        const piece = bytes.subarray(at, at + PIECE);
        this.#freeAt = Math.max(this.#freeAt, performance.now(), open) + (1_000 * piece.length) / this.#bytesASecond;
        this.#queued += piece.length;
        setTimeout(() => {
          this.#queued -= piece.length;
          to.write(piece);
          if (this.#queued < MOST_QUEUED) this.#resume();
        }, this.#freeAt + this.#delay - performance.now());
      }
      open = 0;
      if (this.#queued >= MOST_QUEUED) this.#paused.add(from.pause());
    });
    from.on("end", () => setTimeout(() => to.end(), Math.max(0, this.#freeAt - performance.now()) + this.#delay));
  }

  #resume() {
    for (const socket of this.#paused) socket.resume();
    this.#paused.clear();
  }
}

/** Starts it, with a time for each round trip, in milliseconds, and the bytes a second down to the client and up. */
export async function startSlowNetwork(gatewayUrl, { roundTrip, down, up }) {
  const { hostname, port } = new URL(gatewayUrl);
  const [toClient, toGateway] = [new Link(down, roundTrip / 2), new Link(up, roundTrip / 2)];
  const sockets = new Set();
  const server = net.createServer((client) => {
    const gateway = net.connect(Number(port), hostname);
    const end = () => [client, gateway].forEach((socket) => socket.destroy());
    for (const socket of [client, gateway]) {
      sockets.add(socket);
      socket.setNoDelay(true).on("error", end).on("close", () => sockets.delete(socket));
    }
    // A connection takes a round trip to open.
    toGateway.carry(client, gateway, roundTrip);
    toClient.carry(gateway, client, 0);
  });
  server.listen(0, "127.0.0.1");
  await once(server, "listening");
  return {
    url: `http://127.0.0.1:${server.address().port}`,
    stop() {
      server.close();
      sockets.forEach((socket) => socket.destroy());
    },
  };
}
