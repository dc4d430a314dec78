// What visitors stumbled over: settings that links erase, marks on prices that aren't live, menus that stay open, a focus
// that is lost, and a sign-out that nobody heard.

import assert from "node:assert/strict";
import { after, before, test } from "node:test";
import { browser, everySportIsPolled, start } from "./toteboard.mjs";
import { WITHIN, choice, close, open as visit, prices, signIn, upcoming } from "./visitor.mjs";

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

async function signedIn(path = "/", context) {
  const page = await visit(chromium, toteboard.url + path, context);
  if (!context) await signIn(page, "demo", toteboard.password);
  await prices(page).first().waitFor(WITHIN);
  await page.locator(".state[data-state=live]").waitFor(WITHIN);
  return page;
}

/** Closes a page that was without a network: the browser reports each connection that failed. */
async function closeAfterOffline(page) {
  page.wrong = page.wrong.filter((text) => !text.includes("ERR_INTERNET_DISCONNECTED"));
  await close(page);
}

const menu = (page, name) => page.locator("details.menu").filter({ has: page.locator("summary", { hasText: new RegExp(`^${name}`) }) });
const focused = (page) => page.evaluate(() => document.activeElement.getAttribute("aria-label") ?? document.activeElement.id);

test("without a network nothing is live, and nothing is recommended", async () => {
  const page = await signedIn();
  await page.locator(".cell.best-price").first().waitFor(WITHIN);
  await page.context().setOffline(true);
  await page.locator(".state[data-state=off]").waitFor({ timeout: 5_000 });
  assert.equal(await page.locator(".best-price, .badge.arbitrage, .badge.margin, .best .price").count(), 0);
  assert.ok((await prices(page).count()) > 10, "the last prices are still there");
  await page.context().setOffline(false);
  await page.locator(".state[data-state=live]").waitFor(WITHIN);
  await page.locator(".cell.best-price").first().waitFor(WITHIN);
  await closeAfterOffline(page);
});

test("an address that makes no sense shows the usual", async () => {
  const page = await signedIn("/?market=a%20b&sport=%00&when=never");
  assert.ok(await page.getByRole("radio", { name: "Winner" }).first().isChecked());
  await close(page);
});

test("neither a link nor another tab changes the visitor's own settings", async () => {
  const page = await signedIn();
  await choice(page, "Odds").selectOption("american");
  await page.getByRole("radio", { name: "Total" }).check({ force: true });
  // An event that has started may be over before the next step.
  await page.locator(".title:not(:has(.started)) .pin").first().click();
  const pinned = (page) => page.locator(".title .pin[aria-pressed=true]").count();
  const american = (page) => page.locator(".cell", { hasText: /^[+-]\d{3,}$/ }).first().waitFor(WITHIN);
  // Somebody's link: it says what is shown, and its other parameters say nothing about that.
  const link = await signedIn("/?market=spreads&mine=nobody&pin=nothing&odds=fractional", page.context());
  assert.ok(await link.getByRole("radio", { name: "Handicap" }).isChecked());
  await american(link);
  assert.equal(await pinned(link), 1);
  // A link about something else: everything is as it was last.
  const other = await signedIn("/?utm_source=letter", page.context());
  assert.ok(await other.getByRole("radio", { name: "Handicap" }).isChecked());
  await american(other);
  // The first tab still shows what it showed, and knows of the other's pin.
  await link.locator(".title .pin[aria-pressed=false]").first().click();
  await page.waitForFunction(() => document.querySelectorAll(".title .pin[aria-pressed=true]").length === 2, null, WITHIN);
  assert.ok(await page.getByRole("radio", { name: "Total" }).isChecked());
  assert.deepEqual([...page.wrong, ...link.wrong, ...other.wrong], []);
  await close(page);
});

test("another market's prices are not moves", async () => {
  const page = await signedIn();
  await page.getByRole("radio", { name: "Total" }).check({ force: true });
  await page.locator(".outcome", { hasText: /^Over \d/ }).first().waitFor(WITHIN);
  const [moved, all] = await page.evaluate(() => [".cell.up, .cell.down", ".cell:not(:empty)"].map((it) => document.querySelectorAll(it).length));
  assert.ok(all > 50 && moved < all / 4, `${moved} of ${all} cells have moved`);
  await close(page);
});

test("all bookmakers that share the best price are marked", async () => {
  const page = await signedIn();
  const shared = await page.evaluate(() => {
    const rows = [...document.querySelectorAll(".event .row:has(.best .price)")];
    return rows.map((row) => {
      const best = row.querySelector(".best .price").innerText;
      const cells = [...row.querySelectorAll(".cell:not(.stale)")].filter((cell) => cell.innerText === best);
      const by = row.querySelector(".by").innerText;
      return { equal: cells.length, marked: cells.filter((cell) => cell.matches(".best-price")).length, by };
    });
  });
  assert.ok(shared.length > 10);
  for (const { equal, marked, by } of shared) {
    assert.equal(marked, equal, by);
    assert.equal(by.endsWith(`+${equal - 1}`), equal > 1, by);
  }
  await close(page);
});

test("a menu closes by Escape and by a press outside, and the sports are in order", async () => {
  const page = await signedIn();
  // The first entry is what is live now.
  const titles = (await page.locator(".pick label span:first-of-type").allInnerTexts()).map((it) => it.toLowerCase()).slice(1);
  assert.ok(titles.length > 5);
  assert.deepEqual(titles, [...titles].sort((a, b) => (a < b ? -1 : 1)));
  const bookmakers = menu(page, "Bookmakers");
  const open = page.locator("details.menu[open]");
  await bookmakers.locator("summary").click();
  await bookmakers.locator("input").first().focus();
  await page.keyboard.press("Escape");
  assert.equal(await open.count(), 0);
  assert.equal(await page.evaluate(() => document.activeElement.tagName), "SUMMARY");
  await bookmakers.locator("summary").click();
  await menu(page, "Columns").locator("summary").click();
  assert.equal(await open.count(), 1);
  await page.locator(".head .outcome").click();
  assert.equal(await open.count(), 0);
  await close(page);
});

test("the focus stays where the visitor works", async () => {
  const page = await visit(chromium, toteboard.url);
  await page.getByRole("heading", { name: "Sign in" }).waitFor(WITHIN);
  assert.equal(await page.title(), "Sign in – Toteboard");
  await signIn(page, "demo", "a wrong password");
  await page.getByRole("alert").getByText("Unknown name or wrong password").waitFor(WITHIN);
  assert.equal(await focused(page), "password");
  await signIn(page, "demo", toteboard.password);
  await prices(page).first().waitFor(WITHIN);
  assert.equal(await focused(page), "board");
  assert.equal(await page.title(), "Live odds – Toteboard");
  const last = page.locator(".event:has(.title) .pin").last();
  const name = await last.getAttribute("aria-label");
  await last.focus();
  await page.keyboard.press("Enter");
  await page.locator(".title .pin[aria-pressed=true]").waitFor(WITHIN);
  assert.equal(await page.locator(".title .pin").first().getAttribute("aria-label"), name);
  assert.equal(await focused(page), name);
  await close(page);
});

test("a sign-out that the server can't hear is made up for", async () => {
  const page = await signedIn();
  const me = () => page.evaluate(async () => (await (await fetch("/api/site")).json()).me ?? null);
  assert.ok(await me());
  await page.route("**/api/logout**", (route) => route.abort());
  await page.getByRole("button", { name: "Sign out" }).click();
  await page.getByText("You will be signed out once it can").waitFor(WITHIN);
  assert.ok(await me(), "the session is still there");
  // Not even a new visit shows the board.
  await page.reload();
  await page.getByRole("heading", { name: "Sign in" }).waitFor(WITHIN);
  await page.unroute("**/api/logout**");
  for (let waits = 0; waits < 150 && (await me()); waits++) await page.waitForTimeout(100);
  assert.equal(await me(), null);
  // Another sign-in is not undone.
  await signIn(page, "demo", toteboard.password);
  await prices(page).first().waitFor(WITHIN);
  await page.waitForTimeout(4_000);
  assert.ok(await me());
  await close(page);
});

test("what is wrong with a name is told apart from its label", async () => {
  const page = await visit(chromium, toteboard.url);
  await page.getByRole("button", { name: "Make an account instead" }).click();
  await signIn(page, "demo", "seven wet badgers");
  await page.getByText("Name or e-mail: ").waitFor(WITHIN);
  await close(page);
});

test("an upcoming event keeps its line while the board is cut off", async () => {
  const page = await signedIn();
  const title = await upcoming(page).innerText();
  await page.context().setOffline(true);
  await page.locator(".state[data-state=off]").waitFor({ timeout: 5_000 });
  assert.ok((await page.locator(".title .open").allInnerTexts()).includes(title));
  await page.context().setOffline(false);
  await page.locator(".state[data-state=live]").waitFor(WITHIN);
  await closeAfterOffline(page);
});
