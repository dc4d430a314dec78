// A board is replaced as a whole: until a new snapshot is complete, the old board stays visible, and its prices become
// stale.

import assert from "node:assert/strict";
import { after, before, test } from "node:test";
import { browser, everySportIsPolled, start } from "./toteboard.mjs";
import { WITHIN, close, open as visit, prices, signIn } from "./visitor.mjs";

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

/**
 * Opens a page that shows the UK and Europe, with a connection that can stop after a number of parts of the UK's next
 * snapshot.
 */
async function openBetween() {
  const page = await visit(chromium, toteboard.url);
  const wire = { stopsAt: undefined, passed: 0, frames: 0, feeds: 0, withheld: [], connected: 0 };
  await page.routeWebSocket("**/socket.io/**", (socket) => {
    // While cut, new connections get no response.
    if (wire.isCut) return wire.waiting.push(socket);
    wire.connected++;
    const server = socket.connectToServer();
    let isStopped = false;
    server.onMessage((message) => {
      const [, name, region, part, parts] = message.match(/^42\["(snapshot|odds)",\{"region":"(\w+)"(?:.*?"part":(\d+),"parts":(\d+))?/) ?? [];
      if (region === "uk" && wire.stopsAt) {
        const isNext = name === "snapshot" && Number(part) === wire.passed + 1;
        isStopped ||= isNext && wire.stopsAt(Number(part), Number(parts));
        if (isStopped) return wire.withheld.push(message);
        // Drops events that the snapshot replaces.
        if (!isNext) return;
        wire.passed++;
      }
      if (message.startsWith('42["feed",{"region":"uk"')) {
        wire.feeds++;
        // Until the last part of a snapshot, the gateway's feeds have no cursor.
        if (isStopped) return socket.send(message.replace(/,"cursor":"[^"]*"/, ""));
      }
      if (region === "eu" && isStopped && name === "odds" && !message.includes('"events":[]')) wire.frames++;
      socket.send(message);
    });
    wire.cut = () => {
      Object.assign(wire, { isCut: true, waiting: [] });
      socket.close();
      server.close();
    };
    /** Restores the network. */
    wire.restore = () => {
      Object.assign(wire, { isCut: false, stopsAt: undefined });
      wire.waiting.forEach((socket) => socket.close());
    };
    /** Delivers the withheld messages. */
    wire.goOn = () => {
      Object.assign(wire, { stopsAt: undefined });
      isStopped = false;
      wire.withheld.splice(0).forEach((message) => socket.send(message));
    };
  });
  await signIn(page, "demo", toteboard.password);
  for (const other of ["us", "au"]) await page.locator(`input[value=${other}]`).uncheck({ force: true });
  await page.locator(".state[data-state=live]").waitFor(WITHIN);
  // Puts the watched columns first, so that they are drawn.
  const mine = await onlyUk(page);
  wire.connected = 0;
  await page.evaluate((mine) => localStorage.setItem("toteboard-own", new URLSearchParams({ mine })), String(mine));
  await page.goto(toteboard.url);
  await page.locator(".state[data-state=live]").waitFor(WITHIN);
  await prices(page).first().waitFor(WITHIN);
  return { page, wire };
}

async function until(condition) {
  const end = Date.now() + WITHIN.timeout;
  while (!condition()) {
    assert.ok(Date.now() < end, String(condition));
    await new Promise((resolve) => setTimeout(resolve, 20));
  }
}

/** Returns the bookmakers that quote in the UK and not in Europe. */
async function onlyUk(page) {
  const of = async (region) => {
    const board = await (await page.request.get(`${toteboard.url}/api/odds/${region}`)).json();
    return new Set(board.events.flatMap((event) => event.quotes.map((quote) => quote.bookmaker)));
  };
  const [uk, eu] = [await of("uk"), await of("eu")];
  const keys = [...uk].filter((bookmaker) => !eu.has(bookmaker));
  assert.ok(keys.length > 3, keys.join());
  return keys;
}

/** Runs in the page: records, in each frame, changes in these bookmakers' cells, and wrong best prices. */
function watch(bookmakers) {
  cancelAnimationFrame(window.looking);
  window.shown = (isFirst) => {
    const columns = [...document.querySelectorAll(".head .bookmaker")].map((column) => column.title);
    const cells = new Map();
    for (const row of document.querySelectorAll(".event > .row:not(.none)")) {
      const where = `${row.closest(".event").dataset.event} ${row.querySelector(".outcome").innerText}`;
      row.querySelectorAll(".cell").forEach((cell, n) => {
        const isPrice = isFirst ? cell.innerText !== "" && cell.innerText !== "–" : true;
        if (bookmakers.includes(columns[n]) && isPrice) cells.set(`${where} ${columns[n]}`, cell);
      });
    }
    return cells;
  };
  const before = new Map([...window.shown(true)].map(([where, cell]) => [where, cell.innerText]));
  window.wrong = new Set();
  window.watched = before.size;
  const look = () => {
    const now = window.shown(false);
    for (const [where, price] of before) {
      const cell = now.get(where);
      if (cell && cell.innerText !== price) window.wrong.add(`${where}: ${price}, then ${cell.innerText || "nothing"}, ${cell.title}`);
    }
    for (const row of document.querySelectorAll(".event > .row:not(.none)")) {
      const best = Number(row.querySelector(".best .price")?.innerText ?? 0);
      const live = [...row.querySelectorAll(".cell:not(.stale, :empty)")].map((cell) => Number(cell.innerText)).filter(Number.isFinite);
      // While the board is cut off, nothing on it is recommended.
      const isCut = document.querySelector(".state").dataset.state === "wait";
      if (isCut ? best > 0 : live.some((price) => price > best)) window.wrong.add(`${row.innerText}: not the best`);
    }
    window.looking = requestAnimationFrame(look);
  };
  look();
}

/** Requests a snapshot of each region. Until it is complete, the other sports are still shown. */
const chooseSport = (page) => page.getByRole("checkbox", { name: /^EPL/ }).check({ force: true });

/** Waits until enough cells to watch are drawn, which takes a while on a busy machine. */
async function isDrawn(page) {
  const end = Date.now() + WITHIN.timeout;
  do {
    await page.waitForTimeout(200);
    await page.evaluate(watch, await onlyUk(page));
  } while ((await page.evaluate(() => window.watched)) <= 20 && Date.now() < end);
}

const wrong = (page) => page.evaluate(() => [window.watched > 20, ...window.wrong]);

const CUTS = {
  "before part 2": (part) => part === 2,
  "before part 3": (part) => part === 3,
  "before its last part": (part, parts) => part === parts,
};

for (const [where, stopsAt] of Object.entries(CUTS)) {
  test(`a snapshot that is cut ${where} changes nothing`, async () => {
    const { page, wire } = await openBetween();
    wire.stopsAt = stopsAt;
    // Time for frames that have already arrived to be drawn.
    await page.waitForTimeout(500);
    await isDrawn(page);
    await chooseSport(page);
    await until(() => wire.withheld.length > 0 && wire.frames > 3);
    assert.ok(wire.passed > 0);
    assert.deepEqual(await wrong(page), [true], "while it comes");
    wire.cut();
    await page.locator(".state[data-state=wait]").waitFor(WITHIN);
    await until(() => wire.waiting.length > 0);
    await page.waitForTimeout(1_500);
    assert.deepEqual(await wrong(page), [true], "when it is cut");
    await page.evaluate(() => cancelAnimationFrame(window.looking));
    wire.restore();
    await page.locator(".state[data-state=live]").waitFor(WITHIN);
    await page.getByRole("button", { name: "EPL" }).waitFor(WITHIN);
    assert.equal(wire.connected, 2);
    await close(page);
  });
}

test("prices grow old while the rest of a snapshot is awaited, however fresh the feed is", async () => {
  const { page, wire } = await openBetween();
  wire.stopsAt = (part) => part === 2;
  await page.waitForTimeout(500);
  await isDrawn(page);
  await chooseSport(page);
  await until(() => wire.withheld.length > 0);
  const are = ({ old }) => {
    const cells = [...window.shown(true).values()];
    return cells.length > 0 && (old ? cells.every((cell) => cell.matches(".stale")) : cells.some((cell) => !cell.matches(".stale")));
  };
  await page.waitForFunction(are, { old: true }, { timeout: 90_000 });
  const feeds = wire.feeds;
  await until(() => wire.feeds > feeds + 5);
  assert.ok(await page.evaluate(are, { old: true }));
  assert.deepEqual(await wrong(page), [true]);
  wire.goOn();
  await page.waitForFunction(are, { old: false }, WITHIN);
  await close(page);
});
