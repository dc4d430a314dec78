// Measures how the page loads on a slow phone, with nothing in its caches: the time until the first price, the longest
// task of the main thread, and how much the layout shifts. The arguments are the address of a gateway with open
// registration, and perhaps of another one that serves a former page: then the two are measured in turns and compared.

import { startSlowNetwork } from "./slow_network.mjs";
import { browser } from "./toteboard.mjs";

const WITHIN = 90_000;
const ROUNDS = 9;
// What Chromium calls "slow 4G". Its own emulation is not used, because it delays each frame of a websocket until the
// one before has arrived, which no network does.
const NETWORK = { roundTrip: 150, down: 1_600_000 / 8, up: 750_000 / 8 };
const SLOWER = 4;
const MOST_OF_FORMER = 0.8;
const LONGEST_TASK = 150;
const MOST_SHIFT = 0.01;
const PRICE = ".row .cell:not(:empty), .row .best :is(.price, .last)";

/** Makes an account that follows a region, and returns its cookie. */
async function member(url) {
  const ask = async (method, path, body, headers) => {
    const response = await fetch(url + path, {
      method,
      headers: { origin: url, "content-type": "application/json", ...headers },
      body: JSON.stringify(body),
    });
    if (!response.ok) throw new Error(`${path}: ${response.status} ${await response.text()}`);
    return response;
  };
  const made = await ask("POST", "/api/register", { name: "phone", password: "seven wet badgers" });
  const [name, value] = made.headers.get("set-cookie").split(";")[0].split("=");
  await ask("PUT", "/api/subscriptions", { regions: ["uk"] }, { cookie: `${name}=${value}` });
  return { name, value };
}

async function load(chromium, cookie) {
  const context = await chromium.newContext({ viewport: { width: 390, height: 844 }, isMobile: true, hasTouch: true });
  await context.addCookies([cookie]);
  const page = await context.newPage();
  const session = await context.newCDPSession(page);
  await session.send("Emulation.setCPUThrottlingRate", { rate: SLOWER });
  await page.addInitScript((price) => {
    globalThis.seen = { first: null, tasks: [], shift: 0 };
    new PerformanceObserver((list) => globalThis.seen.tasks.push(...list.getEntries().map((it) => it.duration))).observe({
      type: "longtask",
      buffered: true,
    });
    new PerformanceObserver((list) => {
      for (const it of list.getEntries()) if (!it.hadRecentInput) globalThis.seen.shift += it.value;
    }).observe({ type: "layout-shift", buffered: true });
    const look = () => {
      if (document.querySelector(price)) globalThis.seen.first = performance.now();
      else requestAnimationFrame(look);
    };
    requestAnimationFrame(look);
  }, PRICE);
  await page.goto(cookie.url, { timeout: WITHIN, waitUntil: "commit" });
  await page.waitForFunction(() => globalThis.seen.first !== null, null, { timeout: WITHIN, polling: 200 }).catch(async () => {
    throw new Error(`${cookie.url} shows no price, but: ${await page.locator("body").innerText()}`);
  });
  // What comes after the first price counts, too.
  await page.waitForTimeout(2_000);
  const { first, tasks, shift } = await page.evaluate(() => globalThis.seen);
  await context.close();
  return { first, longest: Math.max(0, ...tasks), shift };
}

const middle = (numbers) => numbers.toSorted((a, b) => a - b)[Math.floor(numbers.length / 2)];

const gateways = process.argv.slice(2);
const networks = await Promise.all(gateways.map((url) => startSlowNetwork(url, NETWORK)));
// Gateways accept requests only from pages at their own addresses, so these addresses resolve to the networks.
const pages = gateways.map((url) => new URL(url.replace("127.0.0.1", "localhost")));
const rules = pages.map(({ host }, n) => `MAP ${host} ${new URL(networks[n].url).host}`);
const chromium = await browser(`--host-resolver-rules=${rules.join(",")}`);
const cookies = await Promise.all(gateways.map(async (url, n) => ({ ...(await member(url)), url: pages[n].origin })));
const loads = cookies.map(() => []);
for (let round = 0; round < ROUNDS; round++) {
  for (const [n, cookie] of cookies.entries()) loads[n].push(await load(chromium, cookie));
}
await chromium.close();
networks.forEach((network) => network.stop());
const of = (n, what) => middle(loads[n].map((it) => it[what]));
const [own, former] = [0, 1].map((n) => loads[n] && { first: of(n, "first"), longest: of(n, "longest"), shift: of(n, "shift") });
const wrong = [];
const limit = (what, value, most, digits, unit = "") => {
  console.log(`${what}: ${value.toFixed(digits)}${unit} (at most ${most}${unit})`);
  if (value > most) wrong.push(what);
};
console.log(`medians of ${ROUNDS} loads, processor ${SLOWER} times slower, 1.6 Mbit/s, 150 ms`);
console.log(`first price: ${own.first.toFixed(0)} ms`);
limit("longest task", own.longest, LONGEST_TASK, 0, " ms");
limit("layout shift", own.shift, MOST_SHIFT, 4);
if (former) {
  console.log(`the former page: ${former.first.toFixed(0)} ms, longest task ${former.longest.toFixed(0)} ms, layout shift ${former.shift.toFixed(4)}`);
  limit("first price beside the former page's", own.first / former.first, MOST_OF_FORMER, 2);
}
if (wrong.length > 0) {
  console.error(`missed: ${wrong.join("; ")}`);
  process.exitCode = 1;
}
