// Messages: an address is confirmed by its link, alerts offer it, and a forgotten password is replaced.

import assert from "node:assert/strict";
import { existsSync, readFileSync, readdirSync } from "node:fs";
import { join } from "node:path";
import { after, before, test } from "node:test";
import { browser, start } from "./toteboard.mjs";
import { PASSWORD, WITHIN, close, open as visit, prices, register, signIn, upcoming } from "./visitor.mjs";

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

/** The text of an e-mail as it is in its file. */
const decoded = (email) => email.replace(/=\r?\n/g, "").replace(/=([0-9A-F]{2})/g, (_, hex) => String.fromCharCode(parseInt(hex, 16)));

/** Waits for a message to somebody with this in its text. */
async function message(to, part) {
  const folder = join(toteboard.data, "messages");
  for (const end = Date.now() + WITHIN.timeout; Date.now() < end; await new Promise((resolve) => setTimeout(resolve, 100))) {
    // It is created with the first message.
    const files = existsSync(folder) ? readdirSync(folder, { withFileTypes: true }) : [];
    const texts = files
      .filter((file) => /^[^.].*\.(eml|txt)$/.test(file.name))
      .map((file) => decoded(readFileSync(join(folder, file.name), "utf8")));
    const found = texts.find((text) => text.includes(`To: ${to}`) && text.includes(part));
    if (found) return found;
  }
  throw new Error(`no message to ${to} has ${part}`);
}

const link = (text) => text.match(/http:\/\/\S+\/links\/\S+?(?=[\s"<])/)[0];

async function confirmEmail(page, address, password = PASSWORD) {
  await page.getByRole("link", { name: "Settings" }).click();
  await page.getByLabel("E-mail address").fill(address);
  await page.locator("#email_password").fill(password);
  await page.getByRole("button", { name: "Save the e-mail address" }).click();
  await page.getByText("A link was sent there.").waitFor(WITHIN);
  const mailProgram = await visit(chromium, link(await message(address, "Confirm")));
  await mailProgram.getByRole("button", { name: "Confirm" }).click();
  await mailProgram.getByRole("heading", { name: "Confirmed" }).waitFor(WITHIN);
  await close(mailProgram);
}

test("an address that was confirmed gets a test, and alerts offer it", async () => {
  const page = await visit(chromium, toteboard.url);
  await register(page, "anna");
  await confirmEmail(page, "anna@example.com");
  await page.reload();
  await page.locator(".contact").getByText("confirmed", { exact: true }).waitFor(WITHIN);
  await page.getByRole("button", { name: "Send a test" }).click();
  await message("anna@example.com", "arrive here");
  await page.getByText("sent, anna@example.com").first().waitFor(WITHIN);
  await page.getByLabel("From, such as 22:00").fill("22:00");
  await page.getByLabel("Until, such as 07:00").fill("7:00");
  await page.getByRole("button", { name: "Save the quiet hours" }).click();
  await page.getByText("expected a time of day").waitFor(WITHIN);
  await page.getByLabel("Until, such as 07:00").fill("07:00");
  await page.getByRole("button", { name: "Save the quiet hours" }).click();
  await page.getByText("No alerts are sent from 22:00 to 07:00").waitFor(WITHIN);
  await close(page);
});

test("a phone number is confirmed by the code of an SMS", async () => {
  const page = await visit(chromium, toteboard.url);
  await register(page, "bert");
  await page.getByRole("link", { name: "Settings" }).click();
  await page.getByLabel("Phone number").fill("+44 7700 900123");
  await page.getByRole("button", { name: "Save the phone number" }).click();
  const [code] = (await message("+447700900123", "is your Toteboard code")).match(/\d{6}(?= is your)/);
  await page.getByLabel("The six digits").fill(code);
  await page.getByRole("button", { name: "Confirm the number" }).click();
  await page.locator(".contact").getByText("confirmed", { exact: true }).waitFor(WITHIN);
  await close(page);
});

test("a forgotten password is replaced by a link, once", async () => {
  const page = await visit(chromium, toteboard.url);
  await register(page, "cora");
  await confirmEmail(page, "cora@example.com");
  const other = await visit(chromium, toteboard.url);
  await other.getByRole("button", { name: "Forgot your password?" }).click();
  await other.getByText("Enter your name or e-mail address first.").waitFor(WITHIN);
  await other.getByLabel("Name or e-mail").fill("cora@example.com");
  await other.getByRole("button", { name: "Forgot your password?" }).click();
  await other.getByText("a link was sent there").waitFor(WITHIN);
  const address = link(await message("cora@example.com", "/links/password"));
  const mailProgram = await visit(chromium, address);
  await mailProgram.getByLabel("New password").fill("nine other badgers");
  await mailProgram.getByRole("button", { name: "Change the password" }).click();
  await mailProgram.getByText("Sign in with the new one.").waitFor(WITHIN);
  await page.getByRole("heading", { name: "Sign in" }).waitFor(WITHIN);
  await signIn(other, "cora", "nine other badgers");
  await other.locator(".frame").waitFor(WITHIN);
  await mailProgram.goto(address);
  await mailProgram.getByLabel("New password").fill("ten other badgers");
  await mailProgram.getByRole("button", { name: "Change the password" }).click();
  await mailProgram.getByText("This link was used").waitFor(WITHIN);
  for (const each of [page, other, mailProgram]) await close(each);
});

test("an alert reaches a confirmed address", async () => {
  const page = await visit(chromium, toteboard.url);
  await signIn(page, "demo", toteboard.password);
  await prices(page).first().waitFor(WITHIN);
  await confirmEmail(page, "demo@example.com", toteboard.password);
  await page.goto(toteboard.url);
  await upcoming(page).click();
  await page.locator(".panel .market button.bell").first().click();
  const dialog = page.getByRole("dialog");
  await dialog.getByRole("checkbox", { name: "E-mail" }).check();
  await page.getByLabel("This price or better").fill("1.01");
  await page.getByRole("button", { name: "Set the alert" }).click();
  const email = await message("demo@example.com", "List-Unsubscribe: ");
  assert.match(email, /reached \d+\.\d\d at /);
  assert.match(email, /List-Unsubscribe-Post: List-Unsubscribe=One-Click/);
  await close(page);
});
