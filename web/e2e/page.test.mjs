import assert from "node:assert/strict";
import { after, before, test } from "node:test";
import { browser, start } from "./toteboard.mjs";
import { PASSWORD, WITHIN, choice, close, markets, open as visit, openSheet, prices, region, register, signIn, upcoming } from "./visitor.mjs";

const SETTINGS = ["--attempts-per-minute", "10000", "--recheck", "1"];

let toteboard;
let chromium;

before(async () => {
  toteboard = await start(...SETTINGS);
  chromium = await browser();
});

after(async () => {
  await chromium?.close();
  await toteboard?.stop();
});

const open = (context, url = toteboard.url) => visit(chromium, url, context);

const shown = async (page) => (await prices(page).allInnerTexts()).join();
/** Runs in the page: returns whether it shows other prices than these. */
const differs = (before) => [...document.querySelectorAll(".row .cell:not(:empty)")].map((cell) => cell.innerText).join() !== before;

/** Delays the connection, and so what the gateway says of the chosen regions, until the returned function is called. */
async function withhold(page) {
  let release;
  const released = new Promise((resolve) => (release = resolve));
  await page.routeWebSocket("**/socket.io/**", async (socket) => {
    await released;
    socket.connectToServer();
  });
  return release;
}

/** The positions of the controls at the top of the page. */
const places = (page) =>
  page.locator(".top h1 a, .top button, .regions input, .account > *, #search").evaluateAll((all) =>
    all.map((one) => {
      const { x, y, width, height } = one.getBoundingClientRect();
      return [one.value || one.innerText, x, y, width, height].join(" ");
    }),
  );

test("somebody registers with the keyboard, chooses a region and sees prices move", async () => {
  const page = await open();
  await page.getByRole("button", { name: "Make an account instead" }).focus();
  await page.keyboard.press("Enter");
  await page.getByLabel("Name or e-mail").focus();
  await page.keyboard.type("anna");
  await page.keyboard.press("Tab");
  await page.keyboard.type("short");
  await page.keyboard.press("Enter");
  await page.getByText("has to have at least 12 characters").waitFor(WITHIN);
  assert.equal(await page.getByLabel("Password").getAttribute("aria-invalid"), "true");
  await page.getByLabel("Password").fill(PASSWORD);
  await page.keyboard.press("Enter");
  await page.getByText("Choose a region to see").waitFor(WITHIN);
  await region(page, "UK").focus();
  await page.keyboard.press("Space");
  await prices(page).first().waitFor(WITHIN);
  await page.getByText("Simulated odds").waitFor();
  assert.ok(!(await page.locator(".empty").isVisible()), "no message above the board");
  const first = await shown(page);
  await page.waitForFunction(differs, first, WITHIN);
  // It survives a reload.
  await page.reload();
  await prices(page).first().waitFor(WITHIN);
  assert.ok(await region(page, "UK").isChecked());
  assert.ok(!(await region(page, "US").isChecked()));
  await close(page);
});

test("a change in one browser moves the other, and another tab", async () => {
  const laptop = await open();
  await register(laptop, "bert");
  const phone = await open();
  await signIn(phone, "bert", PASSWORD);
  const tab = await open(laptop.context());
  await region(laptop, "EU").check({ force: true });
  for (const other of [phone, tab]) {
    await other.waitForFunction(() => document.querySelector("input[value=eu]")?.checked, null, WITHIN);
    await prices(other).first().waitFor(WITHIN);
  }
  await region(phone, "EU").uncheck({ force: true });
  await laptop.getByText("Choose a region to see").waitFor(WITHIN);
  await close(phone);
  await close(laptop);
});

for (const width of [390, 1280]) {
  test(`nothing moves under a finger that is about to press, ${width} pixels wide`, async () => {
    const page = await open(await chromium.newContext({ viewport: { width, height: 800 } }));
    const release = await withhold(page);
    await register(page, `gina.${width}`);
    const first = await places(page);
    assert.ok(first.length > 6, first.join());
    await page.locator(".state", { hasText: "Connecting" }).waitFor(WITHIN);
    release();
    await page.locator(".state[data-state=live]").waitFor(WITHIN);
    assert.deepEqual(await places(page), first, "connected");
    if (width < 1000) await openSheet(page);
    await region(page, "US").check({ force: true });
    if (width < 1000) await page.getByRole("button", { name: "Done" }).click();
    await page.getByText("Simulated odds").waitFor(WITHIN);
    await prices(page).first().waitFor(WITHIN);
    assert.deepEqual(await places(page), first, "with a region");
    await close(page);
  });
}

test("two quick choices are both kept, whatever is answered late", async () => {
  const page = await open();
  // The response with the previous regions arrives after the choices.
  const release = await withhold(page);
  await register(page, "fred");
  const both = page.waitForResponse((answer) => (answer.request().postData() ?? "").includes('"eu","au"'), WITHIN);
  await page.evaluate(() => {
    const boxes = ["eu", "au"].map((key) => document.querySelector(`input[value=${key}]`));
    boxes.forEach((box) => box.click());
    window.taken = [];
    const { get, set } = Object.getOwnPropertyDescriptor(HTMLInputElement.prototype, "checked");
    const watched = {
      get,
      set(checked) {
        if (!checked) window.taken.push(this.value);
        set.call(this, checked);
      },
    };
    boxes.forEach((box) => Object.defineProperty(box, "checked", watched));
  });
  assert.deepEqual((await (await both).json()).regions, ["eu", "au"]);
  release();
  await prices(page).first().waitFor(WITHIN);
  assert.deepEqual(await page.evaluate(() => window.taken), [], "no choice is taken back for a moment");
  await page.reload();
  await prices(page).first().waitFor(WITHIN);
  for (const key of ["EU", "AU"]) assert.ok(await region(page, key).isChecked(), key);
  await close(page);
});

test("prices that nobody renews are grey and none of them is the best", async () => {
  // The credits are soon spent, and then the polls end.
  const poor = await start(...SETTINGS, "--credits", "100");
  try {
    const page = await open(undefined, poor.url);
    await signIn(page, "demo", poor.password);
    await prices(page).first().waitFor(WITHIN);
    await page.getByText(/prices may be old/).first().waitFor({ timeout: 90_000 });
    // Prices also become stale by the clock, when nothing arrives any more.
    const isOld = () =>
      [...document.querySelectorAll(".event .row:has(.cell.stale)")].some((row) => !row.querySelector(".cell:not(.stale, :empty)"));
    await page.waitForFunction(isOld, null, { timeout: 90_000 });
    const odd = await page.evaluate(() => {
      const stale = [...document.querySelectorAll(".cell.stale")];
      const gray = [...document.querySelectorAll(".event .row:has(.cell.stale)")].filter((row) => !row.querySelector(".cell:not(.stale, :empty)"));
      return [
        ...stale.filter((cell) => !cell.title.includes("old, last seen") || cell.matches(".best-price")).map((cell) => cell.outerHTML),
        ...gray.filter((row) => row.querySelector(".best").innerText !== "").map((row) => row.innerText),
      ];
    });
    assert.deepEqual(odd, []);
    await close(page);
  } finally {
    await poor.stop();
  }
});

test("a wrong password is told, and a right one lets in", async () => {
  const page = await open();
  await signIn(page, "demo", "a wrong password");
  await page.getByRole("alert").getByText("Unknown name or wrong password").waitFor(WITHIN);
  // Also signs out while data is still arriving.
  for (let n = 0; n < 5; n++) {
    await signIn(page, "demo", toteboard.password);
    await prices(page).first().waitFor(WITHIN);
    await page.getByRole("button", { name: "Sign out" }).click();
    await page.getByRole("heading", { name: "Sign in" }).waitFor(WITHIN);
  }
  await close(page);
});

test("what is typed after a sign-out stays, although the connection is told of the sign-out, too", async () => {
  const page = await open();
  await signIn(page, "demo", toteboard.password);
  await page.locator(".state[data-state=live]").waitFor(WITHIN);
  // The answer comes later than what the connection says.
  await page.route("**/api/logout*", async (route) => {
    const response = await route.fetch();
    await new Promise((resolve) => setTimeout(resolve, 500));
    await route.fulfill({ response });
  });
  await page.getByRole("button", { name: "Sign out" }).click();
  await page.getByLabel("Name or e-mail").fill("somebody else");
  await page.waitForTimeout(2_000);
  assert.equal(await page.getByLabel("Name or e-mail").inputValue(), "somebody else");
  assert.equal(await page.getByText("You were signed out").count(), 0);
  await close(page);
});

test("the board shows what is chosen, and the address says so", async () => {
  const page = await open();
  await signIn(page, "demo", toteboard.password);
  await prices(page).first().waitFor(WITHIN);
  const title = await upcoming(page).innerText();
  const team = title.split("–")[0].trim();
  await page.getByLabel("Search teams").fill(team);
  await page.waitForFunction((team) => [...document.querySelectorAll(".title .open")].every((it) => it.innerText.includes(team)), team, WITHIN);
  assert.ok(page.url().includes("q="), page.url());
  await page.getByLabel("Search teams").fill("no team is called this");
  await page.getByText("Nothing on the board matches").waitFor(WITHIN);
  await page.getByRole("button", { name: "Show everything" }).click();
  await prices(page).first().waitFor(WITHIN);
  await choice(page, "Odds").selectOption("american");
  await page.locator(".cell", { hasText: /^[+-]\d{3,}$/ }).first().waitFor(WITHIN);
  await page.getByRole("radio", { name: "Total" }).check({ force: true });
  await page.locator(".outcome", { hasText: /^Over \d/ }).first().waitFor(WITHIN);
  await page.reload();
  await page.locator(".outcome", { hasText: /^Over \d/ }).first().waitFor(WITHIN);
  // An event that is opened shows all its markets.
  await upcoming(page).click();
  await markets(page).filter({ hasText: "Winner" }).waitFor(WITHIN);
  await markets(page).filter({ hasText: "Handicap" }).waitFor(WITHIN);
  await close(page);
});

test("an open event says how often its prices changed, as recorded", async () => {
  const page = await open();
  await signIn(page, "demo", toteboard.password);
  const answer = page.waitForResponse((response) => response.url().includes("/api/history/events/"), WITHIN);
  await upcoming(page).click();
  const { regions } = await (await answer).json();
  const line = page.locator(".panel .recorded", { hasText: /^Prices changed/ });
  await line.waitFor(WITHIN);
  const changes = regions.reduce((sum, region) => sum + region.price_changes, 0);
  const times = changes === 1 ? "once" : `${changes} times`;
  const text = await line.innerText();
  assert.ok(text.startsWith(`Prices changed ${times} · First seen: `), `${text}: ${JSON.stringify(regions)}`);
  await close(page);
});

test("a token is made, shown once, and revoked", async () => {
  const page = await open();
  await register(page, "cleo");
  await page.getByRole("link", { name: "Settings" }).click();
  await page.getByLabel("Name of the token").fill("my bot");
  await page.locator("#token_password").fill(PASSWORD);
  await page.getByRole("button", { name: "Make a token" }).click();
  const token = await page.locator(".secret:not(:empty)").innerText(WITHIN);
  const me = () => fetch(`${toteboard.url}/api/me`, { headers: { authorization: `Bearer ${token}` } });
  assert.equal((await (await me()).json()).name, "cleo");
  await page.getByRole("button", { name: "Revoke my bot" }).click();
  await page.getByRole("button", { name: "Revoke my bot" }).waitFor({ state: "detached", ...WITHIN });
  assert.equal((await me()).status, 401);
  await close(page);
});

test("another password ends the other browser's session", async () => {
  const laptop = await open();
  await register(laptop, "dora");
  const phone = await open();
  await signIn(phone, "dora", PASSWORD);
  await phone.getByRole("group", { name: "Regions" }).waitFor(WITHIN);
  await laptop.getByRole("link", { name: "Settings" }).click();
  await laptop.getByLabel("Current password").fill(PASSWORD);
  await laptop.getByLabel("New password").fill("eight dry badgers");
  await laptop.getByRole("button", { name: "Change the password" }).click();
  await laptop.getByText("The password is changed").waitFor(WITHIN);
  await phone.getByText("You were signed out").waitFor(WITHIN);
  await laptop.locator(".state[data-state=live]").waitFor(WITHIN);
  await close(phone);
  await close(laptop);
});

test("a frame that is lost is asked for again", async () => {
  const page = await open();
  let [lost, asked, answered] = [0, 0, 0];
  await page.routeWebSocket("**/socket.io/**", (socket) => {
    const server = socket.connectToServer();
    socket.onMessage((message) => {
      if (message.includes('"resync"')) asked++;
      server.send(message);
    });
    server.onMessage((message) => {
      if (lost === 0 && message.startsWith('42["odds"') && !message.includes('"events":[]')) return lost++;
      if (asked > 0 && message.startsWith('42["odds"')) answered++;
      socket.send(message);
    });
  });
  await signIn(page, "demo", toteboard.password);
  await prices(page).first().waitFor(WITHIN);
  for (let waits = 0; waits < 400 && answered === 0; waits++) await page.waitForTimeout(100);
  await page.waitForFunction(differs, await shown(page), WITHIN);
  assert.deepEqual([lost, asked, answered > 0], [1, 1, true]);
  await close(page);
});

test("a page that is sent away comes back when it was asked to, or not at all", async () => {
  const page = await open();
  const connected = [];
  let sendAway;
  await page.routeWebSocket("**/socket.io/**", (socket) => {
    connected.push(Date.now());
    const server = socket.connectToServer();
    sendAway = (bye) => {
      socket.send(`42${JSON.stringify(["bye", bye])}`);
      socket.close();
      server.close();
    };
  });
  await signIn(page, "demo", toteboard.password);
  await page.locator(".state[data-state=live]").waitFor(WITHIN);
  const sent = Date.now();
  sendAway({ code: "stopping", message: "this gateway stops", retry_after_ms: 4_000 });
  await page.locator(".state", { hasText: "Reconnecting" }).waitFor(WITHIN);
  // Even when the network comes back, the page waits for the requested time.
  await page.context().setOffline(true);
  await page.locator(".state", { hasText: "Offline" }).waitFor(WITHIN);
  await page.context().setOffline(false);
  await page.locator(".state[data-state=live]").waitFor(WITHIN);
  assert.equal(connected.length, 2);
  assert.ok(connected[1] - sent >= 4_000, `after ${connected[1] - sent} ms`);
  sendAway({ code: "closed", message: "we are closed" });
  await page.locator(".state[data-state=off]", { hasText: "Not connected: we are closed" }).waitFor(WITHIN);
  // Long enough for an ordinary reconnect.
  await page.waitForTimeout(3_000);
  assert.equal(connected.length, 2);
  await close(page);
});

test("a page outlives its gateway", async () => {
  const page = await open();
  await register(page, "erik");
  await region(page, "UK").check({ force: true });
  await prices(page).first().waitFor(WITHIN);
  const first = await places(page);
  toteboard = await toteboard.restart(async () => {
    // "Reconnecting", or "Offline" on a machine that has only a loopback network.
    await page.locator(".state:not([data-state=live])").waitFor(WITHIN);
    assert.deepEqual(await places(page), first, "nothing moves");
    // The prices stay visible.
    assert.ok((await prices(page).count()) > 0);
  });
  await page.locator(".state[data-state=live]").waitFor(WITHIN);
  // The page shows the lost connection; Chromium also logs it to the console.
  page.wrong = page.wrong.filter((text) => !text.startsWith("WebSocket connection to"));
  const before = await shown(page);
  await page.waitForFunction(differs, before, WITHIN);
  await close(page);
});
