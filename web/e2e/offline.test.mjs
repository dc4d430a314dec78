// The page can be installed, and opens without the gateway: with the last board, of which nothing is live.

import assert from "node:assert/strict";
import { after, before, test } from "node:test";
import { browser, everySportIsPolled, start } from "./toteboard.mjs";
import { WITHIN, close, open as visit, prices, region, register } from "./visitor.mjs";

let toteboard;
let chromium;

before(async () => {
  toteboard = await start("--attempts-per-minute", "10000");
  await everySportIsPolled(toteboard);
  chromium = await browser();
});

after(async () => {
  await chromium?.close();
  await toteboard?.stop();
});

/** A page with a live board, whose files are kept. The account is a new one: demo's sessions end with the program. */
async function board(name) {
  const page = await visit(chromium, toteboard.url);
  await register(page, name);
  await region(page, "uk").check();
  await live(page);
  await page.evaluate(() => navigator.serviceWorker.ready);
  return page;
}

async function live(page) {
  await page.locator(".state[data-state=live]").waitFor(WITHIN);
  await prices(page).first().waitFor(WITHIN);
}

const kept = (page) => page.evaluate(() => Object.keys(localStorage).filter((name) => name.startsWith("toteboard-board")));

test("the page can be installed", async () => {
  const page = await board("anna");
  const manifest = await page.evaluate(async () => {
    const answer = await fetch(document.querySelector("link[rel=manifest]").href);
    return answer.json();
  });
  assert.equal(manifest.display, "standalone");
  assert.equal(manifest.start_url, "/");
  for (const { src } of manifest.icons) {
    const drawn = await page.evaluate(async (src) => {
      const image = Object.assign(new Image(), { src });
      await image.decode();
      return image.width;
    }, src);
    assert.ok(drawn > 0, src);
  }
  await close(page);
});

test("without the gateway, the page opens with the last board, crossed out, and goes on when the gateway is back", async () => {
  const page = await board("bert");
  const event = await page.locator(".event .open").first().innerText();
  await page.goto("about:blank");
  toteboard = await toteboard.restart(async () => {
    await page.goto(toteboard.url);
    await page.getByText("The board as it was:").waitFor(WITHIN);
    await page.getByRole("link", { name: event }).waitFor(WITHIN);
    const shown = await page.evaluate(() => ({
      live: document.querySelectorAll(".row .cell:not(:empty):not(.stale)").length,
      old: document.querySelectorAll(".row .cell.stale").length,
      best: document.querySelectorAll(".best .price, .best-price, .badge.arbitrage").length,
      state: document.querySelector(".state").dataset.state,
    }));
    assert.deepEqual({ ...shown, old: 0 }, { live: 0, old: 0, best: 0, state: "wait" });
    assert.ok(shown.old > 20, `${shown.old} prices are shown`);
  });
  // The accounts are the same, and so the session still holds.
  await live(page);
  await page.getByText("The board as it was:").waitFor({ state: "detached", ...WITHIN });
  await page.locator(".row .cell:not(:empty):not(.stale)").first().waitFor(WITHIN);
  assert.deepEqual(
    page.wrong.filter((line) => !line.includes("WebSocket")),
    [],
  );
  await page.context().close();
});

test("nothing is kept of an account that signed out", async () => {
  const page = await board("carl");
  await page.goto("about:blank");
  await page.goto(toteboard.url);
  await live(page);
  assert.ok((await kept(page)).length > 0);
  await page.getByRole("button", { name: "Sign out" }).click();
  await page.getByRole("heading", { name: "Sign in" }).waitFor(WITHIN);
  assert.deepEqual(await kept(page), []);
  toteboard = await toteboard.restart(async () => {
    await page.goto(toteboard.url);
    await page.getByText("The server can't be reached.").waitFor(WITHIN);
  });
  await page.context().close();
});
