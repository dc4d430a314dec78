import assert from "node:assert/strict";
import { boardOf } from "../board.mjs";
import { Connection, http, sleep, until } from "../connection.mjs";

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
        const recorded = (await http(about, `/api/history/board/uk?at=${replay.at}`)).json();
        const client = await over(await Connection.accepted(about, { regions: ["uk"], replay, digest: true }));
        const { frames } = client.board("uk");
        assert.equal(frames[0].cursor, recorded.cursor);
        assert.equal(frames[0].kind, "snapshot");
        assert.ok(frames.length > 2 && frames.slice(1).every((frame) => frame.kind === "odds"), `${frames.length} frames`);
        assert.ok(client.all("feed").length > 0, "no feed");
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
      "the board that is recorded at a cursor is the one that a client had there",
      async (about) => {
        const client = await Connection.accepted(about, { regions: ["uk"] });
        await client.frames(["uk"], 2);
        const { cursor } = client.board("uk");
        const text = client.board("uk").text();
        let answer;
        for (let attempt = 0; attempt < 50; attempt++) {
          answer = await http(about, `/api/history/board/uk?cursor=${encodeURIComponent(cursor)}`);
          // A step is recorded some time after it is sent.
          if (answer.status !== 409) break;
          await sleep(200);
        }
        assert.equal(answer.status, 200, answer.text);
        assert.equal(answer.json().verified, true);
        assert.equal(boardOf(answer.json()).text(), text);
      },
      "history",
    ],
  ],
};
