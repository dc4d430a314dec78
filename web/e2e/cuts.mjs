// A long test of the page on a bad network: a proxy cuts its connections every few seconds, often in the middle of a
// snapshot, and four times a second everything that the page shows is compared with the gateway's own boards. Prints
// one line, and fails if anything shown was wrong.
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
/** Milliseconds between comparisons. */
const EVERY = 250;
/** A live price must have been true within this many milliseconds, which is longer than any cut lasts. */
const WINDOW = 30_000;
/** A stale price may be this old. */
const OLD_WINDOW = 120_000;
/** A comparison waits this long, because the page may be ahead of the truth's own connection. */
const JUDGED_AFTER = 1_500;
/** Maximum number of faults to print. */
const PRINTED = 20;

const { values } = parseArgs({ options: { minutes: { type: "string", default: "10" } } });
const end = Date.now() + Number(values.minutes) * 60_000;
const sleep = (millis) => new Promise((resolve) => setTimeout(resolve, millis));
const any = (all) => all[Math.floor(Math.random() * all.length)];

/** Runs in the page: returns everything that it shows. */
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
      by: row.querySelector(".best .by")?.title.split(", ") ?? [],
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
  // Without a connection, the page still has the previous market's prices. Another market is unknown until it is live.
  if (state === "live") window.liveMarket = market;
  return {
    state,
    market,
    isLoading: state === "behind" || window.liveMarket !== market,
    known: [...document.querySelectorAll(".event")].map((event) => event.dataset.event),
    events,
  };
}

/** Yields what was wrong: a price that was never offered, a missing price, a wrong best price or margin. */
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
          yield `${where}: no price of ${bookmaker} is shown, although it always had one (${about})`;
        }
        if (price !== null && !truth.was(price, of, isOld ? oldWindow : window)) {
          yield `${where}: ${price} was never the price of ${bookmaker} (${about})`;
        }
      }
      const live = cells.filter((cell) => cell.price !== null && !cell.isOld);
      const highest = Math.max(...live.map((cell) => cell.price));
      if (best !== null) {
        for (const bookmaker of by) {
          if (truth.was(best, { event: id, market: seen.market, bookmaker, line, label }, window)) continue;
          yield `${where}: the best price is shown as ${best} of ${bookmaker}, which was never its price`;
        }
        if (best < highest) yield `${where}: the best price is shown as ${best}, although ${highest} is higher`;
      } else if (live.length > 0 && seen.state === "live") {
        // While the board is cut off, nothing on it is recommended.
        yield `${where}: no best price is shown, although ${highest} is live`;
      }
      for (const cell of cells.filter((cell) => cell.isBest && cell.price !== best)) {
        yield `${where}: ${cell.price} is marked as the best price, but that is ${best}`;
      }
    }
    const shown = badge.match(/-?[\d.]+/);
    if (shown && rows.every((row) => row.best)) {
      const margin = 100 * (rows.reduce((sum, row) => sum + 1 / row.best, 0) - 1);
      // An arbitrage is shown as what it yields, so without the minus.
      const said = badge.startsWith("arbitrage") ? -Number(shown[0]) : Number(shown[0]);
      if (Math.abs(margin - said) > 0.2) yield `${id} ${seen.market}: ${badge}, but it is ${margin} %`;
    }
  }
  if (seen.isLoading) return;
  for (const event of truth.alwaysOnBoard(seen.market, window)) {
    counts.events++;
    if (!seen.known.includes(event)) yield `${event} ${seen.market}: not shown, although it was always on the board`;
  }
}

const counts = { comparisons: 0, cells: 0, events: 0, cuts: 0, inSnapshot: 0, faults: 0, loads: 0 };
const toteboard = await start("--attempts-per-minute", "10000");
const proxy = await startProxy(toteboard.url, BYTES_A_SECOND);
const truth = await Truth.of(toteboard, REGIONS, OLD_WINDOW + WINDOW);
// The gateway accepts requests only from pages at its own address, so that address resolves to the proxy.
const address = new URL(toteboard.url.replace("127.0.0.1", "localhost"));
const chromium = await browser(`--host-resolver-rules=MAP ${address.host} ${new URL(proxy.url).host}`);
const page = await chromium.newPage({ viewport: { width: 1440, height: 900 } });
page.setDefaultTimeout(WITHIN.timeout);
await page.goto(address.href);
await signIn(page, "demo", toteboard.password);
for (const other of ["us", "au"]) await page.locator(`input[value=${other}]`).uncheck({ force: true });
await prices(page).first().waitFor(WITHIN);
// Comparisons need the truth for a whole window.
await sleep(WINDOW);

/** What a visitor does despite the bad network. Most actions request snapshots. */
const actions = [
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
    await any(actions)();
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
      // Fails while the page is being loaded, when it shows nothing.
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
