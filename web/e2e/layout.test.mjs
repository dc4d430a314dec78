// On every screen size, the whole board can be reached and nothing overflows.

import assert from "node:assert/strict";
import { after, before, test } from "node:test";
import { browser, everySportIsPolled, start } from "./toteboard.mjs";
import { WITHIN, close, open as visit, prices, signIn } from "./visitor.mjs";

const SCREENS = [
  [320, 568],
  [390, 844],
  [568, 320],
  [700, 900],
  [820, 1180],
  [1024, 768],
  [1280, 800],
  [1440, 900],
  [1920, 1080],
  [2560, 1440],
];
const PANELS = ["Sports", "Bookmakers", "My bookmakers"];

let toteboard;
let chromium;

before(async () => {
  toteboard = await start("--speed", "20", "--poll-speed", "20", "--attempts-per-minute", "10000");
  await everySportIsPolled(toteboard);
  chromium = await browser();
});

after(async () => {
  await chromium?.close();
  await toteboard?.stop();
});

async function board(width, height, settings) {
  const context = await chromium.newContext({ viewport: { width, height }, ...settings });
  const page = await visit(chromium, toteboard.url, context);
  await signIn(page, "demo", toteboard.password);
  await prices(page).first().waitFor(WITHIN);
  return page;
}

for (const [width, height] of [[390, 844], [1440, 900]]) {
  test(`prices of the last bookmaker are seen, ${width} pixels wide`, async () => {
    const page = await board(width, height);
    const columns = await page.locator(".head .bookmaker").count();
    assert.ok(columns > 30, `${columns} bookmakers`);
    await page.locator(".board").evaluate((board) => board.scrollTo(board.scrollWidth, 0));
    // Visible means clickable: neither cut off nor covered.
    const isSeen = () => {
      const last = document.querySelector(".head .bookmaker:last-child").getBoundingClientRect();
      const cells = [...document.querySelectorAll(".event .cell:last-child:not(:empty)")];
      const hit = cells.filter((cell) => {
        const { x, y, width, height } = cell.getBoundingClientRect();
        return document.elementFromPoint(x + width / 2, y + height / 2) === cell;
      });
      return last.right <= innerWidth && hit.length > 0;
    };
    await page.waitForFunction(isSeen, null, WITHIN);
    // The event's title stays in view.
    const title = await page.locator(".title .open").first().boundingBox();
    assert.ok(title.x >= 0 && title.x < width, JSON.stringify(title));
    await close(page);
  });
}

test("on no screen anything sticks out, whatever panel is open", async () => {
  const page = await board(1280, 800);
  const wrong = [];
  for (const [width, height] of SCREENS) {
    await page.setViewportSize({ width, height });
    for (const panel of [undefined, ...PANELS]) {
      const menu = page.locator("details.menu", { has: page.locator("summary", { hasText: new RegExp(`^${panel}`) }) });
      if (panel) await menu.locator("summary").click();
      const here = `${width}x${height}, ${panel ?? "no panel"}`;
      const wide = await page.evaluate(() => document.documentElement.scrollWidth);
      if (wide !== width) wrong.push(`${here}: ${wide} pixels wide`);
      if (panel) {
        const { x, y, width: w, height: h } = await menu.locator("fieldset").boundingBox();
        if (x < 0 || x + w > width || y < 0 || (y + h > height && height > 500)) wrong.push(`${here}: ${x} ${y} ${w} ${h}`);
        await menu.locator("summary").click();
      }
    }
    const toolbar = await page.locator(".toolbar").evaluate((toolbar) => [toolbar.clientHeight, toolbar.scrollHeight]);
    if (toolbar[0] < toolbar[1] || toolbar[0] < 36) wrong.push(`${width}x${height}: the toolbar has ${toolbar.join(" of ")} pixels`);
  }
  assert.deepEqual(wrong, []);
  await close(page);
});

test("no field makes a phone enlarge the page", async () => {
  const page = await board(390, 844, { hasTouch: true, isMobile: true });
  const sizes = await page.locator("#search, select").evaluateAll((all) => all.map((field) => parseFloat(getComputedStyle(field).fontSize)));
  assert.ok(sizes.length > 2 && sizes.every((size) => size >= 16), sizes.join());
  await close(page);
});
