// On every screen size, the whole board can be reached and nothing overflows.

import assert from "node:assert/strict";
import { after, before, test } from "node:test";
import { browser, everySportIsPolled, start } from "./toteboard.mjs";
import { WITHIN, close, open as visit, openSheet, prices, signIn } from "./visitor.mjs";

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
const PANELS = ["Bookmakers", "Columns"];

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

async function board(width, height, settings) {
  const context = await chromium.newContext({ viewport: { width, height }, ...settings });
  const page = await visit(chromium, toteboard.url, context);
  await signIn(page, "demo", toteboard.password);
  await prices(page).first().waitFor(WITHIN);
  return page;
}

test("prices of the last bookmaker are seen", async () => {
  const page = await board(1440, 900);
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
  // The event's name, its outcomes, the best price and the league stay in view.
  for (const part of [".title .open", ".event .outcome", ".event .best .by", ".league h2"]) {
    const { x, width } = await page.locator(part).first().boundingBox();
    assert.ok(x >= 0 && x + width < 1440, `${part} is at ${x}`);
  }
  await close(page);
});

test("a large screen shows 26 outcomes and 16 bookmakers at once", async () => {
  const page = await board(1440, 900);
  // Rows are added in portions.
  const isWhole = () => {
    const before = globalThis.rowsBefore;
    globalThis.rowsBefore = document.querySelectorAll(".event").length;
    return globalThis.rowsBefore === before;
  };
  await page.waitForFunction(isWhole, null, { ...WITHIN, polling: 300 });
  const seen = await page.evaluate(() => {
    const below = document.querySelector(".head").getBoundingClientRect().bottom;
    const isIn = ({ left, right, top, bottom, height }) => height > 0 && left >= 0 && right <= innerWidth && top >= below && bottom <= innerHeight;
    const labels = [...document.querySelectorAll(".event .outcome")].filter((label) => isIn(label.getBoundingClientRect()));
    const readable = labels.filter((label) => label.scrollWidth <= label.clientWidth && label.scrollHeight <= label.clientHeight + 1);
    const heads = [...document.querySelectorAll(".head .bookmaker")];
    const columns = heads.filter((head) => {
      const { left, right } = head.getBoundingClientRect();
      return left >= 0 && right <= innerWidth && head.scrollWidth <= head.clientWidth + 1;
    });
    return { all: heads.length, outcomes: readable.length, columns: columns.length };
  });
  assert.ok(seen.all >= 46 && seen.outcomes >= 26 && seen.columns >= 16, JSON.stringify(seen));
  await close(page);
});

test("a phone has one low header, and a tap on an outcome opens the ranked list of its bookmakers", async () => {
  const page = await board(390, 844, { hasTouch: true, isMobile: true });
  const { height } = await page.locator(".top").boundingBox();
  assert.ok(height <= 56, `the header has ${height} pixels`);
  const main = await page.locator("main").boundingBox();
  assert.equal(main.y, height);
  const row = page.locator(".event:has(.title) > .row:has(.price)").nth(1);
  const outcome = await row.locator(".outcome").innerText();
  await row.tap();
  await page.locator(".ladder tbody tr").nth(5).waitFor(WITHIN);
  assert.equal((await page.locator(".ladder [aria-sort]").first().innerText()).replace(/\s+/g, " "), outcome);
  // Live prices come first, from the best down. Boards of the event itself come after the view.
  const ranked = (least) => {
    const ladder = document.querySelector(".ladder");
    const at = [...ladder.querySelectorAll("thead tr:first-child th")].findIndex((head) => head.ariaSort);
    const across = ladder.querySelector("th[colspan='2']") ? 2 : 1;
    const cells = [...ladder.querySelectorAll("tbody tr")].map((row) => row.children[1 + (at - 1) * across]);
    const live = cells.filter((cell) => !cell.matches(".stale")).map((cell) => Number(cell.innerText));
    const prices = live.filter((price) => price > 0);
    return prices.length >= least && prices;
  };
  const prices = await page.waitForFunction(ranked, 6, WITHIN).then((handle) => handle.jsonValue());
  assert.deepEqual(prices, [...prices].sort((a, b) => b - a));
  await page.goBack();
  await page.locator(".panel").waitFor({ state: "detached", ...WITHIN });
  await close(page);
});

test("on no screen anything sticks out or is cut off, whatever is open", async () => {
  const page = await board(1280, 800);
  const wrong = [];
  for (const [width, height] of SCREENS) {
    await page.setViewportSize({ width, height });
    await page.locator(".event .best .by").first().waitFor(WITHIN);
    const here = `${width}x${height}`;
    const check = async (what) => {
      const wide = await page.evaluate(() => document.documentElement.scrollWidth);
      if (wide !== width) wrong.push(`${here}, ${what}: ${wide} pixels wide`);
    };
    await check("the board");
    const cut = await page.locator(".event .best .by").evaluateAll((all) => {
      const isCut = (by) => by.scrollWidth > by.clientWidth || by.scrollHeight > by.clientHeight + 1;
      return all.filter((by) => by.clientWidth > 0 && isCut(by)).map((by) => by.innerText);
    });
    if (cut.length > 0) wrong.push(`${here}: cut off: ${cut.slice(0, 3)}`);
    const isNarrow = width < 1100;
    if (isNarrow) await openSheet(page);
    for (const panel of PANELS) {
      const menu = page.locator("details.menu", { has: page.locator("summary", { hasText: panel }) });
      await menu.locator("summary").click();
      await menu.locator("fieldset").scrollIntoViewIfNeeded();
      await check(panel);
      const { x, y, width: w, height: h } = await menu.locator("fieldset").boundingBox();
      if (x < 0 || x + w > width || (!isNarrow && (y < 0 || y + h > height))) wrong.push(`${here}, ${panel}: ${x} ${y} ${w} ${h}`);
      await menu.locator("summary").click();
    }
    if (isNarrow) await page.keyboard.press("Escape");
  }
  assert.deepEqual(wrong, []);
  await close(page);
});

test("with text of twice the size, and with more space between letters and lines, nothing sticks out", async () => {
  const page = await board(1280, 800);
  const texts = {
    "200 %": "html { font-size: 200% }",
    spacing: "* { line-height: 1.5 !important; letter-spacing: 0.12em !important; word-spacing: 0.16em !important }",
  };
  for (const [what, content] of Object.entries(texts)) {
    // Not by a style element, which the content security policy forbids.
    await page.evaluate((content) => {
      const sheet = new CSSStyleSheet();
      sheet.replaceSync(content);
      document.adoptedStyleSheets = [sheet];
    }, content);
    await page.waitForTimeout(300);
    const wide = await page.evaluate(() => document.documentElement.scrollWidth);
    assert.equal(wide, 1280, what);
    const cut = await page.locator(".event .best .by").evaluateAll((all) => all.filter((by) => by.scrollWidth > by.clientWidth + 1).length);
    assert.equal(cut, 0, what);
  }
  await close(page);
});

for (const [width, height] of [[390, 844], [820, 1180], [1280, 800]]) {
  test(`no region moves away from a pointer, ${width} pixels wide`, async () => {
    const context = await chromium.newContext({ viewport: { width, height } });
    const page = await visit(chromium, toteboard.url, context);
    const views = new Promise((resolve) => page.route("**/api/me/views", resolve));
    await signIn(page, "demo", toteboard.password);
    await prices(page).first().waitFor(WITHIN);
    if (width < 1000) await openSheet(page);
    const regions = () => page.locator(".regions input").evaluateAll((all) => all.map((it) => it.getBoundingClientRect().y));
    const before = await regions();
    assert.equal(before.length, 4);
    // A link that comes late.
    await (await views).continue();
    await page.getByRole("link", { name: "Operating" }).waitFor(WITHIN);
    assert.deepEqual(await regions(), before);
    const keys = ["us", "uk", "eu", "au"];
    try {
      for (const key of keys) await page.locator(`input[value=${key}]`).uncheck({ force: true });
      // Without regions, there are no sports, only those that are live.
      await page.waitForFunction(() => document.querySelectorAll(".pick label").length === 1, null, WITHIN);
      assert.deepEqual(await regions(), before);
    } finally {
      const headers = { origin: toteboard.url };
      await page.request.put(`${toteboard.url}/api/subscriptions`, { headers, data: { regions: keys } });
    }
    await close(page);
  });
}

test("no field makes a phone enlarge the page", async () => {
  const page = await board(390, 844, { hasTouch: true, isMobile: true });
  const sizes = await page.locator("#search, select").evaluateAll((all) => all.map((field) => parseFloat(getComputedStyle(field).fontSize)));
  assert.ok(sizes.length > 2 && sizes.every((size) => size >= 16), sizes.join());
  await close(page);
});
