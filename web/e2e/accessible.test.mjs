// axe must find no violations on any view, with light and dark colours.

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
  // Possible because the context bypasses the page's content security policy.
  await page.evaluate(AXE);
  // The size of touch targets is checked, too, which axe doesn't do by default.
  const rules = { "target-size": { enabled: true } };
  const { violations } = await page.evaluate((rules) => globalThis.axe.run(document, { resultTypes: ["violations"], rules }), rules);
  const found = violations.map(({ id, nodes }) => `${id}: ${nodes.map((node) => node.html).slice(0, 3).join(" ")}`);
  assert.deepEqual(found, [], where);
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
