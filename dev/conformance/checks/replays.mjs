import assert from "node:assert/strict";
import { Connection, http, until } from "../connection.mjs";

const ago = (seconds) => new Date(Date.now() - 1_000 * seconds).toISOString();

async function over(client) {
  const bye = await until("the end", () => client.all("bye")[0], 40_000);
  client.fits();
  assert.equal(bye.payload.code, "replay_over");
  assert.equal(client.events.at(-1).name, "bye", "something came after `bye`");
  return client;
}

export const replays = {
  name: "Replays",
  checks: [
    [
      "a replay begins with the snapshot of its time, then each step is an `odds`; its feeds say that it is one; it ends with `replay_over`",
      async (about) => {
        const replay = { at: ago(20), speed: 0, until: ago(5) };
        const client = await over(await Connection.accepted(about, { regions: ["uk"], replay, digest: true }));
        const { frames } = client.board("uk");
        assert.equal(frames[0].kind, "snapshot");
        assert.ok(frames.length > 2 && frames.slice(1).every((frame) => frame.kind === "odds"), `${frames.length} frames`);
        for (const { payload } of client.all("feed")) assert.match(payload.source, /^replay:/);
      },
      "history",
    ],
    [
      "it has the same cursors as GET /api/history/changes",
      async (about) => {
        const [at, end] = [ago(20), ago(6)];
        const client = await over(await Connection.accepted(about, { regions: ["uk"], replay: { at, speed: 0, until: end } }));
        const lines = (await http(about, `/api/history/changes/uk?from=${at}&to=${end}`)).text.trim().split("\n").map((line) => JSON.parse(line));
        assert.equal(lines.at(-1).event, "end");
        const cursors = lines.filter((line) => line.event === "odds").map((line) => line.data.cursor);
        const replayed = client.all("odds").map((event) => event.payload.cursor);
        const known = cursors.filter((cursor) => replayed.includes(cursor));
        assert.ok(known.length > 1 && known.length >= Math.min(cursors.length, replayed.length) - 1, `${known.length} of ${cursors.length} and ${replayed.length}`);
      },
      "history",
    ],
    [
      "a replay may be in the address",
      async (about) => {
        const query = { replay: ago(15), speed: 0, until: ago(8) };
        await over(await Connection.accepted(about, { regions: ["uk"] }, { query }));
      },
      "history",
    ],
    [
      "a recorded board is verified and has the digest of its cursor's frame",
      async (about) => {
        const answer = (await http(about, `/api/history/board/uk?at=${ago(10)}`)).json();
        assert.equal(answer.verified, true);
        assert.ok(answer.at <= ago(9) && answer.events.length > 0);
        const again = (await http(about, `/api/history/board/uk?cursor=${encodeURIComponent(answer.cursor)}`)).json();
        assert.deepEqual(again.events, answer.events);
      },
      "history",
    ],
  ],
};
