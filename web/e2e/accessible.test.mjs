// What axe finds on every page, light and dark: nothing.

import assert from "node:assert/strict";
import { readFileSync } from "node:fs";
import { createRequire } from "node:module";
import { after, before, test } from "node:test";
import { browser, start } from "./toteboard.mjs";
import { WITHIN, upcoming } from "./visitor.mjs";

const AXE = readFileSync(createRequire(import.meta.url).resolve("axe-core/axe.min.js"), "utf8");

let toteboard;
let chromium;

before(async () => {
  toteboard = await start("--speed", "20", "--poll-speed", "20", "--attempts-per-minute", "10000");
  chromium = await browser();
});

after(async () => {
  await chromium?.close();
  await toteboard?.stop();
});

async function finds(page, where) {
  // The page's own policy lets nothing in: the tester does.
  await page.evaluate(AXE);
  // Names, contrast, order; and that a finger finds what it aims at.
  const rules = { "target-size": { enabled: true } };
  const { violations } = await page.evaluate((rules) => globalThis.axe.run(document, { resultTypes: ["violations"], rules }), rules);
  const said = violations.map(({ id, nodes }) => `${id}: ${nodes.map((node) => node.html).slice(0, 3).join(" ")}`);
  assert.deepEqual(said, [], where);
}

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
      await page.locator(".row .cell:not(:empty)").first().waitFor(WITHIN);
      await upcoming(page).click();
      await page.locator(".line caption").first().waitFor(WITHIN);
      await finds(page, "the board");
      await page.getByRole("link", { name: "Settings" }).click();
      await page.getByRole("heading", { name: "Tokens for programs" }).waitFor(WITHIN);
      await finds(page, "settings");
      await context.close();
    });
  }
}
