// What a visitor of the page does and sees, for every test of it.

import assert from "node:assert/strict";

export const WITHIN = { timeout: 40_000 };
export const PASSWORD = "seven wet badgers";

/** A page of a browser of its own, unless a context is given, that notes what goes wrong in it. */
export async function open(chromium, url, context) {
  const own = context ?? (await chromium.newContext({ viewport: { width: 1280, height: 800 } }));
  const page = await own.newPage();
  page.wrong = [];
  page.on("pageerror", (error) => page.wrong.push(String(error)));
  // That an answer was a refusal is told on the page; Chromium tells it here, too.
  page.on("console", (message) => {
    if (message.type() === "error" && !message.text().startsWith("Failed to load resource")) page.wrong.push(message.text());
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

export async function register(page, name) {
  await page.getByRole("button", { name: "Make an account instead" }).click();
  await signIn(page, name, PASSWORD);
  await page.getByRole("group", { name: "Regions" }).waitFor(WITHIN);
}

export const region = (page, key) => page.getByRole("checkbox", { name: new RegExp(`^${key}`, "i") });
/** The title of an event that has not started: one that has may be over before the next look at it. */
export const upcoming = (page) => page.locator(".title:not(:has(.started)) .open").first();
export const prices = (page) => page.locator(".row .cell:not(:empty)");
