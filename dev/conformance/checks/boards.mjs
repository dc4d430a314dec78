import assert from "node:assert/strict";
import { readFile } from "node:fs/promises";
import { Board, boardOf } from "../board.mjs";
import { Connection, http, sleep, until } from "../connection.mjs";

const ALL = ["us", "uk", "eu", "au"];

/** Follows a region until an answer over HTTP has a cursor that it had, and compares the two boards. */
async function sameAsOverHttp(about, client, region, query = "") {
  const [board, texts] = [client.board(region), new Map()];
  for (let attempt = 0; attempt < 30; attempt++) {
    const payload = (await http(about, `/api/odds/${region}?${query}`)).json();
    // Steps within one tick share a frame, so not every cursor is one of a frame.
    const end = Date.now() + 1_000;
    await until("a frame", () => {
      texts.set(board.cursor, board.text());
      return texts.has(payload.cursor) || Date.now() > end;
    });
    if (texts.has(payload.cursor)) return assert.equal(texts.get(payload.cursor), boardOf(payload).text());
  }
  throw new Error("no answer had a cursor that the connection had");
}

export const boards = {
  name: "Boards",
  checks: [
    [
      "snapshots are whole, each `odds` follows the cursor, and every board has the digest of its frame",
      async (about) => {
        const client = await Connection.accepted(about, { regions: ALL, digest: true });
        await client.frames(ALL, 15, 40_000);
        for (const region of ALL) assert.equal(client.board(region).digests, client.board(region).frames.length, region);
      },
    ],
    [
      "a board is the one that GET /api/odds has at its cursor",
      async (about) => {
        const client = await Connection.accepted(about, { regions: ["uk"] });
        await client.frames(["uk"], 2);
        await sameAsOverHttp(about, client, "uk");
      },
    ],
    [
      "a client that resumes gets what changed since its cursor, on any connection",
      async (about) => {
        const first = await Connection.accepted(about, { regions: ["uk"], digest: true });
        await first.frames(["uk"], 3);
        first.close();
        await sleep(1_500);
        const uk = first.board("uk");
        const second = await Connection.accepted(about, { regions: ["uk"], resume: { uk: uk.cursor }, digest: true }, { boards: { uk } });
        await second.frames(["uk"], 3);
        assert.equal(second.board("uk").frames[0].kind, "odds");
      },
    ],
    [
      "the cursor of GET /api/odds works in `resume`",
      async (about) => {
        const payload = (await http(about, `/api/odds/uk?market=${about.market}`)).json();
        const filter = { markets: [about.market] };
        const auth = { regions: ["uk"], resume: { uk: payload.cursor }, filter, digest: true };
        const client = await Connection.accepted(about, auth, { boards: { uk: boardOf(payload) } });
        await client.frames(["uk"], 2);
        assert.equal(client.board("uk").frames[0].kind, "odds");
      },
    ],
    [
      "a cursor is valid only with its filter",
      async (about) => {
        const { cursor } = (await http(about, "/api/odds/uk")).json();
        const client = await Connection.accepted(about, { regions: ["uk"], resume: { uk: cursor }, filter: { markets: [about.market] } });
        await client.frames(["uk"], 1);
        assert.equal(client.board("uk").frames[0].kind, "snapshot");
      },
    ],
    [
      "a filter selects events by sport and id, and quotes by bookmaker and market; events stay without quotes",
      async (about) => {
        const whole = boardOf((await http(about, "/api/odds/uk")).json());
        const [id, event] = [...whole.events].find(([, event]) => event.quotes.size > 3);
        const quote = [...event.quotes.values()][0];
        const sport = event.details.sport_key;
        const isQuote = (it) => it.bookmaker === quote.bookmaker && it.market === quote.market;
        const filters = [
          [{ sports: [sport] }, `sport=${sport}`, (event) => event.details.sport_key === sport, () => true],
          [{ events: [id] }, `event=${id}`, (_, key) => key === id, () => true],
          [{ bookmakers: [quote.bookmaker], markets: [quote.market] }, `bookmaker=${quote.bookmaker}&market=${quote.market}`, () => true, isQuote],
        ];
        for (const [filter, query, admits, passes] of filters) {
          const client = await Connection.accepted(about, { regions: ["uk"], filter, digest: true });
          await client.frames(["uk"], 1);
          const events = [...client.board("uk").events];
          const quotes = events.flatMap(([, event]) => [...event.quotes.values()]);
          assert.ok(events.length > 0 && events.every(([key, event]) => admits(event, key)), `${query}: other events, or none`);
          assert.ok(quotes.length > 0 && quotes.every(passes), `${query}: other quotes, or none`);
          await sameAsOverHttp(about, client, "uk", query);
        }
        const nothing = await Connection.accepted(about, { regions: ["uk"], filter: { sports: [] }, digest: true });
        await nothing.frames(["uk"], 1);
        assert.equal(nothing.board("uk").events.size, 0, "an empty list lets something through");
        const bare = await Connection.accepted(about, { regions: ["uk"], filter: { markets: ["a_market_that_nobody_has"] }, digest: true });
        await bare.frames(["uk"], 1);
        const left = [...bare.board("uk").events.values()];
        assert.ok(left.length > 0 && left.every((event) => event.quotes.size === 0), "no events, or quotes of another market");
      },
    ],
    [
      "`max_rate` keeps frames apart, and none is missing",
      async (about) => {
        const client = await Connection.accepted(about, { regions: ["uk"], max_rate: 0.5, digest: true });
        await client.frames(["uk"], 5, 40_000);
        const times = client.board("uk").frames.slice(1).map((frame) => frame.at);
        // A network may make one late, and the next one seem early.
        const mean = (times.at(-1) - times[0]) / (times.length - 1);
        assert.ok(mean > 1_700, `${mean} ms between two frames`);
      },
    ],
    [
      "a client that stops reading for a while is not disconnected, and is exact when it reads again",
      async (about) => {
        const slow = await Connection.accepted(about, { regions: ALL, digest: true });
        await slow.frames(ALL, 2);
        slow.socket.pause();
        await sleep(5_000);
        slow.socket.resume();
        await slow.frames(ALL, Math.max(...ALL.map((region) => slow.board(region).frames.length)) + 5, 30_000);
      },
    ],
    [
      "the digest is the one of PROTOCOL.md's frames",
      async () => {
        const text = await readFile(new URL("../../../PROTOCOL.md", import.meta.url), "utf8");
        const frames = JSON.parse(/```json\n([^]*?)```/.exec(text)[1]);
        const board = new Board();
        frames.forEach((frame, n) => board.take(n ? "odds" : "snapshot", { ...frame, prev: n ? String(n - 1) : undefined, cursor: String(n) }));
        assert.equal(board.wrong, undefined);
        assert.equal(board.digests, frames.length);
      },
    ],
  ],
};
