import assert from "node:assert/strict";
import { after, before, test } from "node:test";
import { browser, start } from "./toteboard.mjs";

let toteboard;
let chromium;

before(async () => {
  toteboard = await start("--speed", "60", "--poll-speed", "60", "--sports", "soccer_epl");
  chromium = await browser();
});

after(async () => {
  await chromium?.close();
  await toteboard?.stop();
});

test("prices move on the page by themselves", async () => {
  const page = await chromium.newPage();
  const wrong = [];
  page.on("pageerror", (error) => wrong.push(String(error)));
  page.on("console", (message) => message.type() === "error" && wrong.push(message.text()));
  await page.goto(toteboard.url);
  await page.getByText("These odds are simulated").waitFor({ timeout: 30_000 });
  await page.locator("td.price").first().waitFor({ timeout: 30_000 });
  const prices = () => page.locator("td.price").allInnerTexts();
  const first = (await prices()).join();
  await page.waitForFunction((first) => [...document.querySelectorAll("td.price")].map((td) => td.innerText).join() !== first, first, {
    timeout: 60_000,
  });
  assert.deepEqual(wrong, []);
  await page.close();
});
