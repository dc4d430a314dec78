// The chart of an outcome's prices: it has exactly what is recorded, goes on live, and can be used without a mouse.

import assert from "node:assert/strict";
import { readFileSync } from "node:fs";
import { after, before, test } from "node:test";
import { finds } from "./axe.mjs";
import { browser, everySportIsPolled, start } from "./toteboard.mjs";
import { Board, asker } from "./prices.mjs";
import { WITHIN, close, liveBoard, markets, upcoming } from "./visitor.mjs";

let toteboard;
let chromium;
let chart;

before(async () => {
  Object.assign(globalThis, { HTMLElement: class {}, customElements: { define() {} } });
  chart = await import("../assets/chart.js");
  toteboard = await start("--attempts-per-minute", "10000");
  await everySportIsPolled(toteboard);
  chromium = await browser();
});

after(async () => {
  await chromium?.close();
  await toteboard?.stop();
});

async function opened(settings) {
  const page = await liveBoard(chromium, toteboard, settings);
  await upcoming(page).click();
  await markets(page).nth(1).waitFor(WITHIN);
  await page.waitForFunction(() => document.querySelector("price-chart")?.shown?.lines.length > 0, null, WITHIN);
  return page;
}

const shown = (page) => page.evaluate(() => document.querySelector("price-chart").shown);
const canvas = (page) => page.locator("price-chart canvas");

test("prices are said as on the board", () => {
  for (const [price, decimal, american, fractional] of [
    [2.5, "2.50", "+150", "3/2"],
    [1.5, "1.50", "-200", "1/2"],
    [2, "2.00", "+100", "1/1"],
    [1.91, "1.91", "-110", "10/11"],
    [1.33, "1.33", "-303", "1/3"],
    [3.4, "3.40", "+240", "12/5"],
    [null, "no price", "no price", "no price"],
  ]) {
    assert.equal(chart.priceText(price, "decimal"), decimal);
    assert.equal(chart.priceText(price, "american"), american);
    assert.equal(chart.priceText(price, "fractional"), fractional);
  }
});

test("a price stands until it changes, and is unknown before it was seen", () => {
  const line = { times: [10, 20, 30], prices: [2, null, 3], until: 40 };
  const at = [5, 10, 19, 20, 29, 30, 40, 41].map((time) => chart.priceAt(line, time));
  assert.deepEqual(at, [undefined, 2, 2, null, null, 3, 3, undefined]);
  chart.append(line, 50, 3);
  chart.append(line, 60, 2.9);
  assert.deepEqual(line, { times: [10, 20, 30, 60], prices: [2, null, 3, 2.9], until: 60 });
});

test("the best price is the highest of those that stand", () => {
  const one = { times: [10, 30], prices: [2, 1.8], until: 60 };
  const other = { times: [20, 40, 50], prices: [2.1, null, 1.9], until: 60 };
  const best = chart.bestOf([one, other]);
  assert.deepEqual([best.times, best.prices], [
    [10, 20, 40, 50],
    [2, 2.1, 1.8, 1.9],
  ]);
});

test("lines of the scale are at round values", () => {
  assert.deepEqual(chart.ticks(1.83, 2.14, 4), [1.9000000000000001, 2, 2.1]);
  assert.deepEqual(chart.ticks(3, 47, 5), [10, 20, 30, 40]);
});

test("the chart has every recorded step, and the prices of this moment", async () => {
  const page = await opened();
  const query = await page.locator("price-chart").getAttribute("query");
  const compare = async () => {
    const now = new Date();
    const from = new Date(now - 24 * 3_600_000);
    const answer = await page.evaluate(
      (path) => fetch(path).then((response) => response.json()),
      `/api/history/series?${query}&from=${from.toISOString()}&to=${now.toISOString()}&points=5000`,
    );
    const { lines } = await shown(page);
    for (const { region, bookmaker, times, prices: recorded } of answer.series) {
      const line = lines.find((it) => it.region === region && it.bookmaker === bookmaker);
      assert.ok(line, `${region} ${bookmaker} is missing`);
      // What was read from the history is exact. What came live since has the time at which it came.
      const drawn = line.prices.slice(0, recorded.length);
      assert.deepEqual(drawn, recorded.slice(0, drawn.length), `${region} ${bookmaker}`);
      assert.deepEqual(line.times[0], times[0]);
    }
    return answer.series.length;
  };
  assert.ok((await compare()) > 3);
  // Prices move, and the chart goes on.
  const before = (await shown(page)).lines.reduce((steps, line) => steps + line.times.length, 0);
  await page.waitForFunction(
    (before) => document.querySelector("price-chart").shown.lines.reduce((steps, line) => steps + line.times.length, 0) > before,
    before,
    // The prices of an upcoming event may stand for a minute.
    { timeout: 120_000 },
  );
  await compare();
  await close(page);
});

/** The steps of every price of the regions' boards by the recorded changes, as the lines of a chart of each outcome. */
async function recordedLines(regions, to) {
  const ask = await asker(toteboard);
  const [outcomes, gaps] = [new Map(), []];
  for (const region of regions) {
    const board = new Board();
    const known = new Map();
    const note = (key, at, price) => {
      const line = known.get(key) ?? { times: [], prices: [] };
      known.set(key, line);
      if (line.times.at(-1) === at) [line.times, line.prices] = [line.times.slice(0, -1), line.prices.slice(0, -1)];
      if (line.times.length === 0 ? price === null : line.prices.at(-1) === price) return;
      line.times.push(at);
      line.prices.push(price);
    };
    const from = new Date(to - 24 * 3_600_000).toISOString();
    for (const line of await ask.lines(`/api/history/changes/${region}?from=${from}&to=${new Date(to).toISOString()}`)) {
      if (line.event === "gap") {
        const [begin, end] = [line.data.from, line.data.until].map((time) => (time ? Date.parse(time) : null));
        gaps.push({ region, from: begin, until: end });
        if (begin !== null) for (const key of known.keys()) note(key, begin + 1, null);
      }
      board.apply(line);
      if (line.event !== "snapshot" && line.event !== "odds") continue;
      const now = new Map();
      for (const { id, quotes } of board.events.values()) {
        for (const { bookmaker, market, outcomes } of quotes.values()) {
          for (const { name, point, description, price } of outcomes) now.set(JSON.stringify([id, market, name, point ?? null, description ?? null, bookmaker]), price);
        }
      }
      for (const key of new Set([...known.keys(), ...now.keys()])) note(key, Date.parse(line.at), now.get(key) ?? null);
    }
    for (const [key, line] of known) {
      const [id, market, name, point, description, bookmaker] = JSON.parse(key);
      const outcome = JSON.stringify([id, market, name, point, description]);
      outcomes.set(outcome, [...(outcomes.get(outcome) ?? []), { region, bookmaker, ...line }]);
    }
  }
  return { outcomes, gaps };
}

test("the charts of a hundred outcomes have every recorded step, gap and withdrawal where it was", async () => {
  // The topics of this program are in memory: what is recorded has a gap.
  toteboard = await toteboard.restart(async () => {});
  await everySportIsPolled(toteboard);
  const page = await opened();
  await page.waitForTimeout(10_000);
  const [regions, to] = [["us", "uk", "eu", "au"], Date.now() - 3_000];
  const { outcomes, gaps } = await recordedLines(regions, to);
  assert.ok(gaps.some((gap) => gap.from !== null), "nothing is missing");
  const keys = [...outcomes.keys()];
  const chosen = Array.from({ length: 100 }, () => keys.splice(Math.floor(Math.random() * keys.length), 1)[0]);
  let [steps, withdrawn] = [0, 0];
  for (const key of chosen) {
    const [event, market, outcome, point, description] = JSON.parse(key);
    const query = new URLSearchParams({ event, market, outcome });
    if (point !== null) query.set("point", point);
    if (description !== null) query.set("description", description);
    for (const region of regions) query.append("region", region);
    const drawn = await page.evaluate(async (query) => {
      const chart = document.createElement("price-chart");
      chart.setAttribute("query", query);
      document.body.append(chart);
      const end = performance.now() + 20_000;
      while (chart.shown.lines.length === 0 && performance.now() < end) await new Promise((resolve) => setTimeout(resolve, 20));
      const { lines, gaps } = chart.shown;
      chart.remove();
      return { lines, gaps };
    }, `${query}`);
    const until = (line) => ({ ...line, times: line.times.filter((time) => time <= to), prices: line.prices.slice(0, line.times.filter((time) => time <= to).length) });
    const expected = outcomes.get(key).filter((line) => line.times.length > 0);
    for (const line of expected) {
      const found = drawn.lines.find((it) => it.region === line.region && it.bookmaker === line.bookmaker);
      assert.ok(found, `${key}: ${line.region} ${line.bookmaker} is missing`);
      const { times, prices } = until(found);
      assert.deepEqual({ times, prices }, { times: line.times, prices: line.prices }, `${key}: ${line.region} ${line.bookmaker}`);
      steps += times.length;
      withdrawn += prices.filter((price) => price === null).length;
    }
    const early = drawn.lines.filter((line) => line.times[0] <= to);
    assert.equal(early.length, expected.length, `${key}: too many lines`);
    for (const gap of gaps.filter((gap) => gap.from !== null)) {
      assert.ok(drawn.gaps.some((it) => JSON.stringify(it) === JSON.stringify(gap)), `${key}: ${JSON.stringify(gap)} is not among ${JSON.stringify(drawn.gaps)}`);
    }
  }
  assert.ok(steps > 500 && withdrawn > 50, `${steps} steps, ${withdrawn} withdrawals and gaps`);
  await close(page);
});

test("a gap and a withdrawn price are where they were", async () => {
  const page = await opened();
  // The chart of an answer of our own: one region has a gap, and one bookmaker's price was withdrawn and came back.
  const now = Date.now();
  const at = (minutes) => now - minutes * 60_000;
  const series = {
    series: [
      { region: "uk", bookmaker: "one", times: [at(50), at(40), at(30), at(10)], prices: [2, null, 2.2, 2.1] },
      { region: "eu", bookmaker: "two", times: [at(50), at(20)], prices: [1.9, null] },
    ],
    regions: [
      { region: "uk", gaps: [], cursor: null, recorded_until: new Date(now).toISOString() },
      { region: "eu", gaps: [{ from: new Date(at(20)).toISOString(), until: new Date(at(5)).toISOString() }], cursor: null, recorded_until: new Date(now).toISOString() },
    ],
  };
  await page.route("**/api/history/series**", (route) => route.fulfill({ json: series }));
  await page.getByRole("button", { name: "1 hour" }).click();
  await page.waitForFunction(() => document.querySelector("price-chart").shown.lines.some((line) => line.bookmaker === "one"), null, WITHIN);
  const { lines, gaps, best } = await shown(page);
  assert.deepEqual(lines[0].prices.slice(0, 4), [2, null, 2.2, 2.1]);
  assert.deepEqual(gaps, [{ region: "eu", from: at(20), until: at(5) }]);
  assert.deepEqual(best.prices.slice(0, 4), [2, 1.9, 2.2, 2.1]);
  // Which colours there are in a column of the canvas, at a time: lines leave pixels, and their absence doesn't.
  const painted = (minutes) =>
    page.evaluate((minutes) => {
      const { canvas, scale } = document.querySelector("price-chart");
      const x = Math.round(scale.x(Date.now() - minutes * 60_000) * devicePixelRatio);
      const { data } = canvas.getContext("2d").getImageData(x, 0, 1, canvas.height);
      let pixels = 0;
      for (let at = 3; at < data.length; at += 4) pixels += data[at] > 0 ? 1 : 0;
      return pixels;
    }, minutes);
  assert.ok((await painted(15)) > (await painted(45)) + 20, "the gap is tinted");
  await close(page);
});

test("another outcome is charted when its heading is clicked", async () => {
  const page = await opened();
  const query = () => page.locator("price-chart").getAttribute("query");
  const first = await query();
  await page.locator(".ladder").first().getByRole("columnheader").nth(2).getByRole("button").first().click();
  await page.waitForFunction((first) => document.querySelector("price-chart").getAttribute("query") !== first, first, WITHIN);
  assert.match(await page.locator("price-chart h3").innerText(), / · /);
  await close(page);
});

test("the chart zooms by dragging, by keys and by two fingers, and comes back", async () => {
  const page = await opened();
  const length = async () => {
    const { view } = await shown(page);
    return view[1] - view[0];
  };
  const whole = await length();
  await canvas(page).scrollIntoViewIfNeeded();
  const box = await canvas(page).boundingBox();
  await page.mouse.move(box.x + box.width * 0.4, box.y + 50);
  await page.mouse.down();
  await page.mouse.move(box.x + box.width * 0.6, box.y + 60, { steps: 5 });
  await page.mouse.up();
  const dragged = await length();
  assert.ok(dragged < whole * 0.3 && dragged > whole * 0.1, `${dragged} of ${whole}`);
  await canvas(page).focus();
  await page.keyboard.press("+");
  assert.ok((await length()) < dragged * 0.6);
  const said = () => canvas(page).getAttribute("aria-valuetext");
  await page.keyboard.press("Home");
  await page.waitForTimeout(200);
  const atStart = await said();
  await page.keyboard.press("End");
  await page.waitForFunction((before) => document.querySelector("price-chart").canvas.getAttribute("aria-valuetext") !== before, atStart, WITHIN);
  assert.match(await said(), /Best [\d.]+|no price/);
  await page.keyboard.press("Escape");
  assert.ok((await length()) >= whole);
  assert.ok(await page.locator(".panel").isVisible(), "Escape resets the chart, and closes nothing");
  const pinch = (type, points) => {
    const touches = points.map(([x, y], pointerId) => ({ pointerId, x, y }));
    return canvas(page).evaluate((canvas, [type, touches]) => {
      canvas.setPointerCapture = () => {};
      for (const { pointerId, x, y } of touches) {
        const properties = { pointerId: pointerId + 10, pointerType: "touch", clientX: x, clientY: y, bubbles: true };
        canvas.dispatchEvent(new PointerEvent(type, properties));
      }
    }, [type, touches]);
  };
  const [middle, y] = [box.x + box.width / 2, box.y + 50];
  await pinch("pointerdown", [[middle - 50, y], [middle + 50, y]]);
  await pinch("pointermove", [[middle - 100, y], [middle + 100, y]]);
  await pinch("pointerup", [[middle - 100, y], [middle + 100, y]]);
  assert.ok((await length()) < whole * 0.7, `${await length()} of ${whole}`);
  await page.locator("price-chart").getByRole("button", { name: "Whole time" }).click();
  assert.ok((await length()) >= whole);
  await close(page);
});

test("all prices are there as a table and as files", async () => {
  const page = await opened();
  // A click would land beside it when rows above it come or go.
  await page.locator("price-chart summary").press("Enter");
  const rows = page.locator("price-chart tbody tr");
  await rows.first().waitFor(WITHIN);
  const { lines } = await shown(page);
  const steps = lines.reduce((steps, line) => steps + line.times.length, 0);
  assert.ok((await rows.count()) >= Math.min(steps, 2_000) - 5, `${await rows.count()} rows of ${steps} steps`);
  const save = async (name) => {
    const saved = page.waitForEvent("download");
    await page.locator("price-chart").getByRole("button", { name }).click();
    const download = await saved;
    return [download.suggestedFilename(), readFileSync(await download.path())];
  };
  const [csvName, csv] = await save("Save as CSV");
  assert.match(csvName, /^[\w.-]+\.csv$/);
  const csvLines = csv.toString().trim().split("\n");
  assert.equal(csvLines[0], "bookmaker,region,from,price");
  assert.ok(csvLines.length > steps, `${csvLines.length} lines for ${steps} steps`);
  const [pngName, png] = await save("Save as PNG");
  assert.match(pngName, /\.png$/);
  assert.deepEqual([...png.subarray(1, 4)], [...Buffer.from("PNG")]);
  await close(page);
});

test("every scale can be drawn, and axe finds nothing in either theme", async () => {
  for (const colorScheme of ["light", "dark"]) {
    const page = await opened({ bypassCSP: true, colorScheme });
    const scale = page.locator("price-chart").getByRole("combobox", { name: "Scale" });
    await scale.selectOption("probability");
    await page.locator("price-chart").getByRole("checkbox", { name: "Logarithmic" }).check();
    await page.locator("price-chart summary").press("Enter");
    await page.waitForTimeout(300);
    await finds(page, `an event with its chart, ${colorScheme}`);
    await close(page);
  }
});
