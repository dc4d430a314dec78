// An event has its own address, all of its markets, and costs little to open.

import assert from "node:assert/strict";
import { after, before, test } from "node:test";
import { browser, everySportIsPolled, start } from "./toteboard.mjs";
import { WITHIN, close, liveBoard, markets, prices, upcoming } from "./visitor.mjs";

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

const board = (settings) => liveBoard(chromium, toteboard, settings);

test("an event opens beside the board, at its own address, and is there after a reload", async () => {
  const page = await board();
  const name = await upcoming(page).innerText();
  await upcoming(page).click();
  const heading = page.getByRole("heading", { name, level: 2 });
  await heading.waitFor(WITHIN);
  assert.match(page.url(), /\/event\/[0-9a-f]+$/);
  assert.equal(await page.title(), `${name} – Toteboard`);
  await markets(page).nth(1).waitFor(WITHIN);
  // Beside the board, not over it.
  const [panel, main] = [await page.locator(".panel").boundingBox(), await page.locator("main").boundingBox()];
  assert.ok(panel.x >= main.x + main.width, JSON.stringify({ panel, main }));
  await page.reload();
  await heading.waitFor(WITHIN);
  await markets(page).nth(1).waitFor(WITHIN);
  await page.getByRole("link", { name: "Close" }).click();
  await page.locator(".panel").waitFor({ state: "detached", ...WITHIN });
  assert.equal(new URL(page.url()).pathname, "/");
  await page.goBack();
  await heading.waitFor(WITHIN);
  await page.goBack();
  await page.locator(".panel").waitFor({ state: "detached", ...WITHIN });
  await close(page);
});

test("opening and closing an event asks for nothing but the event, in less than 30 KB", async () => {
  const page = await board();
  // The code of the view is loaded once, some seconds after the board.
  const isLoaded = () => performance.getEntriesByType("resource").some((it) => it.name.includes("split_opened"));
  await page.waitForFunction(isLoaded, null, WITHIN);
  await page.waitForTimeout(1_000);
  const session = await page.context().newCDPSession(page);
  await session.send("Network.enable");
  let [bytes, frames, asked, isCounting] = [0, 0, [], true];
  const urls = new Map();
  session.on("Network.requestWillBeSent", ({ requestId, request }) => urls.set(requestId, request.url));
  session.on("Network.loadingFinished", ({ requestId, encodedDataLength }) => {
    // The chart has a budget of its own.
    const isOfChart = /\/assets\/chart-|\/api\/(rules|history\/(series|sparklines))/.test(urls.get(requestId));
    if (!isCounting || !urls.has(requestId) || isOfChart) return;
    bytes += encodedDataLength;
    asked.push(`${urls.get(requestId)} ${encodedDataLength}`);
  });
  // What goes on while nothing is opened is the board's: frames of the board's own connection aren't counted.
  const sockets = new Set();
  session.on("Network.webSocketCreated", ({ requestId }) => sockets.add(requestId));
  session.on("Network.webSocketFrameReceived", ({ requestId, response }) => {
    if (isCounting && sockets.has(requestId)) frames += response.payloadData.length;
  });
  await upcoming(page).click();
  await markets(page).nth(1).waitFor(WITHIN);
  await page.locator(".ladder .lay:not(:empty)").first().waitFor(WITHIN);
  isCounting = false;
  bytes += frames;
  console.log(`opening an event: ${bytes} bytes`);
  assert.ok(bytes > 1_000 && bytes < 30_000, `${bytes} bytes: ${asked.join("\n")}`);
  isCounting = true;
  bytes = 0;
  const isFilter = [];
  session.on("Network.webSocketFrameSent", ({ response }) => isFilter.push(response.payloadData));
  await page.getByRole("link", { name: "Close" }).click();
  await page.locator(".panel").waitFor({ state: "detached", ...WITHIN });
  // Frames that came before are the opened event's.
  frames = 0;
  await page.waitForTimeout(1_000);
  bytes += frames;
  assert.ok(bytes < 1_000, `closing costs ${bytes} bytes`);
  assert.deepEqual(isFilter.filter((text) => text.includes('"filter"')), []);
  await close(page);
});

test("an opened event is what the gateway has, and moves", async () => {
  const page = await board();
  await upcoming(page).click();
  await markets(page).nth(1).waitFor(WITHIN);
  const id = new URL(page.url()).pathname.split("/").pop();
  const shown = () => page.locator(".market").first().locator("tbody tr").evaluateAll((rows) => rows.map((row) => row.innerText.split("\t").slice(0, -1).join(" ")).sort());
  const truth = async () => {
    const boards = await Promise.all(["us", "uk", "eu", "au"].map(async (region) => (await page.request.get(`${toteboard.url}/api/odds/${region}?event=${id}&market=h2h`)).json()));
    const quotes = boards.flatMap((board) => board.events.flatMap((event) => event.quotes));
    return new Set(quotes.flatMap((quote) => quote.outcomes.map((outcome) => outcome.price.toFixed(2))));
  };
  const first = await shown();
  assert.ok(first.length > 10, first.join("\n"));
  const known = await truth();
  const prices = await page.locator(".market").first().locator("td.back:not(:empty)").allInnerTexts();
  const wrong = prices.filter((price) => !known.has(price));
  // A price may have changed between the two looks.
  assert.ok(wrong.length <= prices.length / 10, `${wrong.length} of ${prices.length}: ${wrong.join()}`);
  for (let waits = 0; waits < 400 && String(await shown()) === String(first); waits++) await page.waitForTimeout(100);
  assert.notDeepEqual(await shown(), first);
  await close(page);
});

test("the keyboard moves among events and outcomes, opens, pins, searches and explains", async () => {
  const page = await board();
  const focused = () => page.evaluate(() => document.activeElement.className);
  await page.locator("#board").focus();
  await page.keyboard.press("j");
  assert.equal(await focused(), "open");
  await page.keyboard.press("ArrowDown");
  assert.equal(await focused(), "row");
  await page.keyboard.press("k");
  assert.equal(await focused(), "open");
  await page.keyboard.press("p");
  await page.locator(".title .pin[aria-pressed=true]").waitFor(WITHIN);
  await page.keyboard.press("j");
  await page.keyboard.press("Enter");
  await markets(page).first().waitFor(WITHIN);
  await page.keyboard.press("Escape");
  await page.locator(".panel").waitFor({ state: "detached", ...WITHIN });
  assert.equal(await focused(), "open");
  await page.keyboard.press("/");
  assert.equal(await page.evaluate(() => document.activeElement.id), "search");
  await page.locator("#board").focus();
  await page.keyboard.press("?");
  await page.getByRole("dialog", { name: "Shortcuts" }).waitFor(WITHIN);
  // Each event is one stop of the Tab key.
  const stops = await page.locator(".event:has(.title)").evaluateAll((all) => all.map((event) => [...event.querySelectorAll("a, button, [tabindex]")].filter((it) => it.tabIndex >= 0).length));
  assert.ok(stops.length > 5 && stops.every((count) => count === 1), stops.join());
  await close(page);
});

test("events are ordered by start, margin and movement, and the visitor's own bookmakers come first", async () => {
  const page = await board();
  await page.locator(".league").nth(2).waitFor(WITHIN);
  await page.getByRole("combobox", { name: "Order" }).selectOption("margin");
  await page.locator(".league").first().waitFor({ state: "detached", ...WITHIN });
  // The order is refreshed every few seconds, and margins change in between. An arbitrage is a margin below zero. A badge
  // that is not drawn yet has no text.
  await page.waitForFunction(
    () => {
      const badges = [...document.querySelectorAll(".title .badge:is(.margin, .arbitrage)")].slice(0, 6);
      const margins = badges.map((badge) => badge.innerText.match(/[\d.]+/)?.[0] * (badge.matches(".arbitrage") ? -1 : 1));
      return margins.length > 3 && margins.every((margin, n) => n === 0 || margins[n - 1] <= margin);
    },
    null,
    WITHIN,
  );
  await page.locator("summary", { hasText: "Columns" }).click();
  for (const name of ["Pinnacle", "Coral"]) await page.getByRole("button", { name: `${name} first` }).click();
  const columns = () => page.locator(".head .bookmaker").evaluateAll((all) => all.slice(0, 2).map((head) => head.title));
  assert.deepEqual(await columns(), ["pinnacle", "coral"]);
  await page.getByRole("button", { name: "Move Coral to the left" }).click();
  assert.deepEqual(await columns(), ["coral", "pinnacle"]);
  await page.getByRole("button", { name: "Hide Pinnacle" }).click();
  assert.equal(await page.locator(".head .bookmaker[title=pinnacle]").count(), 0);
  await page.keyboard.press("Escape");
  await page.reload();
  await prices(page).first().waitFor(WITHIN);
  assert.equal((await columns())[0], "coral");
  assert.equal(await page.locator(".head .bookmaker[title=pinnacle]").count(), 0);
  await close(page);
});

test("the theme and the density are chosen, and times and numbers are written as the browser writes them", async () => {
  const page = await board({ locale: "de-DE", timezoneId: "Europe/Berlin" });
  const ground = () => page.evaluate(() => getComputedStyle(document.body).backgroundColor);
  const before = await ground();
  await page.getByRole("combobox", { name: "Theme" }).selectOption("dark");
  await page.waitForFunction((before) => getComputedStyle(document.body).backgroundColor !== before, before, WITHIN);
  await page.getByRole("combobox", { name: "Density" }).selectOption("comfortable");
  await page.locator(".board.comfortable").waitFor(WITHIN);
  assert.match(await page.locator(".event .best .price").first().innerText(), /^\d+,\d\d$/);
  assert.match(await page.locator(".zone").innerText(), /MEZ|GMT\+1/);
  await close(page);
});
