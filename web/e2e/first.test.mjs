// The first minute: from the link that the program prints to a board that moves.

import assert from "node:assert/strict";
import { after, before, test } from "node:test";
import { browser, everySportIsPolled, start } from "./toteboard.mjs";
import { WITHIN, close, open as visit, prices, signIn } from "./visitor.mjs";

let toteboard;
let chromium;

before(async () => {
  toteboard = await start("--attempts-per-minute", "10000");
  chromium = await browser();
});

after(async () => {
  await chromium?.close();
  await toteboard?.stop();
});

test("the link that the program prints signs in, once", async () => {
  const page = await visit(chromium, toteboard.link);
  await prices(page).first().waitFor(WITHIN);
  assert.equal(new URL(page.url()).hash, "", "the code doesn't stay in the address");
  const moved = () => document.querySelectorAll(".cell.up, .cell.down").length > 20;
  await page.waitForFunction(moved, null, WITHIN);
  await page.getByText("Their time runs 20 times as fast.").waitFor(WITHIN);
  await close(page);
  const second = await visit(chromium, toteboard.link);
  await second.getByText("This link was used").waitFor(WITHIN);
  await signIn(second, "demo", toteboard.password);
  await prices(second).first().waitFor(WITHIN);
  await close(second);
});

test("a visitor who isn't signed in sees what this is", async () => {
  const page = await visit(chromium, toteboard.url);
  await page.getByRole("heading", { name: "Sign in" }).waitFor(WITHIN);
  assert.equal(await page.locator(".about-us li").count(), 3);
  const moves = await page.locator(".sample .cell").evaluateAll((cells) => cells.filter((cell) => cell.getAnimations().length > 0).length);
  assert.ok(moves > 0);
  await close(page);
});

test("what a first view asks for is asked for at once, and moves nothing on the screen", async () => {
  // Without a faster time: events that end would move others.
  const calm = await start("--speed", "1");
  after(() => calm.stop());
  await everySportIsPolled(calm);
  const page = await visit(chromium, calm.url);
  await signIn(page, "demo", calm.password);
  await prices(page).first().waitFor(WITHIN);
  await page.addInitScript(() => {
    globalThis.shifts = [];
    const note = (list) => globalThis.shifts.push(...list.getEntries().filter((it) => !it.hadRecentInput).map((it) => it.value));
    new PerformanceObserver(note).observe({ type: "layout-shift", buffered: true });
  });
  // Each board waits until all are asked for: if the page asked for one after the other, none would come.
  const asked = [];
  await page.route("**/api/odds/**", (route) => {
    asked.push(route);
    if (asked.length === 4) asked.forEach((route) => route.continue());
  });
  await page.reload();
  await page.locator(".row .cell:not(:empty):not(.stale)").first().waitFor(WITHIN);
  const { requests, moved } = await page.evaluate(() => ({
    requests: performance.getEntriesByType("resource").map(({ name, startTime, responseEnd }) => ({ name, startTime, responseEnd })),
    moved: globalThis.shifts.reduce((sum, shift) => sum + shift, 0),
  }));
  const of = (part) => requests.filter(({ name }) => name.includes(part));
  const [site, wasm, boards, bell] = [of("/api/site"), of("app_bg"), of("/api/odds/"), of("/api/alerts")];
  // One for the code, and one for what asks for the boards while the code is being loaded.
  assert.equal(site.length, 2);
  assert.equal(boards.length, 4);
  for (const it of [...site, ...boards]) assert.ok(it.startTime < wasm[0].responseEnd, `${it.name} doesn't wait for the code`);
  // The number of unread alerts can wait, and nothing else is asked for.
  const lastBoard = Math.max(...boards.map(({ startTime }) => startTime));
  assert.ok(bell.every(({ startTime }) => startTime > lastBoard), "the bell doesn't delay the boards");
  assert.equal(of("/api/").length, site.length + boards.length + bell.length);
  assert.ok(moved <= 0.01, `the layout shifted by ${moved}`);
  await close(page);
});
