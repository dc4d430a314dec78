import assert from "node:assert/strict";
import { Connection, http, sleep, until } from "../connection.mjs";

export const feeds = {
  name: "Freshness",
  checks: [
    [
      "`feed` comes after connecting and at least every 10 seconds, and tells how long prices are live",
      async (about) => {
        const client = await Connection.accepted(about, { regions: ["uk"] });
        await sleep(25_000);
        const feeds = client.all("feed");
        const times = [client.openedAt, ...feeds.map((feed) => feed.at), Date.now()];
        times.forEach((at, n) => n > 0 && assert.ok(at - times[n - 1] < 15_000, `${at - times[n - 1]} ms without a feed`));
        const { state, sports } = feeds.at(-1).payload;
        assert.ok(["live", "stale", "down"].includes(state), state);
        assert.ok(Object.keys(sports).length > 0, "no sports");
        for (const it of Object.values(sports)) assert.ok(Date.parse(it.polled_at) <= Date.parse(it.stale_after), JSON.stringify(it));
      },
    ],
    [
      "the `cursor` of a feed is the client's after all frames sent before",
      async (about) => {
        const client = await Connection.accepted(about, { regions: ["uk", "us"] });
        await until("feeds with cursors", () => client.all("feed").filter((feed) => feed.payload.cursor).length >= 3, 40_000);
        const cursors = new Map();
        for (const { name, payload } of client.events) {
          if (name === "odds" || (name === "snapshot" && (payload.part ?? 1) === (payload.parts ?? 1))) cursors.set(payload.region, payload.cursor);
          if (name === "feed" && payload.cursor) assert.equal(payload.cursor, cursors.get(payload.region));
        }
      },
    ],
    [
      "GET /api/regions has the feed of each region",
      async (about) => {
        const answer = await http(about, "/api/regions");
        assert.deepEqual(answer.json().map((feed) => feed.region).sort(), ["au", "eu", "uk", "us"]);
        for (const feed of answer.json()) about.seen("feed", feed);
      },
    ],
  ],
};
