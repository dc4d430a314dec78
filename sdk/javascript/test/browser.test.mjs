// The package in a browser, as it is: its modules and those of socket.io-client, without a bundler. SDK is a project that
// has the package installed; sdk/with_toteboard.mjs sets the rest.

import assert from "node:assert/strict";
import { readFileSync } from "node:fs";
import { join } from "node:path";
import { test } from "node:test";
import { browser } from "../../../web/e2e/toteboard.mjs";

const { TOTEBOARD_URL: url, TOTEBOARD_TOKEN: token, SDK: project } = process.env;

const IMPORTS = {
  toteboard: "/packages/toteboard/dist/index.js",
  "socket.io-client": "/packages/socket.io-client/dist/socket.io.esm.min.js",
};
const PAGE = `<!doctype html><script type="importmap">${JSON.stringify({ imports: IMPORTS })}</script>`;

test("a page follows exact boards, changes them by a filter, and reads the history", async () => {
  const chromium = await browser();
  try {
    const page = await chromium.newPage();
    const wrong = [];
    page.on("pageerror", (error) => wrong.push(String(error)));
    await page.route("**/with-the-sdk", (route) => route.fulfill({ contentType: "text/html", body: PAGE }));
    await page.route("**/packages/**", (route) => {
      const file = new URL(route.request().url()).pathname.replace("/packages/", "");
      return route.fulfill({ contentType: "text/javascript", body: readFileSync(join(project, "node_modules", file)) });
    });
    await page.goto(`${url}/with-the-sdk`);
    const told = await page.evaluate(
      async ({ url, token }) => {
        const { Toteboard } = await import("toteboard");
        const toteboard = new Toteboard({ url, token });
        const stream = toteboard.stream({ regions: ["uk", "eu"] });
        const troubles = [];
        stream.on("trouble", (error) => troubles.push(error.code));
        let frames = 0;
        const enough = new Promise((resolve) => stream.on("change", () => ++frames >= 20 && resolve()));
        await stream.ready();
        await enough;
        const { events, cursor } = stream.board("uk");
        const markets = new Set([...events.values()].flatMap((event) => [...event.quotes.values()].map((quote) => quote.market)));
        await stream.filter({ markets: ["h2h"] });
        await new Promise((resolve) => stream.on("board", (board) => board.region === "uk" && resolve()));
        const filtered = new Set([...stream.board("uk").events.values()].flatMap((event) => [...event.quotes.values()].map((quote) => quote.market)));
        stream.close();
        let recorded;
        for (let round = 0; !recorded; round++) {
          recorded = await toteboard.history.board("uk", { cursor }).catch((error) => {
            if (error.code !== "not_recorded" || round > 50) throw error;
          });
          await new Promise((resolve) => setTimeout(resolve, 200));
        }
        return { frames, troubles, markets: markets.size, filtered: [...filtered], recorded: recorded.verified };
      },
      { url, token },
    );
    assert.ok(told.frames >= 20 && told.markets > 2, JSON.stringify(told));
    assert.deepEqual([told.troubles, told.filtered, told.recorded, wrong], [[], ["h2h"], true, []]);
  } finally {
    await chromium.close();
  }
});
