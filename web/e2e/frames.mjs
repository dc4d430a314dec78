// Measures the page's frames per second: idle, while its board changes, and while it is scrolled. Fails if a goal is
// missed while the board changes. The argument is the address of a gateway with open registration.

import { browser } from "./toteboard.mjs";

const WITHIN = { timeout: 60_000 };
const SECONDS = 15;
const LEAST_FRAMES = 55;
/** Percent of the main thread. */
const MOST_BUSY = 12;
const [url] = process.argv.slice(2);

const chromium = await browser();
const context = await chromium.newContext({ viewport: { width: 1440, height: 900 } });
const page = await context.newPage();
await page.goto(url, { timeout: 60_000 });
await page.getByRole("button", { name: "Make an account instead" }).click(WITHIN);
await page.getByLabel("Name or e-mail").fill("bench");
await page.getByLabel("Password").fill("seven wet badgers");
await page.keyboard.press("Enter");
await page.getByText("Choose a region to see").waitFor(WITHIN);

const session = await context.newCDPSession(page);
await session.send("Performance.enable");
const spent = async () => {
  const { metrics } = await session.send("Performance.getMetrics");
  const of = (name) => metrics.find((metric) => metric.name === name).value;
  return { script: of("ScriptDuration"), all: of("TaskDuration") };
};

const share = (before, after, name) => (100 * (after[name] - before[name])) / SECONDS;

/** Prints and returns how busy the main thread is, and then how many frames there are a second. */
async function look(what) {
  // Not at the same time: what counts frames demands one each time the screen is refreshed.
  const before = await spent();
  await page.waitForTimeout(SECONDS * 1000);
  const after = await spent();
  const gaps = await page.evaluate(
    (millis) =>
      new Promise((resolve) => {
        const gaps = [];
        let last = performance.now();
        const end = last + millis;
        const frame = (now) => {
          gaps.push(now - last);
          last = now;
          if (now < end) requestAnimationFrame(frame);
          else resolve(gaps);
        };
        requestAnimationFrame(frame);
      }),
    SECONDS * 1000,
  );
  const rate = (gaps.length / gaps.reduce((sum, gap) => sum + gap, 0)) * 1000;
  const [script, busy] = ["script", "all"].map((name) => share(before, after, name));
  console.log(
    `${what}: ${script.toFixed(1)} % of the main thread in scripts, ${busy.toFixed(1)} % in all; ` +
      `${rate.toFixed(1)} frames a second, the longest ${Math.max(...gaps).toFixed(0)} ms`,
  );
  return { rate, busy };
}

await look("at rest");
await page.locator('input[value="uk"]').check({ force: true });
await page.locator(".row .cell:not(:empty)").first().waitFor(WITHIN);
await page.waitForTimeout(3_000);
const events = await page.locator(".event").count();
const text = () => page.evaluate(() => [...document.querySelectorAll(".row .cell")].map((cell) => cell.innerText));
const first = await text();
const { rate, busy } = await look(`${events} events, on the move`);
const moved = (await text()).filter((price, n) => price !== first[n]).length;
console.log(`${moved} of ${first.length} cells near the screen show another price than ${SECONDS} s before`);
await page.getByLabel("Search teams").hover();
await page.mouse.wheel(0, 0);
const scrolling = page.evaluate(
  (millis) =>
    new Promise((resolve) => {
      const board = document.querySelector("[data-scrolls]");
      const end = performance.now() + millis;
      const roll = () => {
        board.scrollTop += 20;
        if (performance.now() < end) requestAnimationFrame(roll);
        else resolve(board.scrollTop);
      };
      roll();
    }),
  2 * SECONDS * 1000,
);
await look("the same while it is scrolled");
console.log(`scrolled ${Math.round(await scrolling)} pixels`);
await chromium.close();
if (rate < LEAST_FRAMES || busy > MOST_BUSY) {
  console.error(`missed: at least ${LEAST_FRAMES} frames a second and at most ${MOST_BUSY} % of the main thread while prices change`);
  process.exitCode = 1;
}
