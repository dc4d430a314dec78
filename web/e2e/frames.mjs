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

/** Counts frames for a while, and prints and returns how many there were a second and how busy the main thread was. */
async function look(what) {
  const before = await spent();
  const seen = await page.evaluate(
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
  const after = await spent();
  const total = seen.reduce((sum, gap) => sum + gap, 0);
  const rate = (seen.length / total) * 1000;
  const share = (name) => (100 * (after[name] - before[name])) / SECONDS;
  console.log(
    `${what}: ${rate.toFixed(1)} frames a second, the longest ${Math.max(...seen).toFixed(0)} ms; ` +
      `${share("script").toFixed(1)} % of the main thread in scripts, ${share("all").toFixed(1)} % in all`,
  );
  return { rate, busy: share("all") };
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
  SECONDS * 1000,
);
await look("the same while it is scrolled");
console.log(`scrolled ${Math.round(await scrolling)} pixels`);
await chromium.close();
if (rate < LEAST_FRAMES || busy > MOST_BUSY) {
  console.error(`missed: at least ${LEAST_FRAMES} frames a second and at most ${MOST_BUSY} % of the main thread while prices change`);
  process.exitCode = 1;
}
