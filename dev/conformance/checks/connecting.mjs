import assert from "node:assert/strict";
import { boardOf } from "../board.mjs";
import { Connection, http, refusal, until } from "../connection.mjs";

const invalid = [
  ["v", 2],
  ["regions", ["us", "xx"]],
  ["regions", "us"],
  ["resume", []],
  ["filter", { sport: ["soccer_epl"] }],
  ["max_rate", 0],
  ["max_rate", 1001],
  ["max_rate", "fast"],
  ["replay", { speed: 2 }],
  ["alerts", 7],
  ["digest", "yes"],
];

export const connecting = {
  name: "Connecting",
  checks: [
    [
      "`subscriptions` comes first, with the version and the regions asked for, and no revision",
      async (about) => {
        const client = await Connection.accepted(about, { regions: ["uk", "eu"] });
        const first = await until("an event", () => client.events[0]);
        assert.equal(first.name, "subscriptions");
        assert.deepEqual({ ...first.payload, regions: [...first.payload.regions].sort() }, { v: 1, regions: ["eu", "uk"] });
      },
    ],
    [
      "without `regions`, those of the account count, and `revision` is there",
      async (about) => {
        const stored = (await http(about, "/api/subscriptions")).json();
        const client = await Connection.accepted(about, {});
        const { payload } = await until("an event", () => client.events[0]);
        assert.deepEqual([...payload.regions].sort(), [...stored.regions].sort());
        assert.ok(payload.revision >= stored.revision, `revision ${payload.revision} after ${stored.revision}`);
      },
    ],
    [
      "every field may be JSON text",
      async (about) => {
        const uk = boardOf((await http(about, `/api/odds/uk?market=${about.market}`)).json());
        const filter = { markets: [about.market] };
        const fields = { v: 1, regions: ["uk"], resume: { uk: uk.cursor }, filter, max_rate: 50, digest: true };
        const texts = Object.fromEntries(Object.entries(fields).map(([name, value]) => [name, JSON.stringify(value)]));
        const client = await Connection.accepted(about, texts, { boards: { uk } });
        await client.frames(["uk"], 2);
        assert.deepEqual(client.all("subscriptions")[0].payload.regions, ["uk"]);
        assert.equal(client.board("uk").frames[0].kind, "odds", "it did not resume");
        assert.ok(client.board("uk").digests > 0, "no digest");
      },
    ],
    [
      "unknown fields are ignored",
      (about) => Connection.accepted(about, { regions: ["uk"], later: { version: 2 } }),
    ],
    ...invalid.map(([field, value]) => [
      `\`${field}\`: ${JSON.stringify(value)} is refused as bad_auth, and the text names the field`,
      async (about) => {
        const text = await refusal(about, { token: about.token, [field]: value });
        assert.match(text ?? "closed", new RegExp(`^bad_auth: .*${field}`));
      },
    ]),
    [
      "without a token, it is `unauthenticated`",
      async (about) => assert.match((await refusal(about, {})) ?? "closed", /^unauthenticated: ./),
    ],
    [
      "with a wrong token, it is `unauthenticated`",
      async (about) => assert.match((await refusal(about, { token: `tb_${"x".repeat(43)}` })) ?? "closed", /^unauthenticated: ./),
    ],
    [
      "before it is signed in, a client may send 4 KB, and no more",
      async (about) => {
        await Connection.accepted(about, { regions: ["uk"], padding: "x".repeat(3_500) });
        assert.equal(await refusal(about, { token: about.token, padding: "x".repeat(5_000) }), undefined);
      },
    ],
    [
      "an unknown or unreadable cursor leads to a snapshot, never to an error",
      async (about) => {
        for (const cursor of ["1.2-3-99aa06d3014798d86001c324468d497f", "nonsense"]) {
          const client = await Connection.accepted(about, { regions: ["uk"], resume: { uk: cursor } });
          await client.frames(["uk"], 1);
          assert.equal(client.board("uk").frames[0].kind, "snapshot");
          }
      },
    ],
  ],
};
