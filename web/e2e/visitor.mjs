// Helpers for the page's tests: what a visitor does and sees.

import assert from "node:assert/strict";

export const WITHIN = { timeout: 40_000 };
// What Chromium logs when a server doesn't answer: to a request of the page, which shows it itself, and when it looks for a
// newer service worker, which it does whenever it likes.
const FAILED_REQUEST = /^(Failed to load resource|An unknown error occurred when fetching the script)/;
export const PASSWORD = "seven wet badgers";

/** Opens a page, in a new context unless one is given. Errors in the page are recorded in `page.wrong`. */
export async function open(chromium, url, context) {
  const own = context ?? (await chromium.newContext({ viewport: { width: 1280, height: 800 } }));
  const page = await own.newPage();
  page.wrong = [];
  page.on("pageerror", (error) => page.wrong.push(String(error)));
  page.on("console", (message) => {
    if (message.type() === "error" && !FAILED_REQUEST.test(message.text())) page.wrong.push(message.text());
  });
  await page.goto(url);
  return page;
}

export async function close(page) {
  assert.deepEqual(page.wrong, []);
  await page.context().close();
}

export async function signIn(page, name, password) {
  await page.getByLabel("Name or e-mail").fill(name);
  await page.getByLabel("Password").fill(password);
  await page.keyboard.press("Enter");
}

/** Opens the page as the demo user of a running program, in a new context with these settings, and waits for the live board. */
export async function liveBoard(chromium, toteboard, settings) {
  const context = await chromium.newContext({ viewport: { width: 1440, height: 900 }, ...settings });
  const page = await open(chromium, toteboard.url, context);
  await signIn(page, "demo", toteboard.password);
  await prices(page).first().waitFor(WITHIN);
  await page.locator(".state[data-state=live]").waitFor(WITHIN);
  return page;
}

export async function register(page, name) {
  await page.getByRole("button", { name: "Make an account instead" }).click();
  await signIn(page, name, PASSWORD);
  await page.locator(".frame").waitFor(WITHIN);
}

export const region = (page, key) => page.getByRole("checkbox", { name: new RegExp(`^${key}`, "i") });
/** The title of an event that has not started. One that has started may be over before the test's next step. */
export const upcoming = (page) => page.locator(".title:not(:has(.started)) .open").first();
/** Prices on the board: of bookmakers, or only the best ones where bookmakers have no columns. */
export const prices = (page) => page.locator(".row .cell:not(:empty), .row .best .price");
/** The headings of the opened event's markets. */
export const markets = (page) => page.locator(".panel .market h3");
export const choice = (page, name) => page.getByRole("combobox", { name });
/** Opens the sheet with all that can be chosen, on a screen that has no rail. */
export const openSheet = (page) => page.locator(".top .sheet-button").click();
