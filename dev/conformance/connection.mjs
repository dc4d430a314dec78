// Connections that hide nothing: Engine.IO 4 and Socket.IO 5 by hand.

import WebSocket from "ws";
import { Board } from "./board.mjs";

export const sleep = (ms) => new Promise((resolve) => setTimeout(resolve, ms));

/** Waits until `holds` returns something. Fails with `what` after so many milliseconds. */
export async function until(what, holds, within = 15_000) {
  const end = Date.now() + within;
  for (;;) {
    const result = holds();
    if (result) return result;
    if (Date.now() > end) throw new Error(`${what}: not within ${within / 1000} s`);
    await sleep(10);
  }
}

let opened = 0;

/** One connection over websocket. */
export class Connection {
  /** All events and what they brought, in order: `{ name, payload, at }`. */
  events = [];
  boards = new Map();
  acks = new Map();
  /** The handshake, the id of the connection, the text of a refusal, and whether the transport has ended. */
  handshake;
  sid;
  refusal;
  /** The header that names the extensions of the websocket. */
  extensions;
  closed = false;
  openedAt;
  pings = [];
  /** Why a packet could not be understood. */
  broken;
  answers;
  #next = 0;

  /**
   * Opens a connection. `about` has `url`; `from`, the addresses to connect from in turn; `seen`, which gets every
   * payload; and `open`, the connections to close at the end. `boards` are what the client has already, by region.
   * `answers` tells whether pings are answered.
   */
  static async open(about, auth, { query = {}, options = {}, boards = {}, answers = true } = {}) {
    const connection = new Connection();
    connection.answers = answers;
    about.open?.push(connection);
    for (const [region, board] of Object.entries(boards)) connection.board(region).continue(board);
    const localAddress = about.from?.[opened++ % about.from.length];
    const address = new URL("/socket.io/", about.url);
    address.protocol = address.protocol.replace("http", "ws");
    for (const [name, value] of Object.entries({ EIO: 4, transport: "websocket", ...query })) address.searchParams.set(name, value);
    const socket = (connection.socket = new WebSocket(address, { maxPayload: 64 << 20, localAddress, ...options }));
    socket.on("error", () => {});
    socket.on("upgrade", (response) => (connection.extensions = response.headers["sec-websocket-extensions"]));
    socket.on("close", () => (connection.closed = true));
    socket.on("message", (data, isBinary) => {
      try {
        connection.#packet(isBinary ? "b" : data.toString(), about);
      } catch (error) {
        connection.broken ??= `${error.message}: ${data.toString().slice(0, 200)}`;
        connection.close();
      }
    });
    await until("the handshake", () => connection.handshake || connection.closed);
    socket.send(`40${JSON.stringify(auth)}`);
    return connection;
  }

  /** Opens a connection that has to be accepted. */
  static async accepted(about, auth, more) {
    const connection = await Connection.open(about, { token: about.token, ...auth }, more);
    await until("an answer to CONNECT", () => connection.sid || connection.refusal || connection.closed);
    connection.fits();
    if (!connection.sid) throw new Error(`it was refused: ${connection.refusal ?? "closed"}`);
    return connection;
  }

  #packet(text, about) {
    const at = Date.now();
    if (text[0] === "0") {
      this.handshake = JSON.parse(text.slice(1));
      this.openedAt = at;
    } else if (text[0] === "2") {
      this.pings.push(at);
      if (this.answers) this.socket.send("3");
    } else if (text.startsWith("40")) this.sid = JSON.parse(text.slice(2)).sid;
    else if (text.startsWith("44")) this.refusal = JSON.parse(text.slice(2)).message;
    else if (text.startsWith("41")) this.closed = true;
    else if (text.startsWith("42")) {
      const [name, payload] = JSON.parse(text.slice(2));
      about.seen?.(name, payload);
      this.events.push({ name, payload, at });
      if (name === "snapshot" || name === "odds") this.board(payload.region).take(name, payload);
    } else if (text.startsWith("43")) {
      const [, id, data] = /^43(\d+)(.*)$/s.exec(text);
      const [payload] = JSON.parse(data);
      about.seen?.("acknowledgement", payload);
      this.acks.set(Number(id), payload);
      this.events.push({ name: "acknowledgement", payload, at });
    }
  }

  board(region) {
    if (!this.boards.has(region)) this.boards.set(region, new Board());
    return this.boards.get(region);
  }

  /** Waits until each of these boards has had so many complete frames. Fails if one doesn't fit. */
  async frames(regions, count, within) {
    await until(`${count} frames of ${regions}`, () => this.closed || regions.every((it) => this.board(it).frames.length >= count), within);
    this.fits();
    if (this.closed) throw new Error("the connection ended");
  }

  fits() {
    if (this.broken) throw new Error(this.broken);
    for (const [region, board] of this.boards) if (board.wrong) throw new Error(`${region}: ${board.wrong}`);
  }

  /** Asks, and returns the acknowledgement. */
  async ask(event, payload) {
    const id = this.#next++;
    this.socket.send(`42${id}${JSON.stringify([event, payload])}`);
    return until(`an answer to ${event}`, () => this.acks.get(id));
  }

  all(name) {
    return this.events.filter((event) => event.name === name);
  }

  close() {
    this.socket.close();
  }
}

/** Connects with an `auth` that must be refused, and returns the text of the refusal. */
export async function refusal(about, auth) {
  const connection = await Connection.open(about, auth);
  await until("a refusal", () => connection.refusal || connection.sid || connection.closed);
  connection.close();
  if (connection.sid) throw new Error("it was accepted");
  return connection.refusal;
}

/** A session over long polling, that mirrors one region. */
export class Polling {
  board = new Board();
  #n = 0;

  static async open(about, auth) {
    const polling = new Polling();
    polling.about = about;
    polling.handshake = JSON.parse((await (await polling.get()).text()).slice(1));
    polling.sid = polling.handshake.sid;
    await polling.post(`40${JSON.stringify({ token: about.token, ...auth })}`);
    return polling;
  }

  address(t = `c${this.#n++}`) {
    const address = new URL("/socket.io/", this.about.url);
    for (const [name, value] of Object.entries({ EIO: 4, transport: "polling", t })) address.searchParams.set(name, value);
    if (this.sid) address.searchParams.set("sid", this.sid);
    return address;
  }

  get(t) {
    return fetch(this.address(t));
  }

  post(body) {
    return fetch(this.address(), { method: "POST", body });
  }

  /** Polls once, and takes what comes. */
  async poll() {
    const response = await this.get();
    if (!response.ok) return response.status;
    for (const packet of (await response.text()).split("\x1e")) {
      if (packet === "2") await this.post("3");
      else if (packet.startsWith("42")) {
        const [name, payload] = JSON.parse(packet.slice(2));
        this.about.seen?.(name, payload);
        if (name === "snapshot" || name === "odds") this.board.take(name, payload);
      }
    }
    return response.status;
  }
}

/** A request over HTTP, with the token. */
export async function http(about, path, { method = "GET", body, headers = {} } = {}) {
  const json = body === undefined ? {} : { "content-type": "application/json" };
  const response = await fetch(new URL(path, about.url), {
    method,
    headers: { authorization: `Bearer ${about.token}`, ...json, ...headers },
    body: body === undefined ? undefined : JSON.stringify(body),
  });
  const text = await response.text();
  return { status: response.status, headers: response.headers, text, json: () => JSON.parse(text) };
}
