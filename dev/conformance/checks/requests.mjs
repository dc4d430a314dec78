import assert from "node:assert/strict";
import { Connection, http, until } from "../connection.mjs";

const failure = (answer) => answer.error?.code;

export const requests = {
  name: "Requests",
  checks: [
    [
      "`subscribe` sets a connection's own regions; after the answer, no frame of a dropped region comes",
      async (about) => {
        const client = await Connection.accepted(about, { regions: ["uk", "us"], digest: true });
        await client.frames(["uk", "us"], 2);
        const answer = await client.ask("subscribe", { regions: ["us", "eu"] });
        assert.deepEqual({ ...answer, regions: [...answer.regions].sort() }, { ok: true, regions: ["eu", "us"] });
        const asked = client.events.findIndex((event) => event.name === "acknowledgement");
        await client.frames(["eu"], 2);
        await client.frames(["us"], client.board("us").frames.length + 3);
        const late = client.events.slice(asked).filter((event) => event.payload.region === "uk" && event.name !== "feed");
        assert.equal(late.length, 0, "frames of the dropped region");
        assert.deepEqual([...client.all("subscriptions").at(-1).payload.regions].sort(), ["eu", "us"]);
      },
    ],
    [
      "`subscribe` sets the account's regions on every connection and over HTTP, and PUT does the same",
      async (about) => {
        const before = (await http(about, "/api/subscriptions")).json();
        const [one, other] = [await Connection.accepted(about, {}), await Connection.accepted(about, {})];
        const put = (regions) => http(about, "/api/subscriptions", { method: "PUT", body: { regions } });
        const restore = about.undo(() => put(before.regions));
        try {
          const revision = (client) => client.all("subscriptions").at(-1)?.payload;
          await until("subscriptions", () => revision(one) && revision(other));
          const started = revision(one).revision;
          await one.ask("subscribe", { regions: ["au"] });
          for (const client of [one, other]) {
            await until("the new regions", () => revision(client).revision > started && revision(client).regions.join() === "au");
          }
          assert.deepEqual((await http(about, "/api/subscriptions")).json().regions, ["au"]);
          assert.equal((await put(["au", "uk"])).status, 200);
          await until("the regions of PUT", () => [...revision(other).regions].sort().join() === "au,uk");
        } finally {
          await restore();
        }
      },
    ],
    [
      "`filter` is answered, then each region starts with a snapshot under it, and no other frame comes",
      async (about) => {
        const client = await Connection.accepted(about, { regions: ["uk", "us"], digest: true });
        await client.frames(["uk", "us"], 3);
        assert.deepEqual(await client.ask("filter", { markets: [about.market] }), { ok: true });
        const asked = client.events.findIndex((event) => event.name === "acknowledgement");
        await client.frames(["uk"], client.board("uk").frames.length + 3);
        await until("a frame of us", () => client.events.slice(asked).some((event) => event.payload.region === "us" && event.name === "snapshot"));
        const after = client.events.slice(asked).filter((event) => ["snapshot", "odds"].includes(event.name));
        for (const region of ["uk", "us"]) assert.equal(after.find((event) => event.payload.region === region).name, "snapshot", region);
        const quotes = after.flatMap((event) => event.payload.events).flatMap((event) => event.quotes ?? []);
        assert.ok(quotes.length > 0 && quotes.every((quote) => quote.market === about.market), "quotes of other markets");
      },
    ],
    [
      "an invalid filter is refused with the field's name, and the old one stays",
      async (about) => {
        const client = await Connection.accepted(about, { regions: ["uk"], filter: { markets: [about.market] }, digest: true });
        await client.frames(["uk"], 2);
        const answer = await client.ask("filter", { sports: 7 });
        assert.equal(failure(answer), "invalid_filter");
        assert.match(answer.error.message, /sports/);
        const count = client.board("uk").frames.length;
        await client.frames(["uk"], count + 3);
        assert.ok(client.board("uk").frames.slice(count).every((frame) => frame.kind === "odds"), "a new snapshot");
      },
    ],
    [
      "`resync` with a cursor sends `odds` from it, and without one a snapshot",
      async (about) => {
        const client = await Connection.accepted(about, { regions: ["uk"] });
        await client.frames(["uk"], 4);
        const { cursor } = client.board("uk").frames[1];
        const first = client.events.length;
        await client.ask("resync", { region: "uk", cursor });
        await until("odds from that cursor", () => client.events.slice(first).some((event) => event.name === "odds" && event.payload.prev === cursor));
        await client.ask("resync", { region: "uk" });
        await until("a snapshot", () => client.events.slice(first).some((event) => event.name === "snapshot"));
      },
    ],
    [
      "what can't be done is answered with `not_subscribed`, `invalid_regions` or `unknown_event`",
      async (about) => {
        const client = await Connection.accepted(about, { regions: ["uk"] });
        assert.equal(failure(await client.ask("resync", { region: "au" })), "not_subscribed");
        assert.equal(failure(await client.ask("resync", { region: "xx" })), "invalid_regions");
        const regions = await client.ask("subscribe", { regions: ["uk", "mars"] });
        assert.equal(failure(regions), "invalid_regions");
        assert.match(regions.error.message, /mars/);
        assert.equal(failure(await client.ask("bet", { stake: 1 })), "unknown_event");
      },
    ],
    [
      "requests are handled in the order in which they were sent",
      async (about) => {
        const client = await Connection.accepted(about, { regions: ["uk"] });
        const asked = [
          client.ask("filter", { markets: [about.market] }),
          client.ask("subscribe", { regions: ["eu"] }),
          client.ask("resync", { region: "uk" }),
          client.ask("resync", { region: "eu" }),
        ];
        const answers = await Promise.all(asked);
        assert.deepEqual(answers.map((answer) => answer.ok ?? failure(answer)), [true, true, "not_subscribed", true]);
      },
    ],
  ],
};
