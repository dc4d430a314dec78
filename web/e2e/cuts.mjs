// The page behind a bad network, for long: a proxy cuts its connections every few seconds, often in the
// middle of a snapshot, and four times a second all that the page shows is compared with the gateway's own
// boards. Prints one line, and fails if anything was shown that was not so.
//
//     STANDALONE=… PAGE=… CHROMIUM=… node cuts.mjs --minutes 10

import { parseArgs } from "node:util";
import { startProxy } from "./proxy.mjs";
import { browser, start } from "./toteboard.mjs";
import { Truth } from "./truth.mjs";
import { WITHIN, prices, signIn } from "./visitor.mjs";

const REGIONS = ["uk", "eu"];
const MARKETS = ["Winner", "Handicap", "Total"];
const BYTES_A_SECOND = 150_000;
/** How often the page is compared. */
const EVERY = 250;
/** What was so at any time in this window may be shown: connections are cut for less. */
const WINDOW = 30_000;
/** What is marked as old may be older. */
const OLD_WINDOW = 120_000;
/** The page may be ahead of what the gateway was asked. */
const JUDGED_AFTER = 1_500;
/** How many faults are printed. */
const PRINTED = 20;

const { values } = parseArgs({ options: { minutes: { type: "string", default: "10" } } });
const end = Date.now() + Number(values.minutes) * 60_000;
const sleep = (millis) => new Promise((resolve) => setTimeout(resolve, millis));
const any = (all) => all[Math.floor(Math.random() * all.length)];

/** In the page: all that it shows, at one moment. */
function look() {
  const text = (element) => element?.innerText.trim() ?? "";
  const price = (element) => (text(element) === "" || text(element) === "–" ? null : Number(text(element)));
  const columns = [...document.querySelectorAll(".head .bookmaker")].map((column) => column.title);
  const events = [...document.querySelectorAll(".event:has(.title)")].map((event) => ({
    id: event.dataset.event,
    badge: text(event.querySelector(".badge.margin, .badge.arbitrage")),
    rows: [...event.querySelectorAll(":scope > .row:not(.none)")].map((row) => ({
      label: text(row.querySelector(".outcome")),
      best: price(row.querySelector(".best .price")),
      by: row.querySelector(".best .by")?.title ?? "",
      cells: [...row.querySelectorAll(".cell")].map((cell, n) => ({
        bookmaker: columns[n],
        price: price(cell),
        isOld: cell.matches(".stale"),
        isBest: cell.matches(".best-price"),
        about: cell.title,
      })),
    })),
  }));
  const state = document.querySelector(".state")?.dataset.state;
  const market = document.querySelector("input[name=market]:checked")?.value;
  // Only what a market was is kept without a connection: another one is unknown until it is live.
  if (state === "live") window.liveMarket = market;
  return {
    state,
    market,
    isLoading: state === "behind" || window.liveMarket !== market,
    known: [...document.querySelectorAll(".event")].map((event) => event.dataset.event),
    events,
  };
}

/** What of it was not so: a price that nobody asked, one that is missing, a best price that is none. */
function* faults(seen, truth) {
  const window = { from: seen.at - WINDOW, until: seen.at + JUDGED_AFTER / 2 };
  const oldWindow = { ...window, from: seen.at - OLD_WINDOW };
  for (const { id, badge, rows } of seen.events) {
    const line = rows.map((row) => row.label);
    for (const { label, best, by, cells } of rows) {
      const where = `${id} ${seen.market} ${label}`;
      for (const { bookmaker, price, isOld, about } of cells) {
        counts.cells++;
        const of = { event: id, market: seen.market, bookmaker, line, label };
        if (price === null && !seen.isLoading && truth.wasAlwaysOffered(of, window)) {
          yield `${where}: ${bookmaker} is shown as not offering it, and always did (${about})`;
        }
        if (price !== null && !truth.was(price, of, isOld ? oldWindow : window)) {
          yield `${where}: ${price} of ${bookmaker} was never its price (${about})`;
        }
      }
      const live = cells.filter((cell) => cell.price !== null && !cell.isOld);
      const highest = Math.max(...live.map((cell) => cell.price));
      if (best !== null) {
        if (!truth.was(best, { event: id, market: seen.market, bookmaker: by, line, label }, window)) {
          yield `${where}: the best price is told to be ${best} of ${by}, which it never was`;
        }
        if (best < highest) yield `${where}: the best price is told to be ${best}, and ${highest} is shown`;
      } else if (live.length > 0) {
        yield `${where}: no price is told to be the best, and ${highest} is shown`;
      }
      for (const cell of cells.filter((cell) => cell.isBest && cell.price !== best)) {
        yield `${where}: ${cell.price} is marked as the best, which is ${best}`;
      }
    }
    const told = badge.match(/-?[\d.]+/);
    if (told && rows.every((row) => row.best)) {
      const margin = 100 * (rows.reduce((sum, row) => sum + 1 / row.best, 0) - 1);
      if (Math.abs(margin - Number(told[0])) > 0.2) yield `${id} ${seen.market}: ${badge}, and the best prices leave ${margin} %`;
    }
  }
  if (seen.isLoading) return;
  for (const event of truth.alwaysOnBoard(seen.market, window)) {
    counts.events++;
    if (!seen.known.includes(event)) yield `${event} ${seen.market}: it is missing, and was always on the board`;
  }
}

const counts = { comparisons: 0, cells: 0, events: 0, cuts: 0, inSnapshot: 0, faults: 0, loads: 0 };
const toteboard = await start("--speed", "20", "--poll-speed", "20", "--attempts-per-minute", "10000");
const proxy = await startProxy(toteboard.url, BYTES_A_SECOND);
const truth = await Truth.of(toteboard, REGIONS, OLD_WINDOW + WINDOW);
// The gateway accepts a page of its own address only, so the browser finds the proxy behind that address.
const address = new URL(toteboard.url.replace("127.0.0.1", "localhost"));
const chromium = await browser(`--host-resolver-rules=MAP ${address.host} ${new URL(proxy.url).host}`);
const page = await chromium.newPage({ viewport: { width: 1440, height: 900 } });
page.setDefaultTimeout(WITHIN.timeout);
await page.goto(address.href);
await signIn(page, "demo", toteboard.password);
for (const other of ["us", "au"]) await page.locator(`input[value=${other}]`).uncheck({ force: true });
await prices(page).first().waitFor(WITHIN);
// Windows reach back to when the truth was known.
await sleep(WINDOW);

/** What somebody does whom a bad network doesn't keep from it. Most of it asks for snapshots. */
const deeds = [
  () => page.getByRole("radio", { name: any(MARKETS), exact: true }).check({ force: true }),
  () => page.getByRole("radio", { name: any(MARKETS), exact: true }).check({ force: true }),
  () => page.locator(".title .open").first().click(),
  async () => {
    await page.reload();
    counts.loads++;
    await page.locator(".board").waitFor({ state: "attached" });
  },
];

/** Cuts a few times, anywhere or in the middle of a snapshot, and then lets the page catch up. */
async function trouble() {
  while (Date.now() < end) {
    await any(deeds)();
    for (let cuts = Math.floor(Math.random() * 4); cuts > 0; cuts--) {
      const late = Date.now() + 3_000;
      while (Math.random() < 0.97 && !proxy.isInSnapshot() && Date.now() < late) await sleep(20);
      await sleep(Math.random() * 700);
      const { all, inSnapshot } = proxy.cut();
      counts.cuts += all;
      counts.inSnapshot += inSnapshot;
    }
    const calm = () => document.querySelector(".state")?.dataset.state === "live";
    await page.waitForFunction(calm, null, WITHIN);
    await page.mouse.move(5, 5);
    await sleep(Math.random() * 2_000);
  }
}

async function compare() {
  const waiting = [];
  while (Date.now() < end || waiting.length > 0) {
    if (Date.now() < end) {
      // A page that is just being loaded shows nothing.
      const seen = await page.evaluate(look).catch(() => null);
      if (seen?.market) waiting.push({ ...seen, at: Date.now() });
    }
    while (waiting.length > 0 && Date.now() - waiting[0].at > JUDGED_AFTER) {
      const seen = waiting.shift();
      counts.comparisons++;
      for (const fault of faults(seen, truth)) {
        if (counts.faults++ < PRINTED) console.error(`${new Date(seen.at).toISOString()} ${seen.state}: ${fault}`);
      }
    }
    await sleep(EVERY);
  }
}

try {
  await Promise.all([trouble(), compare()]);
} finally {
  truth.stop();
  await chromium.close();
  proxy.stop();
  await toteboard.stop();
}
console.log(
  `${counts.comparisons} comparisons of ${counts.cells} cells and ${counts.events} events; ${counts.cuts} cuts, ` +
    `${counts.inSnapshot} of them in the middle of a snapshot; ${counts.loads} reloads; ${counts.faults} faults`,
);
process.exitCode = counts.faults > 0 || counts.inSnapshot === 0 ? 1 : 0;
