// Takes the pictures of the documents: all views, on a large screen and on a phone, as small WebP files.
// Run by `cargo xtask pictures`.

import { writeFileSync } from "node:fs";
import { join } from "node:path";
import { browser, everySportIsPolled, start } from "./toteboard.mjs";
import { WITHIN, markets, openSheet, prices, signIn, upcoming } from "./visitor.mjs";

/** The most bytes of a picture. */
const MOST = 150_000;
const [folder] = process.argv.slice(2);
if (!folder) throw new Error("name the folder for the pictures");

const toteboard = await start("--attempts-per-minute", "10000");
const chromium = await browser();
const drawing = await chromium.newPage();

/** Writes what a page shows, as WebP: Chromium takes pictures as PNG only, but can draw and encode them. */
async function take(page, name) {
  const png = (await page.screenshot()).toString("base64");
  const encode = async (png) => {
    const image = new Image();
    image.src = `data:image/png;base64,${png}`;
    await image.decode();
    const canvas = Object.assign(document.createElement("canvas"), { width: image.width, height: image.height });
    canvas.getContext("2d").drawImage(image, 0, 0);
    return canvas.toDataURL("image/webp", 0.75).split(",")[1];
  };
  const webp = Buffer.from(await drawing.evaluate(encode, png), "base64");
  if (webp.length > MOST) throw new Error(`${name} has ${webp.length} bytes, the limit is ${MOST}`);
  writeFileSync(join(folder, `${name}.webp`), webp);
  console.log(`${name}.webp: ${webp.length} bytes`);
}

async function signedIn({ url, password }, width, height, colorScheme) {
  const context = await chromium.newContext({ viewport: { width, height }, colorScheme, reducedMotion: "reduce" });
  const page = await context.newPage();
  await page.goto(url);
  await signIn(page, "demo", password);
  await page.locator(".frame").waitFor(WITHIN);
  return page;
}

async function board(width, height, colorScheme) {
  const page = await signedIn(toteboard, width, height, colorScheme);
  await prices(page).first().waitFor(WITHIN);
  await page.locator(".state[data-state=live]").waitFor(WITHIN);
  return page;
}

/** What operators see while nothing stores the history, the credits of the day are used up, and no mail server answers. */
async function troubles() {
  const settings = ["--history", "questdb:http://127.0.0.1:9", "--max-credits-per-day", "60", "--smtp", "smtp://127.0.0.1:9"];
  const troubled = await start(...settings, "--email-sender", "Toteboard <toteboard@localhost>");
  try {
    const light = await signedIn(troubled, 1440, 900, "light");
    const data = { address: "anna@example.com", password: troubled.password };
    await light.request.put(`${troubled.url}/api/contacts/email`, { headers: { origin: troubled.url }, data });
    const dark = await signedIn(troubled, 390, 844, "dark");
    for (const page of [light, dark]) {
      await page.goto(`${troubled.url}/view/operator`);
      for (const problem of ["PricesAreOld", "HistoryNotStored", "ProviderFails"]) {
        await page.getByRole("heading", { name: problem }).waitFor({ timeout: 90_000 });
      }
    }
    await take(light, "operating-light");
    await take(dark, "phone-operating");
  } finally {
    await troubled.stop();
  }
}

/** The settings of how a user is reached. */
async function messages(width, height, colorScheme) {
  const page = await signedIn(toteboard, width, height, colorScheme);
  const { url, password } = toteboard;
  const ask = async (method, path, data) => {
    const answer = await page.request.fetch(url + path, { method, headers: { origin: url }, data });
    if (!answer.ok()) throw new Error(`${path}: ${answer.status()} ${await answer.text()}`);
  };
  await ask("PUT", "/api/contacts/email", { address: "anna@example.com", password });
  await ask("PATCH", "/api/contacts", { quiet_hours: { from: "22:00", until: "07:00", time_zone: "Europe/London" } });
  await page.goto(`${url}/settings`);
  await page.getByText("sent, anna@example.com").first().waitFor(WITHIN);
  return page;
}

/** Waits until the chart of the opened event has its lines. */
const charted = (page) => page.waitForFunction(() => document.querySelector("price-chart")?.shown?.lines.length > 0, null, WITHIN);

try {
  await everySportIsPolled(toteboard);
  // Until prices have moved.
  await new Promise((resolve) => setTimeout(resolve, 90_000));
  const light = await board(1440, 900, "light");
  await take(light, "board-light");
  const dark = await board(1440, 900, "dark");
  await upcoming(dark).click();
  await markets(dark).nth(1).waitFor(WITHIN);
  await charted(dark);
  await take(dark, "event-dark");
  const found = await board(1440, 900, "light");
  await found.getByRole("link", { name: "Movers" }).click();
  await found.locator("main tbody tr").first().waitFor(WITHIN);
  await take(found, "movers-light");
  await found.getByRole("link", { name: "Opportunities" }).click();
  await found.locator("main tbody tr").first().waitFor(WITHIN);
  await take(found, "opportunities-light");
  const phone = await board(390, 844, "light");
  await take(phone, "phone-board");
  await openSheet(phone);
  await take(phone, "phone-filters");
  await phone.keyboard.press("Escape");
  await upcoming(phone).click();
  await markets(phone).nth(1).waitFor(WITHIN);
  await charted(phone);
  await take(phone, "phone-event");
  await take(await messages(1440, 900, "light"), "messages-light");
  await take(await messages(390, 844, "dark"), "phone-messages");
  await troubles();
} finally {
  await chromium.close();
  await toteboard.stop();
}
