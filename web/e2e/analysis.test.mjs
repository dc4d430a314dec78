// Movers, opportunities and sparklines: they say what follows from the recorded changes, and the page shows it.

import assert from "node:assert/strict";
import { after, before, test } from "node:test";
import { Board, asker, consensus, linesOf, movesOf, netOf, opinion } from "./prices.mjs";
import { browser, everySportIsPolled, start } from "./toteboard.mjs";
import { WITHIN, close, liveBoard, prices } from "./visitor.mjs";

const REGIONS = ["us", "uk", "eu", "au"];

let toteboard;
let chromium;
let ask;

before(async () => {
  toteboard = await start("--attempts-per-minute", "10000");
  await everySportIsPolled(toteboard);
  ask = await asker(toteboard);
  chromium = await browser();
});

after(async () => {
  await chromium?.close();
  await toteboard?.stop();
});

const near = (a, b) => Math.abs(a - b) < 1e-9;
const keyOf = ({ event, market, outcome, point }) => JSON.stringify([event.id ?? event, market, outcome, point ?? null]);
const beginning = () => new Date(Date.now() - 24 * 3_600_000).toISOString();

/** The answer must have these moves, with the greatest ones first. */
function compareMoves(movers, moves, fewest) {
  const expected = new Map(moves.filter((it) => it.bookmakers >= fewest && it.change !== 0).map((it) => [keyOf(it), it]));
  assert.equal(movers.length, Math.min(200, expected.size));
  for (const mover of movers) {
    const move = expected.get(keyOf(mover));
    assert.ok(move, `${keyOf(mover)} has not moved`);
    for (const field of ["first", "last", "change", "first_price", "last_price"]) {
      assert.ok(near(mover[field], move[field]), `${keyOf(mover)}: ${field} is ${mover[field]}, not ${move[field]}`);
    }
    assert.deepEqual([mover.bookmakers, mover.moved_with], [move.bookmakers, move.moved_with], keyOf(mover));
  }
  const sizes = [...expected.values()].map((it) => Math.abs(it.change)).sort((a, b) => b - a);
  movers.forEach((mover, at) => assert.ok(near(Math.abs(mover.change), sizes[at]), `place ${at}`));
  return movers.length;
}

test("movers are what follows from the recorded changes", async () => {
  await new Promise((resolve) => setTimeout(resolve, 15_000));
  // Since each event was first seen.
  for (const region of ["uk", "us"]) {
    for (const market of ["h2h", "totals"]) {
      const { movers, to, from } = await ask.json(`/api/movers?region=${region}&since=opening&market=${market}&limit=200&min_bookmakers=2`);
      assert.equal(from, null);
      const [board, openings] = [new Board(), new Map()];
      for (const line of await ask.lines(`/api/history/changes/${region}?from=${beginning()}&to=${to}`)) {
        board.apply(line);
        for (const [id, event] of board.events) if (!openings.has(id)) openings.set(id, { ...event, quotes: new Map(event.quotes) });
      }
      const moves = [...board.events.values()].flatMap((event) => movesOf(openings.get(event.id), event, (it) => it.market === market));
      const compared = compareMoves(movers, moves, 2);
      assert.ok(market !== "h2h" || compared > 4, `${compared} in ${region}`);
    }
  }
});

test("movers within a minute are what follows from the recorded changes", async () => {
  const path = "/api/movers?region=eu&minutes=1&limit=200";
  // If less is recorded, they are those since then.
  const { from: begin } = await ask.json("/api/movers?region=eu&minutes=1440");
  const end = Date.now() + 90_000;
  let answer = await ask.json(path);
  while (answer.from === begin) {
    assert.ok(Date.now() < end, "nothing is recorded of a minute ago");
    await new Promise((resolve) => setTimeout(resolve, 1_000));
    answer = await ask.json(path);
  }
  const [first, ...rest] = await ask.lines(`/api/history/changes/eu?from=${answer.from}&to=${answer.to}`);
  assert.equal(first.event, "snapshot");
  const board = new Board();
  board.apply(first);
  const before = board.copy();
  rest.forEach((line) => board.apply(line));
  const moves = [...board.events.values()].flatMap((event) => (before.events.has(event.id) ? movesOf(before.events.get(event.id), event) : []));
  assert.ok(compareMoves(answer.movers, moves, 3) > 4);
});

/** The boards at these cursors, from the recorded changes. */
async function boardsAt(regions) {
  const boards = new Map();
  for (const { region, cursor } of regions) {
    const board = new Board();
    // A step that changed nothing has no line, and a cursor ends with the board's digest.
    const digest = cursor.split("-").at(-1);
    for (let round = 0; ; round++) {
      const lines = await ask.lines(`/api/history/changes/${region}?from=${beginning()}`);
      const at = lines.findLastIndex((line) => line.data?.cursor?.endsWith(digest));
      if (at >= 0) {
        lines.slice(0, at + 1).forEach((line) => board.apply(line));
        break;
      }
      assert.ok(round < 50, `${region}: ${cursor} is not recorded`);
      await new Promise((resolve) => setTimeout(resolve, 200));
    }
    boards.set(region, board);
  }
  return boards;
}

/** Which bookmakers are live for which sports, by the feeds. */
function liveNow(feeds, at) {
  const live = new Map();
  for (const { region, state, sports, bookmakers } of feeds) {
    live.set(region, (sport, bookmaker) => {
      const polled = sports[sport];
      if (state !== "live" || !polled || Date.parse(polled.stale_after) < at) return false;
      const good = Math.max(0, Date.parse(polled.stale_after) - Date.parse(polled.polled_at));
      return !(bookmaker in bookmakers) || Date.parse(polled.polled_at) - Date.parse(bookmakers[bookmaker]) <= good;
    });
  }
  return live;
}

/** The live lines of all events, each bookmaker with its newest quote. */
function liveLines(boards, live) {
  const ids = new Set([...boards.values()].flatMap((board) => [...board.events.keys()]));
  return [...ids].flatMap((id) => {
    const [newest, found] = [new Map(), REGIONS.filter((region) => boards.get(region).events.has(id))];
    const event = boards.get(found[0]).events.get(id);
    for (const region of found) {
      for (const [key, quote] of boards.get(region).events.get(id).quotes) {
        const known = newest.get(key);
        const rank = { isLive: live.get(region)(event.sport_key, quote.bookmaker), at: Date.parse(quote.last_update), quote };
        if (!known || (known.isLive === rank.isLive ? known.at < rank.at : rank.isLive)) newest.set(key, rank);
      }
    }
    const back = [...newest.values()].filter(({ quote }) => !quote.market.endsWith("_lay"));
    // Which outcomes there are, others tell, too.
    const lines = linesOf(event, back.map(({ quote }) => quote));
    const isGood = new Set(back.filter(({ isLive }) => isLive).map(({ quote }) => `${quote.bookmaker} ${quote.market}`));
    for (const line of lines) for (const { prices } of line.outcomes) for (const bookmaker of prices.keys()) if (!isGood.has(`${bookmaker} ${line.market}`)) prices.delete(bookmaker);
    return lines.filter((line) => line.outcomes.every(({ prices }) => prices.size > 0)).map((line) => ({ ...line, event }));
  });
}

/** Asks until the same is live before and after, so that the feeds belong to the answer. */
async function settled(path) {
  for (let round = 0; round < 30; round++) {
    const before = await ask.json("/api/regions");
    const answer = await ask.json(path);
    const feeds = await ask.json("/api/regions");
    const now = Date.parse(answer.at);
    const boards = await boardsAt(answer.regions);
    const [one, other] = [before, feeds].map((feeds) => liveLines(boards, liveNow(feeds, now)));
    const said = (lines) => JSON.stringify(lines.map((line) => [line.event.id, line.key, [...line.outcomes[0].prices]]));
    if (said(one) === said(other)) return { answer, lines: one };
  }
  throw new Error("the feeds change all the time");
}

test("arbitrages are what follows from the recorded changes", async () => {
  let compared = 0;
  for (const [total, unit, commission] of [[100, 1, 2], [1_000, 5, 0], [100, 0.01, 5]]) {
    const { answer, lines } = await settled(`/api/opportunities/arbitrages?total=${total}&round_to=${unit}&commission=${commission}&limit=200`);
    const expected = new Map();
    for (const line of lines.filter((line) => line.isComplete)) {
      const nets = line.outcomes.map((outcome) => Math.max(...[...outcome.prices].map(([bookmaker, price]) => netOf(bookmaker, price, commission))));
      const all = nets.reduce((sum, net) => sum + 1 / net, 0);
      const stakes = nets.map((net) => Math.round(total / net / all / unit) * unit);
      const staked = stakes.reduce((sum, stake) => sum + stake, 0);
      const win = Math.min(...nets.map((net, at) => net * stakes[at])) - staked;
      const key = JSON.stringify([line.event.id, line.market, line.outcomes.map(({ name, point }) => [name, point ?? null])]);
      if (all < 1 && win > 1e-9) expected.set(key, { rate: 1 / all - 1, win, staked, stakes, nets });
    }
    assert.equal(answer.arbitrages.filter((it) => it.win > 1e-9).length, Math.min(200, expected.size));
    for (const it of answer.arbitrages) {
      const key = JSON.stringify([it.event.id, it.market, it.legs.map(({ outcome, point }) => [outcome, point ?? null])]);
      const found = expected.get(key);
      if (!found && it.win <= 1e-9) continue;
      assert.ok(found, `${key} is none`);
      assert.ok(near(it.rate, found.rate) && near(it.win, found.win) && near(it.total, found.staked), key);
      it.legs.forEach((leg, at) => assert.ok(near(leg.net, found.nets[at]) && near(leg.stake, found.stakes[at]), key));
      compared++;
    }
    const rates = answer.arbitrages.map((it) => it.rate);
    assert.deepEqual(rates, rates.toSorted((a, b) => b - a));
  }
  assert.ok(compared > 0, "the simulated bookmakers have no arbitrage");
});

test("value is what follows from the recorded changes", async () => {
  for (const sharp of [null, "betfair_ex_eu"]) {
    const [commission, least] = [2, 0.5];
    const { answer, lines } = await settled(`/api/opportunities/values?commission=${commission}&min_edge=${least}&limit=200${sharp ? `&sharp=${sharp}` : ""}`);
    const expected = new Map();
    for (const line of lines.filter((line) => line.isComplete)) {
      const all = consensus(line);
      if (sharp ? !line.outcomes[0].prices.has(sharp) : all.bookmakers < 3) continue;
      const fair = sharp ? opinion(line, sharp) : all.probabilities;
      line.outcomes.forEach((outcome, at) => {
        for (const [bookmaker, price] of outcome.prices) {
          const net = netOf(bookmaker, price, commission);
          const edge = net * fair[at] - 1;
          const key = JSON.stringify([line.event.id, line.market, line.description ?? "", outcome.name, outcome.point ?? null, bookmaker]);
          if (bookmaker !== sharp && edge * 100 >= least) expected.set(key, { edge, probability: fair[at], kelly: edge / (net - 1), net });
        }
      });
    }
    assert.equal(answer.values.length, Math.min(200, expected.size));
    for (const it of answer.values) {
      const key = JSON.stringify([it.event.id, it.market, it.description ?? "", it.outcome, it.point ?? null, it.bookmaker]);
      const found = expected.get(key);
      assert.ok(found, `${key} is none`);
      for (const field of ["edge", "probability", "kelly", "net"]) assert.ok(near(it[field], found[field]), `${key}: ${field}`);
      assert.ok(Date.parse(it.seen_at) <= Date.parse(answer.at) && Date.parse(it.changed_at) <= Date.parse(answer.at) + 5_000, key);
    }
    const edges = answer.values.map((it) => it.edge);
    assert.deepEqual(edges, edges.toSorted((a, b) => b - a));
    assert.ok(answer.values.length > 0);
  }
});

test("the page lists movers, and goes to their events", async () => {
  const page = await liveBoard(chromium, toteboard);
  await page.getByRole("link", { name: "Movers" }).click();
  assert.equal(new URL(page.url()).pathname, "/movers");
  const rows = page.locator("main tbody tr");
  await rows.first().waitFor(WITHIN);
  assert.match(await rows.first().innerText(), /[▲▼]\d+[.]\d %\s+\d+[.]\d % → \d+[.]\d %\s+[\d.]+ → [\d.]+\s+\d+ of \d+/);
  const asked = page.waitForRequest((request) => request.url().includes("/api/movers") && request.url().includes("since=opening"), WITHIN);
  await page.locator("main").getByRole("combobox", { name: "When" }).selectOption("opening");
  await asked;
  const inEurope = page.waitForResponse((response) => response.url().includes("region=eu"), WITHIN);
  await page.locator("main").getByRole("combobox", { name: "Regions" }).selectOption("eu");
  assert.equal((await inEurope).status(), 200);
  await page.reload();
  await rows.first().waitFor(WITHIN);
  await rows.first().getByRole("link").click();
  assert.match(new URL(page.url()).pathname, /^\/event\//);
  await close(page);
});

test("the page lists opportunities, as the visitor wants them", async () => {
  const page = await liveBoard(chromium, toteboard);
  await page.getByRole("link", { name: "Opportunities" }).click();
  const main = page.locator("main");
  await main.getByText("win at least").first().or(main.getByText("There is no arbitrage")).waitFor(WITHIN);
  const answer = (part) => page.waitForResponse((response) => response.url().includes(part), WITHIN);
  const larger = answer("total=500");
  await main.getByLabel("Total stake").fill("500");
  await page.keyboard.press("Tab");
  assert.equal((await larger).status(), 200);
  // A number that is none is refused, and said so.
  await main.getByLabel("Round stakes to").fill("many");
  await page.keyboard.press("Tab");
  await main.getByRole("alert").getByText(/round_to/i).waitFor(WITHIN);
  await main.getByLabel("Round stakes to").fill("5");
  await page.keyboard.press("Tab");
  await main.getByRole("combobox", { name: "Kind" }).selectOption("values");
  await main.getByLabel("Least edge").fill("0");
  await page.keyboard.press("Tab");
  await main.locator("tbody tr").first().waitFor(WITHIN);
  assert.match(await main.locator("tbody tr").first().innerText(), /seen \d+.\w+ ago, unchanged for/);
  const compared = answer("sharp=");
  await main.getByRole("combobox", { name: "Compared with" }).selectOption({ index: 3 });
  assert.equal((await compared).status(), 200);
  await page.reload();
  await main.getByLabel("Least edge").waitFor(WITHIN);
  assert.equal(await main.getByLabel("Least edge").inputValue(), "0", "what was chosen is kept");
  await main.getByRole("combobox", { name: "Kind" }).selectOption("arbitrages");
  assert.equal(await main.getByLabel("Total stake").inputValue(), "500");
  // What is not live is not recommended.
  await page.context().setOffline(true);
  await main.getByRole("alert").getByText("can't be reached").waitFor(WITHIN);
  assert.equal(await main.locator("tbody tr").count(), 0);
  // Chromium logs what can't be connected.
  page.wrong = page.wrong.filter((text) => !text.includes("ERR_INTERNET_DISCONNECTED"));
  await close(page);
});

test("one request draws the small charts of all rows", async () => {
  const page = await liveBoard(chromium, toteboard);
  const labels = await page.locator(".event > .row[data-outcome]").evaluateAll((rows) => rows.map((row) => [row.parentElement.dataset.event, row.dataset.outcome]));
  const asked = [];
  await page.route("**/api/history/sparklines**", (route) => {
    const query = new URL(route.request().url()).searchParams;
    asked.push(query.getAll("event"));
    const times = Array.from({ length: 40 }, (_, at) => at);
    const rising = times.map((at) => (at < 5 ? null : 0.4 + at / 200));
    const events = query.getAll("event").map((id) => ({
      id,
      outcomes: labels.filter(([event]) => event === id).map(([, outcome]) => ({ outcome, probabilities: outcome === "Draw" ? times.map(() => 0.3) : rising })),
    }));
    return route.fulfill({ json: { times, events } });
  });
  await page.reload();
  await prices(page).first().waitFor(WITHIN);
  await page.locator(".sparkline").first().waitFor({ ...WITHIN, state: "attached" });
  const [wanted] = asked;
  const visible = await page.locator(".event > .row[data-outcome]").evaluateAll((rows) => {
    const isVisible = (row) => row.getBoundingClientRect().top < innerHeight;
    return [...new Set(rows.filter(isVisible).map((row) => row.parentElement.dataset.event))];
  });
  const missing = visible.filter((id) => !wanted.includes(id));
  assert.ok(missing.length <= 1, `${missing.length} of ${visible.length} events in sight were not asked for at once`);
  const drawn = page.locator(".event > .row:has(.sparkline)");
  assert.ok((await drawn.count()) > 10);
  assert.equal(await drawn.filter({ hasText: "Draw" }).count(), 0, "what has not moved has no chart");
  assert.match(await page.locator(".sparkline").first().getAttribute("class"), /rises/);
  await close(page);
});

test("a label on the board names an outcome with its point", async () => {
  const { isLabel, pathOf } = await import("../assets/sparklines.js");
  assert.ok(isLabel({ outcome: "Leeds" }, "Leeds") && !isLabel({ outcome: "Leeds" }, "Leeds +1.5"));
  assert.ok(isLabel({ outcome: "Leeds", point: 1.5 }, "Leeds +1.5") && isLabel({ outcome: "Over", point: 2 }, "Over 2.0"));
  assert.ok(!isLabel({ outcome: "Leeds", point: -1.5 }, "Leeds +1.5"));
  assert.equal(pathOf([null, 0.4, 0.5, null, 0.5]), "M7.0 13.0L14.0 1.0M28.0 1.0");
});
