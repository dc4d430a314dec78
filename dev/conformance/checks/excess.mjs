import assert from "node:assert/strict";
import { Connection, until } from "../connection.mjs";

export const excess = {
  name: "Bye",
  checks: [
    [
      "a client with more than 64 waiting requests is sent away with `too_many_requests`, and `bye` comes last",
      async (about) => {
        const client = await Connection.accepted(about, { regions: ["uk"] });
        for (let n = 0; n < 2_000; n++) client.socket.send(`42${n}${JSON.stringify(["filter", { markets: [`m${n}`] }])}`);
        const bye = await until("bye", () => client.all("bye")[0]);
        assert.equal(bye.payload.code, "too_many_requests");
        assert.ok(bye.payload.retry_after_ms > 0, "no time to wait");
        await until("the end of the connection", () => client.closed);
        assert.equal(client.events.at(-1).name, "bye", "something came after it");
      },
    ],
  ],
};
