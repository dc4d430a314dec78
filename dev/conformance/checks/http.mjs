import assert from "node:assert/strict";
import { http } from "../connection.mjs";

export const overHttp = {
  name: "By HTTP",
  checks: [
    [
      "GET /api/odds is a snapshot in one piece",
      async (about) => {
        const answer = await http(about, "/api/odds/uk");
        about.seen("snapshot", answer.json());
        assert.equal(answer.json().part, undefined);
      },
    ],
    [
      "it has an ETag, and is compressed if the client accepts that",
      async (about) => {
        const first = await http(about, "/api/odds/eu?market=outrights", { headers: { "accept-encoding": "gzip" } });
        const tag = first.headers.get("etag");
        assert.ok(tag, "no etag");
        const again = await http(about, "/api/odds/eu?market=outrights", { headers: { "if-none-match": tag } });
        assert.ok(again.status === 304 || again.headers.get("etag") !== tag, `status ${again.status} for the same tag`);
        const large = await fetch(new URL("/api/odds/uk", about.url), { headers: { authorization: `Bearer ${about.token}`, "accept-encoding": "gzip" } });
        assert.equal(large.headers.get("content-encoding"), "gzip");
        await large.text();
      },
    ],
    [
      "each request needs a token or a session, and errors have a code and a message",
      async (about) => {
        for (const [path, headers, status] of [
          ["/api/odds/uk", { authorization: "" }, 401],
          ["/api/odds/mars", {}, 404],
          ["/api/nothing", {}, 404],
        ]) {
          const answer = await http(about, path, { headers });
          assert.equal(answer.status, status, path);
          const { code, message } = answer.json().error;
          assert.ok(typeof code === "string" && typeof message === "string", answer.text);
        }
      },
    ],
    [
      "a parameter that makes no sense is refused with its name",
      async (about) => {
        const answer = await http(about, "/api/history/board/uk?at=yesterday");
        assert.ok(answer.status >= 400 && answer.status < 500, `status ${answer.status}`);
        const { fields, message } = answer.json().error;
        assert.ok(fields?.at ?? /\bat:/.test(message), answer.text);
      },
      "history",
    ],
  ],
};
