// axe must find no violations on any view, with light and dark colours.

import assert from "node:assert/strict";
import { after, before, test } from "node:test";
import { finds } from "./axe.mjs";
import { browser, start } from "./toteboard.mjs";
import { WITHIN, markets, openSheet, prices, upcoming } from "./visitor.mjs";

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

for (const colorScheme of ["light", "dark"]) {
  for (const viewport of [{ width: 390, height: 800 }, { width: 1280, height: 800 }]) {
    test(`${colorScheme}, ${viewport.width} pixels wide`, async () => {
      const context = await chromium.newContext({ colorScheme, viewport, bypassCSP: true, reducedMotion: "reduce" });
      const page = await context.newPage();
      await page.goto(toteboard.url);
      await page.getByRole("heading", { name: "Sign in" }).waitFor(WITHIN);
      await finds(page, "sign-in");
      await page.getByLabel("Name or e-mail").fill("demo");
      await page.getByLabel("Password").fill(toteboard.password);
      await page.keyboard.press("Enter");
      await prices(page).first().waitFor(WITHIN);
      const isNarrow = viewport.width < 1000;
      // A few events are enough: axe takes minutes for thousands of cells.
      const team = (await upcoming(page).innerText()).split(" – ")[0];
      await page.goto(`${toteboard.url}/?q=${encodeURIComponent(team)}`);
      await prices(page).first().waitFor(WITHIN);
      await finds(page, "the board");
      if (isNarrow) await openSheet(page);
      for (const menu of ["Bookmakers", "Columns"]) {
        await page.locator("summary", { hasText: menu }).click();
        await finds(page, `the menu ${menu}`);
      }
      await page.keyboard.press("Escape");
      if (isNarrow) await page.keyboard.press("Escape");
      await page.locator(".event .open").first().focus();
      await page.keyboard.press("?");
      await page.getByRole("heading", { name: "Shortcuts" }).waitFor(WITHIN);
      await finds(page, "the shortcuts");
      await page.keyboard.press("Escape");
      await page.locator(".event .open").first().click();
      await markets(page).first().waitFor(WITHIN);
      await finds(page, "an event");
      await context.setOffline(true);
      await page.locator(".state[data-state=off]").waitFor(WITHIN);
      await finds(page, "offline");
      await context.setOffline(false);
      await page.locator(".state[data-state=live]").waitFor(WITHIN);
      await page.goto(`${toteboard.url}/event/nothing`);
      await page.getByText("This event is over").waitFor(WITHIN);
      await finds(page, "an event that is over");
      await page.goto(`${toteboard.url}/?q=nobody`);
      await page.getByText("Nothing on the board matches").waitFor(WITHIN);
      await finds(page, "nothing found");
      if (isNarrow) await openSheet(page);
      await page.getByRole("link", { name: "Settings" }).click();
      await page.getByRole("heading", { name: "Tokens for programs" }).waitFor(WITHIN);
      await finds(page, "settings");
      for (const [path, heading] of [["movers", "Movers"], ["opportunities", "Opportunities"]]) {
        await page.goto(`${toteboard.url}/${path}`);
        await page.getByRole("heading", { name: heading }).waitFor(WITHIN);
        await page.locator("main table, main [role=status]:not(:empty)").first().waitFor(WITHIN);
        await finds(page, path);
      }
      await context.close();
    });
  }
}

/** What doesn't fit into its box, or makes the page wider than the screen. */
const overflowing = (page) =>
  page.evaluate(() => {
    const root = document.documentElement;
    const boxes = document.querySelectorAll(".row > *, .title h3, .head .row > *, .top > *, .side label, .side a, .bar > :not(.unseen), .ladder th, .ladder td");
    const isTooWide = (box) => box.clientWidth > 0 && box.scrollWidth > box.clientWidth + 1;
    const wide = [...boxes].filter(isTooWide).map((box) => `${box.className || box.tagName}: ${box.textContent}`);
    return root.scrollWidth > root.clientWidth ? ["the document", ...wide] : wide;
  });

const SPACED = "* { line-height: 1.5 !important; letter-spacing: 0.12em !important; word-spacing: 0.16em !important; }";

for (const [what, style] of [["text of twice the size", "html { font-size: 200% !important; }"], ["spaced text", SPACED]]) {
  for (const viewport of [{ width: 390, height: 800 }, { width: 1440, height: 900 }]) {
    test(`${what}, ${viewport.width} pixels wide: everything fits`, async () => {
      const context = await chromium.newContext({ viewport, bypassCSP: true, reducedMotion: "reduce" });
      const page = await context.newPage();
      await page.goto(toteboard.url);
      await page.getByLabel("Name or e-mail").fill("demo");
      await page.getByLabel("Password").fill(toteboard.password);
      await page.keyboard.press("Enter");
      await prices(page).first().waitFor(WITHIN);
      await page.addStyleTag({ content: style });
      await page.locator(".state[data-state=live]").waitFor(WITHIN);
      assert.deepEqual([...new Set(await overflowing(page))].slice(0, 5), [], "the board");
      await page.locator(".event .open").first().click();
      await markets(page).first().waitFor(WITHIN);
      assert.deepEqual([...new Set(await overflowing(page))].slice(0, 5), [], "an event");
      await context.close();
    });
  }
}

test("with forced colours, best prices and what is chosen can be told apart", async () => {
  const context = await chromium.newContext({ viewport: { width: 1440, height: 900 }, forcedColors: "active" });
  const page = await context.newPage();
  await page.goto(toteboard.url);
  await page.getByLabel("Name or e-mail").fill("demo");
  await page.getByLabel("Password").fill(toteboard.password);
  await page.keyboard.press("Enter");
  await page.locator(".row .cell.best-price").first().waitFor(WITHIN);
  const border = (selector) => page.evaluate((selector) => getComputedStyle(document.querySelector(selector)).borderTopWidth, selector);
  assert.notEqual(await border(".row .cell.best-price"), "0px");
  assert.equal(await border(".row .cell:not(.best-price)"), "0px");
  assert.notEqual(await border(".markets input:checked + span"), "0px");
  assert.equal(await border(".markets input:not(:checked) + span"), "0px");
  await context.close();
});
