// Tests of the package as a user has it: installed into an empty project, against a running program. `cargo xtask test`
// copies this file there. SDK is the package's folder in the checkout; sdk/with_toteboard.mjs sets the rest.

import assert from "node:assert/strict";
import { execFile } from "node:child_process";
import { readFileSync, writeFileSync } from "node:fs";
import { connect, createServer } from "node:net";
import { join } from "node:path";
import { test } from "node:test";
import { promisify } from "node:util";
import { BoardDigest, Toteboard, ToteboardError } from "toteboard";

const run = promisify(execFile);
const { TOTEBOARD_URL: url, TOTEBOARD_TOKEN: token, TOTEBOARD_PRODUCER: producing, SDK: folder } = process.env;
const toteboard = new Toteboard({ url, token });

/** The board's content in a form that can be compared. */
function plain({ events }) {
  const sorted = (list, key) => [...list].sort((a, b) => (key(a) < key(b) ? -1 : 1));
  return sorted(events, (event) => event.id).map((event) => ({ ...event, quotes: sorted(event.quotes, (quote) => `${quote.bookmaker} ${quote.market}`) }));
}

/** Compares a board with what was recorded at its cursor, once that can be read. */
async function isExact(board) {
  const { region, cursor } = board;
  const shown = plain(board.toJSON());
  for (let round = 0; ; round++) {
    const recorded = await toteboard.history.board(region, { cursor }).catch((error) => {
      if (error.code !== "not_recorded" || round > 50) throw error;
    });
    if (recorded) return assert.deepEqual(shown, plain(recorded), cursor);
    await new Promise((resolve) => setTimeout(resolve, 200));
  }
}

const changes = (stream, count) =>
  new Promise((resolve) => {
    const stop = stream.on("change", () => {
      if (--count > 0) return;
      stop();
      resolve();
    });
  });

/** Starts a proxy before the program. `change` may change what goes through it: to the program, or from it. */
async function startProxy(change = (data) => data) {
  const open = new Set();
  const target = new URL(url);
  const proxy = createServer((client) => {
    const server = connect(target.port, target.hostname);
    open.add(client);
    for (const [one, other] of [[client, server], [server, client]]) {
      one.on("data", (data) => other.write(change(data, one === client)));
      one.on("end", () => other.end());
      one.on("error", () => other.destroy());
      one.on("close", () => (open.delete(one), other.destroy()));
    }
  }).listen(0, "127.0.0.1");
  await new Promise((resolve) => proxy.once("listening", resolve));
  const cut = () => open.forEach((client) => client.destroy());
  const stop = () => (cut(), proxy.close());
  return { toteboard: new Toteboard({ url: `http://127.0.0.1:${proxy.address().port}`, token }), cut, stop };
}

test("boards are exact, also after a connection that breaks again and again", async () => {
  const proxy = await startProxy();
  const cutting = setInterval(proxy.cut, 2_500);
  const unreliable = proxy.toteboard;
  const streams = [undefined, ["polling"], ["websocket"]].map((transports) => unreliable.stream({ regions: ["us", "uk", "eu", "au"], ...(transports && { transports }) }));
  let compared = 0;
  for (let round = 0; round < 4; round++) {
    await Promise.all(streams.map((stream) => changes(stream, 6)));
    for (const stream of streams) for (const region of stream.regions) if (stream.board(region)) (await isExact(stream.board(region)), compared++);
  }
  clearInterval(cutting);
  await Promise.all(streams.map((stream) => stream.ready()));
  streams.forEach((stream) => stream.close());
  proxy.stop();
  assert.ok(compared > 30, `${compared}`);
});

test("digests are those of the protocol's examples", () => {
  const [, examples] = readFileSync(join(folder, "../../PROTOCOL.md"), "utf8").match(/```json\n([^]*?)```/);
  const digest = new BoardDigest();
  for (const example of JSON.parse(examples)) {
    digest.apply(example.events);
    assert.equal(digest.value, example.digest);
  }
});

for (const [event, what] of [["odds", "a change"], ["snapshot", "a whole board"]]) {
  test(`a price that is changed on its way is noticed: in ${what}`, async () => {
    let flips = 0;
    const proxy = await startProxy((data, isRequest) => {
      const text = data.toString("latin1");
      // Without compression, so that prices can be read.
      if (isRequest) return Buffer.from(text.replace("permessage-deflate", "permessage-nothing"), "latin1");
      const from = text.indexOf(`42["${event}"`);
      const at = text.indexOf('"price":', from) + 8;
      if (flips > 0 || from < 0 || at < 8) return data;
      flips += 1;
      const digit = text[at] === "1" ? "2" : "1";
      return Buffer.from(text.slice(0, at) + digit + text.slice(at + 1), "latin1");
    });
    const stream = proxy.toteboard.stream({ regions: ["uk"], transports: ["websocket"], firstByHttp: event === "odds" });
    const troubles = [];
    stream.on("trouble", ({ code }) => troubles.push(code));
    await new Promise((resolve) => stream.on("trouble", resolve));
    assert.deepEqual([troubles, stream.board("uk"), stream.isLive("uk", "any")], [["wrong_digest"], undefined, false]);
    const whole = await new Promise((resolve) => stream.on("board", resolve));
    await isExact(whole);
    await changes(stream, 5);
    assert.deepEqual([troubles, flips], [["wrong_digest"], 1]);
    stream.close();
    proxy.stop();
  });
}

test("a filter narrows a stream exactly", async () => {
  const filter = { markets: ["h2h"], bookmakers: ["betfair_ex_uk", "williamhill"] };
  const stream = await toteboard.stream({ regions: ["uk"], filter }).ready();
  const quotes = [...stream.board("uk").events.values()].flatMap((event) => [...event.quotes.values()]);
  assert.ok(quotes.length > 0 && quotes.every((quote) => quote.market === "h2h" && filter.bookmakers.includes(quote.bookmaker)));
  const whole = new Promise((resolve) => stream.on("board", resolve));
  await stream.filter({ markets: ["totals"] });
  const board = await whole;
  assert.ok([...board.events.values()].every((event) => [...event.quotes.values()].every((quote) => quote.market === "totals")));
  await assert.rejects(stream.filter({ markets: ["a b"] }), (error) => error.code === "invalid_filter" && error.advice !== "");
  stream.close();
});

test("prices are live while the gateway says so, and not while the connection is away", async () => {
  const stream = await toteboard.stream({ regions: ["uk"] }).ready();
  const [event] = stream.board("uk").events.values();
  assert.ok(stream.isLive("uk", event.id));
  assert.ok(!stream.isLive("uk", "nothing") && !stream.isLive("us", event.id));
  assert.ok(Math.abs(stream.freshness.now("uk") - Date.now()) < 5_000);
  stream.close();
  assert.ok(!stream.isLive("uk", event.id));
});

test("subscriptions can be changed", async () => {
  const stream = await toteboard.stream({ regions: ["uk"] }).ready();
  const board = new Promise((resolve) => stream.on("board", resolve));
  await stream.subscribe(["eu"]);
  assert.equal((await board).region, "eu");
  assert.deepEqual([stream.regions, stream.board("uk")], [["eu"], undefined]);
  await assert.rejects(stream.subscribe(["fr"]), (error) => error.code === "invalid_regions");
  stream.close();
});

test("refusals say what to do", async () => {
  const stranger = new Toteboard({ url, token: "tb_wrong" });
  const refused = (code) => (error) => error instanceof ToteboardError && error.code === code && error.advice.length > 10;
  await assert.rejects(stranger.stream({ regions: ["uk"] }).ready(), refused("unauthenticated"));
  await assert.rejects(stranger.stream({ regions: ["uk"], firstByHttp: false }).ready(), refused("unauthenticated"));
  await assert.rejects(toteboard.stream({ regions: ["uk"], maxRate: -1, firstByHttp: false }).ready(), refused("bad_auth"));
  await assert.rejects(toteboard.history.board("uk", { at: "noon" }), refused("invalid"));
  const nobody = new Toteboard({ url: "http://127.0.0.1:1", token });
  await assert.rejects(nobody.feeds(), refused("unreachable"));
});

test("a stream that is closed stays closed", async () => {
  const stream = toteboard.stream({ regions: ["uk"] });
  const ended = new Promise((resolve) => stream.on("end", resolve));
  await stream.ready();
  stream.close();
  assert.equal(await ended, null);
  assert.equal(stream.state, "ended");
  await assert.rejects(stream.ready());
});

test("a transaction is produced once, however often it is asked for", async () => {
  const producer = new Toteboard({ url, token: producing });
  const transaction = { request_id: "sdk-1", transaction_id: "t-1", message_body: "2 tickets", email: "anna@example.com" };
  const first = await producer.produce(transaction);
  assert.equal(first.topic, "transactions");
  assert.equal((await producer.produce(transaction)).offset, first.offset);
  await assert.rejects(toteboard.produce(transaction), (error) => error instanceof ToteboardError && error.status === 403);
});

test("a rule's alert comes to a stream, once", async () => {
  const stream = await toteboard.stream({ regions: ["uk"] }).ready();
  const came = [];
  const alert = new Promise((resolve) => stream.on("alert", (alert) => (came.push(alert.id), resolve(alert))));
  const upcoming = [...stream.board("uk").events.values()].filter((event) => event.home_team && [...event.quotes.keys()].some((key) => key.endsWith(" h2h")));
  for (const event of upcoming.slice(0, 5)) await toteboard.addRule({ kind: "price", event: event.id, market: "h2h", outcome: event.home_team, at_least: 1.01, regions: ["uk"] });
  assert.equal((await alert).kind, "price");
  stream.close();
  const again = await toteboard.stream({ regions: ["uk"], alerts: came[0] }).ready();
  again.on("alert", ({ id }) => assert.ok(!came.slice(0, 1).includes(id)));
  assert.ok((await toteboard.alerts()).alerts.some(({ id }) => id === came[0]));
  for (const { id } of await toteboard.rules()) await toteboard.removeRule(id);
  again.close();
});

const document = readFileSync(join(folder, "README.md"), "utf8");
const snippets = [...document.matchAll(/## ([^\n]+)\n[^#]*?```js\n([^]*?)```/g)];

test("the document has examples", () => assert.ok(snippets.length >= 6, `${snippets.length}`));

for (const [, title, code] of snippets) {
  test(`the document's example runs: ${title}`, async () => {
    const file = join(process.cwd(), `example-${title.toLowerCase().replaceAll(/\W+/g, "-")}.mjs`);
    writeFileSync(file, code);
    const { stdout, stderr } = await run("node", [file], { timeout: 60_000 });
    assert.ok(stdout.length > 0 && !/Assertion failed/.test(stderr), stderr);
  });
}
