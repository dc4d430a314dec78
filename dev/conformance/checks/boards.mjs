import assert from "node:assert/strict";
import { boardOf } from "../board.mjs";
import { Connection, http, sleep, until } from "../connection.mjs";

const ALL = ["us", "uk", "eu", "au"];

/** Follows a region until an answer over HTTP has a cursor that it had, and compares the two boards. */
async function sameAsOverHttp(about, client, region, query = "") {
  const texts = new Map();
  for (let attempt = 0; attempt < 100; attempt++) {
    const [board, answer] = [client.board(region), http(about, `/api/odds/${region}?${query}`)];
    texts.set(board.cursor, board.text());
    const payload = (await answer).json();
    await until("the frame of that cursor", () => {
      texts.set(board.cursor, board.text());
      return texts.has(payload.cursor) || board.frames.at(-1).at < Date.now() - 2_000;
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
        client.close();
      },
    ],
    [
      "a board is the one that GET /api/odds has at its cursor",
      async (about) => {
        const client = await Connection.accepted(about, { regions: ["uk"] });
        await client.frames(["uk"], 2);
        await sameAsOverHttp(about, client, "uk");
        client.close();
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
        second.close();
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
        client.close();
      },
    ],
    [
      "a cursor is valid only with its filter",
      async (about) => {
        const { cursor } = (await http(about, "/api/odds/uk")).json();
        const client = await Connection.accepted(about, { regions: ["uk"], resume: { uk: cursor }, filter: { markets: [about.market] } });
        await client.frames(["uk"], 1);
        assert.equal(client.board("uk").frames[0].kind, "snapshot");
        client.close();
      },
    ],
    [
      "a filter selects events by sport and id, and quotes by bookmaker and market; events stay without quotes",
      async (about) => {
        const whole = boardOf((await http(about, "/api/odds/uk")).json());
        const [id, event] = [...whole.events].find(([, event]) => event.quotes.size > 3);
        const quote = [...event.quotes.values()][0];
        const sport = event.details.sport_key;
        const filters = [
          [{ sports: [sport] }, (event) => event.details.sport_key === sport, () => true],
          [{ events: [id] }, (_, key) => key === id, () => true],
          [{ bookmakers: [quote.bookmaker], markets: [quote.market] }, () => true, (it) => it.bookmaker === quote.bookmaker && it.market === quote.market],
          [{ sports: [] }, () => false, () => true],
          [{ markets: ["a_market_that_nobody_has"] }, () => true, () => false],
        ];
        for (const [filter, admits, passes] of filters) {
          const client = await Connection.accepted(about, { regions: ["uk"], filter, digest: true });
          await client.frames(["uk"], 1);
          const { events } = client.board("uk");
          for (const [key, event] of events) {
            assert.ok(admits(event, key), `${JSON.stringify(filter)}: ${key} is there`);
            for (const quote of event.quotes.values()) assert.ok(passes(quote), `${JSON.stringify(filter)}: a quote is there`);
          }
          const wanted = [...whole.events].filter(([key, event]) => admits(event, key)).length;
          assert.ok(Math.abs(events.size - wanted) <= 2, `${JSON.stringify(filter)}: ${events.size} events, not ${wanted}`);
          client.close();
        }
      },
    ],
    [
      "`max_rate` keeps frames apart, and none is missing",
      async (about) => {
        const client = await Connection.accepted(about, { regions: ["uk"], max_rate: 0.5, digest: true });
        await client.frames(["uk"], 5, 40_000);
        const times = client.board("uk").frames.slice(1).map((frame) => frame.at);
        // A network may make one late and the next one seem early.
        times.forEach((at, n) => n > 0 && assert.ok(at - times[n - 1] > 1_500, `${at - times[n - 1]} ms between two frames`));
        client.close();
      },
    ],
    [
      "a client that stops reading is not disconnected, gets no backlog, and is exact when it reads again",
      async (about) => {
        const [slow, quick] = [await Connection.accepted(about, { regions: ALL, digest: true }), await Connection.accepted(about, { regions: ALL })];
        await slow.frames(ALL, 2);
        await quick.frames(ALL, 2);
        slow.socket.pause();
        await sleep(5_000);
        slow.socket.resume();
        const [before, began] = [quick.board("uk").frames.length, slow.board("uk").frames.length];
        await until("further frames", () => slow.board("uk").frames.length >= began + 5);
        slow.fits();
        assert.ok(quick.board("uk").frames.length >= before, "the other one goes on");
        assert.ok(!slow.closed, "it was disconnected");
        slow.close();
        quick.close();
      },
    ],
  ],
};
