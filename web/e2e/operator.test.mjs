// Operators see how everything is, and act: on a page of their own, of which others see nothing.

import assert from "node:assert/strict";
import { readFileSync, readdirSync } from "node:fs";
import { join } from "node:path";
import { after, before, test } from "node:test";
import { finds } from "./axe.mjs";
import { browser, start } from "./toteboard.mjs";
import { WITHIN, close, liveBoard, open, openSheet, register, signIn } from "./visitor.mjs";

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

const part = (page, name) => page.getByRole("region", { name, exact: true });

/** Opens the view of operators, as the demo user, who is one. */
async function operating(settings) {
  const page = await liveBoard(chromium, toteboard, settings);
  if (settings?.viewport?.width < 1000) await openSheet(page);
  await page.getByRole("link", { name: "Operating" }).click();
  await page.getByRole("heading", { name: "All is well" }).waitFor(WITHIN);
  return page;
}

/** Confirms what is asked for, and returns what was done. */
async function confirm(page, title) {
  const dialog = page.getByRole("dialog", { name: title });
  await dialog.getByRole("button", { name: "Do it" }).click();
  await dialog.getByRole("button", { name: "Close" }).waitFor(WITHIN);
  const text = await dialog.locator("#dialog-text").innerText();
  await dialog.getByRole("button", { name: "Close" }).click();
  return text;
}

test("an operator sees all programs and handles accounts", async () => {
  const page = await operating();
  assert.equal(await page.title(), "Operating – Toteboard");
  for (const region of ["US", "UK", "EU", "AU"]) {
    await part(page, "Regions").getByRole("heading", { name: `${region} live` }).waitFor(WITHIN);
  }
  await part(page, "Brokers").getByRole("cell", { name: /^127\.0\.0\.1:/ }).nth(2).waitFor(WITHIN);
  // Itself and the board beside it are connected.
  const me = part(page, "Users with the most connections").getByRole("row", { name: /demo/ });
  await me.waitFor(WITHIN);

  await page.getByLabel("New account").fill("ben");
  await page.getByRole("button", { name: "Create" }).click();
  const dialog = page.getByRole("dialog");
  assert.match(await dialog.locator("#dialog-text").innerText(), /audit log/);
  await dialog.getByRole("button", { name: "Cancel" }).click();
  await page.getByRole("button", { name: "Find" }).click();
  await part(page, "Accounts").getByRole("row", { name: /demo/ }).first().waitFor(WITHIN);
  assert.equal(await page.getByRole("row", { name: /^ben/ }).count(), 0, "nothing is done before it is confirmed");
  await page.getByRole("button", { name: "Create" }).click();
  const [, password] = (await confirm(page, "Create the account ben")).match(/password of ben is (\S+)\./);

  const ben = await open(chromium, toteboard.url);
  await signIn(ben, "ben", password);
  await ben.locator(".state[data-state=live]").waitFor(WITHIN);
  await page.getByRole("row", { name: /^ben/ }).getByRole("button", { name: "Disable" }).click();
  assert.equal(await confirm(page, "Disable ben"), "Done.");
  await page.getByRole("row", { name: /^ben/ }).getByText("disabled").waitFor(WITHIN);
  await ben.getByRole("heading", { name: "Sign in" }).waitFor(WITHIN);
  await close(ben);

  await page.getByRole("button", { name: "Close it" }).click();
  await confirm(page, "Close registration");
  await page.getByText("Registration is closed.").waitFor(WITHIN);
  await page.getByRole("button", { name: "Open it" }).click();
  await confirm(page, "Open registration");

  await page.getByRole("button", { name: "Show the newest" }).click();
  const log = part(page, "What operators did");
  await log.getByRole("row", { name: /demo .* open registration/ }).waitFor(WITHIN);
  for (const [action, about] of [["create account", "ben"], ["disable account", "ben"], ["close registration", ""]]) {
    assert.equal(await log.getByRole("row", { name: new RegExp(`demo .*${action} ?${about}`) }).count(), 1, action);
  }
  const [file] = await Promise.all([page.waitForEvent("download", WITHIN), page.getByRole("link", { name: "Save all as CSV" }).click()]);
  assert.match(readFileSync(await file.path(), "utf8"), /,demo,127\.0\.0\.1,.*,disable_account,ben,\n/);

  await page.getByRole("button", { name: "Show", exact: true }).click();
  await page.getByText("Dead letters of transactions.dead: none").waitFor(WITHIN);
  // The address leads there again.
  await page.reload();
  await page.getByRole("heading", { name: "All is well" }).waitFor(WITHIN);
  await close(page);
});

test("what is drawn again keeps the focus and what is folded open", async () => {
  const page = await operating();
  await part(page, "Regions").getByText(/^\d+ sports$/).first().click();
  await part(page, "How often each sport is polled").first().waitFor(WITHIN);
  const end = part(page, "Users with the most connections").getByRole("button", { name: "End sessions" });
  await end.focus();
  // Its numbers change every few seconds.
  const polls = () => part(page, "Regions").innerText();
  const before = await polls();
  for (const late = Date.now() + WITHIN.timeout; (await polls()) === before; await page.waitForTimeout(200)) assert.ok(Date.now() < late);
  await page.waitForTimeout(6_000);
  assert.ok(await part(page, "How often each sport is polled").first().isVisible());
  assert.equal(await page.evaluate(() => document.activeElement.shadowRoot?.activeElement?.textContent), "End sessions");
  await close(page);
});

test("the same problem of several regions is told once", async () => {
  const page = await operating();
  const told = await page.evaluate(async () => {
    const element = document.querySelector("toteboard-operator");
    const status = await (await fetch("/api/operator/status")).json();
    const problem = (name, about, text, since) => ({ name, about, text, since, severity: "page", what_to_do: "wait" });
    status.problems = [
      problem("PricesAreOld", "au", "stale", "2026-01-01T00:00:02Z"),
      problem("PricesAreOld", "eu", "stale", "2026-01-01T00:00:01Z"),
      problem("PricesAreOld", "us", "down", "2026-01-01T00:00:03Z"),
    ];
    status.at = "2026-01-01T00:00:11Z";
    element.setAttribute("status", JSON.stringify(status));
    const texts = (selector) => [...element.shadowRoot.querySelectorAll(selector)].map((it) => it.innerText);
    return [...texts("#verdict"), ...texts(".problem h3")];
  });
  assert.match(told[0], /2 problems/);
  assert.match(told[1], /^PricesAreOld · au, eu\s.*10 s/s);
  assert.match(told[2], /^PricesAreOld · us\s.*8 s/s);
  await close(page);
});

test("others see nothing of it", async () => {
  const page = await open(chromium, toteboard.url);
  await register(page, "anna");
  await page.locator(".state[data-state=live]").waitFor(WITHIN);
  assert.equal(await page.getByRole("link", { name: "Operating" }).count(), 0);
  const told = (path) => page.evaluate(async (path) => [(await fetch(path)).status, await (await fetch(path)).text()], path);
  for (const path of ["/api/operator/screen.js", "/api/operator/status"]) assert.deepEqual(await told(path), await told("/api/nothing"));
  assert.deepEqual(await told("/operator/screen.js"), await told("/nothing/screen.js"));
  await page.goto(`${toteboard.url}/view/operator`);
  await page.getByText("There is no such view for this account.").waitFor(WITHIN);
  await close(page);
  // Nor in what everybody downloads.
  for (const entry of readdirSync(process.env.PAGE, { recursive: true, withFileTypes: true })) {
    const path = join(entry.parentPath, entry.name);
    if (!entry.isFile()) continue;
    assert.ok(!/operator/i.test(readFileSync(path, "latin1")), path);
  }
});

test("the view lasts while the gateway is away, and says so", async () => {
  let page;
  const own = await start("--attempts-per-minute", "10000");
  try {
    page = await liveBoard(chromium, own);
    await page.getByRole("link", { name: "Operating" }).click();
    await page.getByRole("heading", { name: "All is well" }).waitFor(WITHIN);
    const again = await own.restart(() => page.getByText("Not live: Reconnecting.").waitFor(WITHIN));
    try {
      await page.getByText("Not live").waitFor({ ...WITHIN, state: "hidden" });
    } finally {
      await again.stop();
    }
  } finally {
    await page?.context().close();
  }
});

for (const colorScheme of ["light", "dark"]) {
  for (const viewport of [{ width: 390, height: 800 }, { width: 1440, height: 900 }]) {
    test(`axe finds nothing: ${colorScheme}, ${viewport.width} pixels wide`, async () => {
      const page = await operating({ colorScheme, viewport, bypassCSP: true, reducedMotion: "reduce" });
      await page.getByRole("button", { name: "Find" }).click();
      await part(page, "Accounts").getByRole("row", { name: /demo/ }).first().waitFor(WITHIN);
      await page.getByRole("button", { name: "Show the newest" }).click();
      await part(page, "What operators did").waitFor(WITHIN);
      await finds(page, "the view of operators");
      const wide = await page.evaluate(() => document.documentElement.scrollWidth - document.documentElement.clientWidth);
      assert.equal(wide, 0, "it fits the screen");
      await page.getByRole("button", { name: "Create" }).focus();
      await page.getByLabel("New account").fill("somebody");
      await page.getByRole("button", { name: "Create" }).click();
      await finds(page, "the question");
      await page.context().close();
    });
  }
}
