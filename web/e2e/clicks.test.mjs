// A click hits its target: rows stay under the pointer, and requests made while the page connects reach the gateway.

import assert from "node:assert/strict";
import { after, before, test } from "node:test";
import { browser, everySportIsPolled, start } from "./toteboard.mjs";
import { WITHIN, close, markets as tables, open as visit, prices, signIn, upcoming } from "./visitor.mjs";

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

const order = (page) => page.locator(".event").evaluateAll((all) => all.map((event) => event.dataset.event));
/** The open event's position on the screen. */
const place = (page) => page.locator(".event.open").evaluate((event) => Math.round(event.getBoundingClientRect().top));

/**
 * Opens the page without the events of some sports, as if they had not been polled yet; `come` delivers them. Also
 * drops events that have started, which would be above them.
 */
async function openEarly(settings) {
  const page = await visit(chromium, toteboard.url, await chromium.newContext(settings));
  const late = new Map();
  const removed = new Set();
  const cursors = new Map();
  let feed;
  let inTrouble = false;
  let socket;
  let earliest = Infinity;
  const isLate = ({ sport_title }) => sport_title && sport_title < "C";
  const hasStarted = ({ commence_time }) => commence_time && Date.parse(commence_time) < Date.now();
  // Without the boards by HTTP, all events come through the socket.
  await page.route("**/api/odds/**", (route) => route.abort());
  await page.routeWebSocket("**/socket.io/**", (page) => {
    const server = page.connectToServer();
    // That of an opened event.
    if (socket) return;
    socket = page;
    server.onMessage((message) => {
      if (message.startsWith('42["feed"')) {
        if (inTrouble) return;
        [, feed] = JSON.parse(message.slice(2));
      }
      if (!/^42\["(snapshot|odds)"/.test(message)) return page.send(message);
      const [name, payload] = JSON.parse(message.slice(2));
      for (const event of payload.events.filter(isLate)) late.set(`${payload.region} ${event.id}`, { region: payload.region, event });
      payload.events = payload.events.filter((event) => !isLate(event) && !hasStarted(event) && !removed.has(event.id));
      for (const { commence_time } of payload.events) if (commence_time) earliest = Math.min(earliest, Date.parse(commence_time));
      cursors.set(payload.region, payload.cursor);
      page.send(`42${JSON.stringify([name, payload])}`);
    });
  });
  await signIn(page, "demo", toteboard.password);
  await prices(page).first().waitFor(WITHIN);
  // The feed arrives after the board.
  await page.locator(".banner").waitFor(WITHIN);
  page.wrong = page.wrong.filter((text) => !text.includes("api/odds"));
  const come = async () => {
    // Waits, so that the events don't arrive in the middle of a snapshot.
    await page.locator(".state[data-state=live]").waitFor(WITHIN);
    assert.ok(late.size > 5, `${late.size} events are late`);
    // They start earlier than all others, so they are sorted above them.
    const starts = `${new Date(earliest - 60_000).toISOString().slice(0, 19)}Z`;
    for (const { event } of late.values()) event.commence_time = starts;
    for (const [region, cursor] of cursors) {
      const events = [...late.values()].filter((it) => it.region === region).map((it) => it.event);
      socket.send(`42${JSON.stringify(["odds", { region, prev: cursor, cursor, events }])}`);
    }
  };
  /** From now on, one region's feed is stale for this reason. */
  const trouble = (reason) => {
    inTrouble = true;
    socket.send(`42${JSON.stringify(["feed", { ...feed, state: "stale", reason }])}`);
  };
  /** Removes an event from every board. */
  const remove = (id) => {
    removed.add(id);
    for (const [region, cursor] of cursors) {
      socket.send(`42${JSON.stringify(["odds", { region, prev: cursor, cursor, events: [{ id, removed: true }] }])}`);
    }
  };
  return { page, come, remove, trouble };
}

/**
 * Checks that another event is above the open one, and that the open one is still at the same position. It may take a
 * moment to get there, because rows above it get their height only when they are drawn, and must then stay there.
 */
async function isBelowAndWhereItWas(page, at) {
  await page.waitForFunction(() => document.querySelector(".event:not(.open) ~ .event.open"), null, WITHIN);
  const isThere = (at) => Math.abs(document.querySelector(".event.open").getBoundingClientRect().top - at) <= 1;
  await page.waitForFunction(isThere, at, WITHIN).catch(async () => {
    const state = await page.evaluate(() => {
      const board = document.querySelector("[data-scrolls]");
      const of = (event) => [event.className, event.getBoundingClientRect().top, event.getBoundingClientRect().height];
      const { scrollTop, scrollHeight, clientHeight } = board;
      return { board: board.getBoundingClientRect().top, scrollTop, scrollHeight, clientHeight, events: [...document.querySelectorAll(".event")].map(of) };
    });
    assert.fail(`the open event was at ${at} and does not return there: ${JSON.stringify(state)}`);
  });
  await page.waitForTimeout(1000);
  const now = await place(page);
  assert.ok(Math.abs(now - at) <= 1, `the open event was at ${at} and is at ${now}`);
  assert.ok((await tables(page).count()) > 0);
}

test("rows stay under the mouse after a click, and an open event stays in sight when they move", async () => {
  const { page, come } = await openEarly({ viewport: { width: 1280, height: 800 } });
  await upcoming(page).click();
  await tables(page).first().waitFor(WITHIN);
  await page.mouse.move(640, 400);
  const [first, at] = [await order(page), await place(page)];
  await come();
  // Frames are drawn while the pointer moves among the rows, and no row moves.
  const moves = () => page.locator(".cell.up, .cell.down").count();
  for (let n = 0; n < 400 && !(await moves()); n++) {
    await page.mouse.move(640 + (n % 2), 400);
    await page.waitForTimeout(100);
  }
  await page.mouse.move(644, 400);
  await page.waitForTimeout(500);
  assert.deepEqual(await order(page), first);
  // The pointer leaves.
  await page.mouse.move(640, 10);
  await isBelowAndWhereItWas(page, at);
  await close(page);
});

test("while the pointer rests, what is new is announced, what has ended is marked, and then all rows move", async () => {
  const { page, come, remove } = await openEarly({ viewport: { width: 1280, height: 800 } });
  await page.mouse.move(640, 400);
  const first = await order(page);
  await come();
  await page.getByRole("button", { name: /^\d+ new events?$/ }).waitFor(WITHIN);
  await page.mouse.move(641, 400);
  const gone = first[0];
  const event = page.locator(`.event[data-event="${gone}"]`);
  await remove(gone);
  await event.locator(".badge.ended").waitFor(WITHIN);
  assert.equal(await event.locator(".best-price, .badge.margin, .badge.arbitrage, .best .price").count(), 0);
  await page.mouse.move(640, 400);
  await page.getByRole("button", { name: /^\d+ new events?$/ }).click();
  await page.waitForFunction((count) => document.querySelectorAll(".event").length > count, first.length, WITHIN);
  assert.equal(await event.count(), 0);
  assert.equal(await page.locator(".waiting button").count(), 0);
  await close(page);
});

test("rows that the pointer holds move after a few seconds", async () => {
  const { page, come } = await openEarly({ viewport: { width: 1280, height: 800 } });
  await page.mouse.move(640, 400);
  const first = await order(page);
  await come();
  await page.waitForFunction((count) => document.querySelectorAll(".event").length > count, first.length, WITHIN);
  await close(page);
});

test("an event that is opened with a finger stays in sight while others come", async () => {
  const { page, come } = await openEarly({ viewport: { width: 390, height: 800 }, hasTouch: true, isMobile: true });
  await upcoming(page).tap();
  await tables(page).first().waitFor(WITHIN);
  const at = await place(page);
  await come();
  await isBelowAndWhereItWas(page, at);
  // After that, the visitor can scroll freely.
  await page.locator("[data-scrolls]").evaluate((board) => board.scrollBy(0, -60));
  await page.waitForTimeout(1000);
  assert.ok((await place(page)) > at + 30, `the open event was at ${at} and is at ${await place(page)}`);
  await close(page);
});

test("what is said about a feed moves no row", async () => {
  const { page, trouble } = await openEarly({ viewport: { width: 390, height: 800 }, hasTouch: true, isMobile: true });
  const top = async () => (await page.locator(".event").first().boundingBox()).y;
  const at = await top();
  trouble("upstream is away, and this is a reason of more than one line on so narrow a screen");
  await page.locator(".trouble").waitFor(WITHIN);
  assert.equal(await top(), at);
  const [message, window] = [await page.locator(".trouble").boundingBox(), page.viewportSize()];
  assert.ok(message.y + message.height <= window.height, `the message is at ${message.y}, outside the window`);
  await close(page);
});

test("no row moves between a finger's press and its click", async () => {
  const { page, come } = await openEarly({ viewport: { width: 390, height: 800 }, hasTouch: true, isMobile: true });
  const first = await order(page);
  // When a finger is lifted, a browser sends `pointerleave` before `click`.
  const finger = (kind) =>
    page.locator(".board").evaluate(async (board, kind) => {
      board.dispatchEvent(new PointerEvent(kind, { pointerType: "touch" }));
      await new Promise((resolve) => setTimeout(resolve, 0));
      return [...document.querySelectorAll(".event")].map((event) => event.dataset.event);
    }, kind);
  await finger("pointerenter");
  await come();
  const moves = () => page.locator(".cell.up, .cell.down").count();
  for (let n = 0; n < 400 && !(await moves()); n++) {
    await finger("pointermove");
    await page.waitForTimeout(100);
  }
  await finger("pointermove");
  await page.waitForTimeout(500);
  assert.deepEqual(await finger("pointerleave"), first);
  await page.waitForFunction((count) => document.querySelectorAll(".event").length > count, first.length, WITHIN);
  await close(page);
});

test("what is chosen while the page connects is asked for once it is let in", async () => {
  const page = await visit(chromium, toteboard.url);
  const sent = [];
  let [connections, knock] = [0, undefined];
  await page.routeWebSocket("**/socket.io/**", (socket) => {
    connections++;
    const server = socket.connectToServer();
    socket.onMessage((message) => {
      sent.push(message);
      // Delays the page's first packet.
      if (connections === 1 && message.startsWith("40")) knock = () => server.send(message);
      else server.send(message);
    });
  });
  await signIn(page, "demo", toteboard.password);
  await prices(page).first().waitFor(WITHIN);
  for (let waits = 0; waits < 400 && !knock; waits++) await page.waitForTimeout(100);
  await page.getByRole("radio", { name: "Total" }).check({ force: true });
  knock();
  await page.locator(".state[data-state=live]").waitFor(WITHIN);
  await page.locator(".outcome", { hasText: /^Over \d/ }).first().waitFor(WITHIN);
  assert.equal(connections, 1, sent.join("\n"));
  await close(page);
});

test("a filter that was refused is asked for again", async () => {
  const page = await visit(chromium, toteboard.url);
  let [refused, granted] = [0, 0];
  await page.routeWebSocket("**/socket.io/**", (socket) => {
    const server = socket.connectToServer();
    socket.onMessage((message) => {
      const asks = message.match(/^42(\d+)\["filter"/);
      if (asks && refused++ === 0) {
        const error = { code: "too_many_filters", message: "too many filters are in use" };
        return socket.send(`43${asks[1]}[${JSON.stringify({ error })}]`);
      }
      if (asks) granted++;
      server.send(message);
    });
  });
  await signIn(page, "demo", toteboard.password);
  await page.locator(".state[data-state=live]").waitFor(WITHIN);
  await prices(page).first().waitFor(WITHIN);
  await page.getByRole("radio", { name: "Total" }).check({ force: true });
  await page.locator(".outcome", { hasText: /^Over \d/ }).first().waitFor(WITHIN);
  assert.equal(granted, 1);
  await close(page);
});
