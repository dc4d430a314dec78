// Alerts: two clicks set one, it arrives in every tab, and the list, the bell and the notifications tell of it.

import assert from "node:assert/strict";
import { after, before, test } from "node:test";
import { finds } from "./axe.mjs";
import { browser, everySportIsPolled, start } from "./toteboard.mjs";
import { PASSWORD, WITHIN, close, markets, open as visit, prices, register, upcoming } from "./visitor.mjs";

const MOST_RULES = 6;
/** From a step's time until the page shows its alert, in milliseconds. */
const SOON = 1_000;

let toteboard;
let chromium;
let users = 0;

before(async () => {
  toteboard = await start("--attempts-per-minute", "10000", "--max-rules-per-user", String(MOST_RULES));
  await everySportIsPolled(toteboard);
  chromium = await browser();
});

after(async () => {
  await chromium?.close();
  await toteboard?.stop();
});

/** A context in which a new user is signed in. */
async function newUser(settings) {
  const context = await chromium.newContext({ viewport: { width: 1440, height: 900 }, ...settings });
  const headers = { origin: toteboard.url };
  const name = `user${++users}`;
  const registered = await context.request.post(`${toteboard.url}/api/register`, { headers, data: { name, password: PASSWORD } });
  assert.equal(registered.ok(), true, await registered.text());
  const regions = ["us", "uk", "eu", "au"];
  const chosen = await context.request.put(`${toteboard.url}/api/subscriptions`, { headers, data: { regions } });
  assert.equal(chosen.ok(), true, await chosen.text());
  return context;
}

/** A board of one league, so that several tabs keep up with it. */
const BOARD = "/?sport=soccer_epl";

/** Opens a tab with a board that is live. */
async function board(context, path = BOARD) {
  const page = await visit(chromium, toteboard.url + path, context);
  await page.locator(".state[data-state=live]").waitFor(WITHIN);
  if (path === BOARD) await prices(page).first().waitFor(WITHIN);
  return page;
}

const api = (context) => ({
  get: async (path) => (await context.request.get(`${toteboard.url}/api/${path}`)).json(),
  async post(path, data) {
    const response = await context.request.post(`${toteboard.url}/api/${path}`, { headers: { origin: toteboard.url }, data });
    assert.equal(response.ok(), true, await response.text());
    return response.json();
  },
});

/** Waits until the user has this many alerts, and returns them, the oldest first. */
async function alertsOf(context, count) {
  for (const end = Date.now() + WITHIN.timeout; ; await new Promise((resolve) => setTimeout(resolve, 50))) {
    const { alerts } = await api(context).get("alerts");
    if (alerts.length >= count) return alerts;
    assert.ok(Date.now() < end, `${alerts.length} of ${count} alerts`);
  }
}

/** Makes rules that fire at the next step: prices of this many outcomes that are better than 1.01. */
async function fireAtOnce(context, count) {
  const found = [];
  const soonest = Date.now() + 3_600_000;
  for (const region of ["uk", "eu", "us", "au"]) {
    const { events } = await api(context).get(`odds/${region}?market=h2h`);
    for (const { id, commence_time, quotes } of events) {
      if (Date.parse(commence_time) > soonest && quotes[0]) found.push({ event: id, outcome: quotes[0].outcomes[0].name });
    }
  }
  const events = [...new Map(found.map((it) => [it.event, it])).values()].slice(0, count);
  assert.equal(events.length, count);
  const rules = [];
  for (const about of events) rules.push(await api(context).post("rules", { kind: "price", market: "h2h", at_least: 1.01, ...about }));
  return rules;
}

const number = (page) => page.locator(".bell .number");
const unread = (page, count) => page.getByRole("link", { name: count ? `Alerts, ${count} unread` : /^Alerts$/ }).first();
const dialog = (page) => page.getByRole("dialog");
const said = (page) => page.locator(".said", { hasText: "The alert is set" });
const items = (page) => page.locator(".alerts li");
/** The row of an outcome with a price, of an event that has not started. */
const row = (page) => page.locator(".event:has(.title):not(:has(.started)) > .row:has(.best .price)").first();

/** Clicks the bell of an outcome's row. */
async function ring(page, row) {
  const name = row.locator(".outcome");
  await name.hover();
  const { width, height } = await name.boundingBox();
  await name.click({ position: { x: width - 10, y: height / 2 } });
}

/** Notes when the number of unread alerts changes. */
const watch = (page) =>
  page.evaluate(() => {
    globalThis.changes = [];
    const note = () => globalThis.changes.push([Date.now(), document.querySelector(".bell .number").textContent]);
    new MutationObserver(note).observe(document.querySelector(".bell .number"), { childList: true, characterData: true, subtree: true });
  });

test("two clicks set an alert, which arrives in every tab within a second of its step", async () => {
  const context = await newUser();
  const tabs = [await board(context), await board(context)];
  const [page] = tabs;
  const outcome = await row(page).locator(".outcome").innerText();
  const best = Number(await row(page).locator(".best .price").innerText());
  await ring(page, row(page));
  await dialog(page).getByText(`Tell me when ${outcome} is at`).waitFor(WITHIN);
  const proposed = Number(await page.getByLabel("This price or better").inputValue());
  assert.ok(proposed > best * 0.97 && proposed < best * 1.3 + 0.1, `${proposed} is proposed, the best price was ${best}`);
  await page.getByRole("button", { name: "Set the alert" }).click();
  await said(page).waitFor(WITHIN);
  await dialog(page).waitFor({ state: "detached", ...WITHIN });
  const [rule] = await api(context).get("rules");
  assert.deepEqual([rule.kind, rule.at_least, rule.outcome, rule.market], ["price", proposed, outcome, "h2h"]);
  assert.deepEqual(rule.regions, ["us", "uk", "eu", "au"]);

  for (const tab of tabs) await watch(tab);
  await ring(page, row(page));
  await page.getByLabel("This price or better").fill("1.01");
  // What the outcome has already is listed.
  await dialog(page).getByRole("listitem").filter({ hasText: outcome }).first().waitFor(WITHIN);
  await page.getByRole("button", { name: "Set the alert" }).click();
  for (const tab of tabs) await unread(tab, 1).waitFor(WITHIN);
  const [alert] = await alertsOf(context, 1);
  for (const tab of tabs) {
    const changes = await tab.evaluate(() => globalThis.changes);
    const took = changes.find(([, text]) => text === "1")[0] - Date.parse(alert.at);
    console.log(`an alert came ${took} ms after its step`);
    assert.ok(took <= SOON, `${took} ms`);
    assert.deepEqual(changes.map(([, text]) => text), ["1"]);
  }
  await close(page);
});

test("the keyboard alone sets an alert, leaves the dialog, and reads the list", async () => {
  const context = await newUser();
  const page = await board(context);
  const focused = () => page.evaluate(() => [document.activeElement.className, document.activeElement.dataset.outcome ?? ""]);
  await page.locator("#board").focus();
  await page.keyboard.press("j");
  await page.keyboard.press("j");
  const [, outcome] = await focused();
  assert.ok(outcome);
  await page.keyboard.press("a");
  await dialog(page).waitFor(WITHIN);
  await page.keyboard.press("Escape");
  await dialog(page).waitFor({ state: "detached", ...WITHIN });
  assert.deepEqual(await focused(), ["row", outcome]);
  await page.keyboard.press("a");
  await dialog(page).waitFor(WITHIN);
  assert.equal(await page.evaluate(() => document.activeElement.id), "at_least");
  // What is proposed is selected.
  await page.keyboard.type("1,01");
  await page.keyboard.press("Enter");
  await said(page).waitFor(WITHIN);
  assert.deepEqual(await focused(), ["row", outcome]);
  await unread(page, 1).waitFor(WITHIN);
  await page.locator(".bell").focus();
  await page.keyboard.press("Enter");
  await items(page).first().waitFor(WITHIN);
  assert.equal(new URL(page.url()).pathname, "/alerts");
  assert.equal(await page.title(), "Alerts – Toteboard");
  await items(page).getByRole("link").focus();
  await page.keyboard.press("Enter");
  await markets(page).first().waitFor(WITHIN);
  await number(page).filter({ hasText: "1" }).waitFor({ state: "detached", ...WITHIN });
  await page.keyboard.press("?");
  await dialog(page).getByText("Set an alert for the outcome").waitFor(WITHIN);
  await close(page);
});

test("on a phone, two taps on an event's outcome set an alert, and nothing is wider than the screen", async () => {
  const context = await newUser({ viewport: { width: 390, height: 844 }, hasTouch: true, isMobile: true });
  const page = await board(context);
  const width = () => page.evaluate(() => document.documentElement.scrollWidth);
  await upcoming(page).tap();
  await markets(page).first().waitFor(WITHIN);
  const bell = page.locator(".panel .market").first().locator("button.bell").first();
  const name = (await bell.getAttribute("aria-label")).replace("Set an alert for ", "");
  await bell.tap();
  await dialog(page).getByText(`Tell me when ${name} is at`).waitFor(WITHIN);
  const box = await dialog(page).boundingBox();
  assert.ok(box.x >= 0 && box.x + box.width <= 390 && box.y >= 0 && box.y + box.height <= 844, JSON.stringify(box));
  assert.equal(await width(), 390);
  await page.getByRole("button", { name: "Set the alert" }).tap();
  await said(page).waitFor(WITHIN);
  const [rule] = await api(context).get("rules");
  assert.equal(rule.outcome, name);
  await fireAtOnce(context, 1);
  await unread(page, 1).waitFor(WITHIN);
  await page.locator(".bell").first().tap();
  await items(page).first().waitFor(WITHIN);
  assert.equal(await width(), 390);
  await close(page);
});

test("the list says what happened, is filtered, and is read in one tab for all", async () => {
  const context = await newUser();
  const rules = await fireAtOnce(context, 2);
  await api(context).post("rules", { kind: "starts", event: rules[0].event, minutes: 1_440, name: "A start" });
  await alertsOf(context, 3);
  const page = await board(context);
  const other = await board(context);
  for (const tab of [page, other]) await unread(tab, 3).waitFor(WITHIN);
  await page.getByRole("navigation", { name: "Views" }).getByRole("link", { name: "Alerts" }).click();
  await items(page).nth(2).waitFor(WITHIN);
  const { alerts } = await api(context).get("alerts");
  const links = await items(page).locator("a").evaluateAll((all) => all.map((link) => new URL(link.href).pathname));
  assert.deepEqual(links, alerts.reverse().map((alert) => `/event/${alert.event}`));
  const sentences = items(page).locator("a", { hasText: "you asked for 1.01 or better" });
  await sentences.nth(1).waitFor(WITHIN);
  for (const sentence of await sentences.allInnerTexts()) {
    assert.match(sentence, /^.+ reached \d+\.\d\d at .+ \((US|UK|EU|AU)\): you asked for 1\.01 or better$/);
  }
  const kind = page.getByRole("combobox", { name: "Kind" });
  const show = page.getByRole("combobox", { name: "Show" });
  await kind.selectOption("starts");
  assert.match(await items(page).locator("a").innerText(), /^It starts within \d+ minutes/);
  await kind.selectOption("any");
  await show.selectOption("missed");
  await page.getByText("None of your alerts are like this.").waitFor(WITHIN);
  await show.selectOption("unread");
  assert.equal(await items(page).count(), 3);
  // A click shows the event, and the alert is read.
  const [event] = links;
  await items(page).first().locator("a").click();
  await page.locator(".panel h2").waitFor(WITHIN);
  assert.equal(new URL(page.url()).pathname, event);
  for (const tab of [page, other]) await unread(tab, 2).waitFor(WITHIN);
  await page.goBack();
  await items(page).nth(2).waitFor(WITHIN);
  await show.selectOption("unread");
  assert.equal(await items(page).count(), 2);
  await page.getByRole("button", { name: "Mark all as read" }).click();
  for (const tab of [page, other]) await unread(tab, 0).waitFor(WITHIN);
  await page.getByText("None of your alerts are like this.").waitFor(WITHIN);
  assert.equal((await api(context).get("alerts")).unread, 0);
  // The rules have ended, and say why.
  const ended = page.getByRole("listitem").filter({ hasText: "ended: it has happened" });
  await ended.nth(2).waitFor(WITHIN);
  await ended.first().getByRole("button", { name: /^Delete the alert / }).click();
  await ended.nth(2).waitFor({ state: "detached", ...WITHIN });
  assert.equal((await api(context).get("rules")).length, 2);
  assert.equal(await page.evaluate(() => document.activeElement.id), "rules-title");
  await close(page);
});

test("an alert that nobody was told of is marked as missed, and older ones come on demand", async () => {
  const context = await newUser();
  await fireAtOnce(context, 1);
  const [alert] = await alertsOf(context, 1);
  // As the gateway would answer after sixty more, one of them missed.
  await context.route("**/api/alerts?limit=*", async (route) => {
    const limit = Number(new URL(route.request().url()).searchParams.get("limit"));
    const all = Array.from({ length: 60 }, (_, at) => ({ ...alert, id: `${alert.rule}-1-${at + 1}`, missed: at === 58 }));
    await route.fulfill({ json: { alerts: all.slice(-limit), unread: 60, unwatched: [] } });
  });
  const page = await board(context, "/alerts");
  await items(page).nth(49).waitFor(WITHIN);
  assert.equal(await items(page).count(), 50);
  await page.getByRole("button", { name: "Show older ones" }).click();
  await items(page).nth(59).waitFor(WITHIN);
  await page.getByRole("combobox", { name: "Show" }).selectOption("missed");
  assert.equal(await items(page).count(), 1);
  await items(page).filter({ hasText: "missed: it no longer held when it was found" }).waitFor(WITHIN);
  await close(page);
});

test("a time of which Kafka kept nothing is shown as unwatched", async () => {
  let own = await start();
  after(() => own.stop());
  await everySportIsPolled(own);
  const page = await visit(chromium, own.url);
  await register(page, "watcher");
  const { events } = await (await page.request.get(`${own.url}/api/odds/uk?market=h2h`)).json();
  const [{ id: event, quotes }] = events.filter(({ quotes }) => quotes.length > 0);
  const data = { kind: "price", market: "h2h", at_least: 500, event, outcome: quotes[0].outcomes[0].name };
  const made = await page.request.post(`${own.url}/api/rules`, { data, headers: { origin: own.url } });
  assert.equal(made.status(), 201, await made.text());
  // The alerter decides a step at least.
  await page.waitForTimeout(3_000);
  // Its topics are in memory, so nobody can read what came last.
  own = await own.restart(async () => {});
  const noted = async () => (await (await page.request.get(`${own.url}/api/alerts`)).json()).unwatched.length > 0;
  for (const end = Date.now() + 40_000; !(await noted()); ) {
    assert.ok(Date.now() < end, "it is never noted");
    await page.waitForTimeout(200);
  }
  await page.goto(`${own.url}/alerts`);
  const unwatched = page.locator(".unwatched");
  await unwatched.first().waitFor(WITHIN);
  assert.match(await unwatched.first().innerText(), /^(AU|EU|UK|US) was not watched from .+ to .+: alerts of that time may be missing\.$/);
  await page.context().close();
});

test("what can't be is refused at its field", async () => {
  const context = await newUser();
  const page = await board(context);
  await ring(page, row(page));
  const price = page.getByLabel("This price or better");
  for (const [value, reason] of [["evens", "expected a price such as 2.10"], ["1", "expected a number from 1.01 to 10001"]]) {
    await price.fill(value);
    await page.keyboard.press("Enter");
    await dialog(page).getByText(reason).waitFor(WITHIN);
    assert.equal(await price.getAttribute("aria-invalid"), "true");
    assert.equal(await page.evaluate(() => document.activeElement.id), "at_least");
  }
  await page.keyboard.press("Escape");
  await dialog(page).waitFor({ state: "detached", ...WITHIN });
  assert.deepEqual(await api(context).get("rules"), []);
  // One more than the user may have.
  await fireAtOnce(context, MOST_RULES);
  await ring(page, row(page));
  await page.getByRole("button", { name: "Set the alert" }).click();
  await dialog(page).getByRole("alert").filter({ hasText: "rules" }).waitFor(WITHIN);
  await close(page);
});

test("the number stays after a reload, an alert that comes twice counts once, and those of a cut are caught up on", async () => {
  const context = await newUser();
  let [isCut, socket] = [false, undefined];
  const hellos = [];
  const seen = [];
  const page = await visit(chromium, "about:blank", context);
  await page.routeWebSocket("**/socket.io/**", (page) => {
    if (isCut) return page.close();
    socket = page;
    const server = page.connectToServer();
    page.onMessage((message) => {
      if (message.startsWith("40")) hellos.push(JSON.parse(message.slice(2)));
      server.send(message);
    });
    server.onMessage((message) => {
      page.send(message);
      if (!message.startsWith('42["alert"')) return;
      seen.push(JSON.parse(message.slice(2))[1].id);
      page.send(message);
    });
  });
  await page.goto(toteboard.url + BOARD);
  await page.locator(".state[data-state=live]").waitFor(WITHIN);
  await fireAtOnce(context, 2);
  await unread(page, 2).waitFor(WITHIN);
  // The number is compared with the gateway's a second later.
  await page.waitForTimeout(1_500);
  assert.equal(await number(page).innerText(), "2");
  await page.reload();
  await unread(page, 2).waitFor(WITHIN);
  await page.locator(".state[data-state=live]").waitFor(WITHIN);
  const known = (await alertsOf(context, 2)).at(-1).id;
  isCut = true;
  await socket.close();
  await page.locator(".state:not([data-state=live])").waitFor(WITHIN);
  await fireAtOnce(context, 3);
  const all = await alertsOf(context, 5);
  assert.equal(await number(page).innerText(), "2");
  isCut = false;
  await unread(page, 5).waitFor(WITHIN);
  assert.equal(hellos.at(-1).alerts, known);
  assert.deepEqual(seen.slice(-3).sort(), all.slice(-3).map((alert) => alert.id).sort());
  await page.waitForTimeout(1_500);
  assert.equal(await number(page).innerText(), "5");
  await close(page);
});

test("a hidden page shows a notification, once for all tabs, whose click shows the event", async () => {
  const context = await newUser();
  await context.grantPermissions(["notifications"], { origin: toteboard.url });
  await context.addInitScript(() => {
    // Until the visitor is asked, it is not known that the answer is yes.
    let isAsked = sessionStorage.getItem("asked");
    globalThis.shown = [];
    globalThis.Notification = class extends Notification {
      constructor(title, options) {
        super(title, options);
        globalThis.shown.push(this);
      }
      static get permission() {
        return isAsked ? super.permission : "default";
      }
      static requestPermission() {
        isAsked = true;
        sessionStorage.setItem("asked", "yes");
        return super.requestPermission();
      }
    };
    Object.defineProperty(document, "hidden", { get: () => globalThis.isHidden ?? false });
  });
  const tabs = [await board(context, "/alerts"), await board(context, "/alerts")];
  const [page] = tabs;
  for (const tab of tabs) {
    await tab.getByRole("button", { name: "Show notifications" }).click();
    await tab.getByText("Your browser shows alerts that come while").waitFor(WITHIN);
    assert.equal(await tab.getByRole("button", { name: "Show notifications" }).count(), 0);
  }
  // Nothing is shown to somebody who looks at the page.
  await fireAtOnce(context, 1);
  for (const tab of tabs) await unread(tab, 1).waitFor(WITHIN);
  for (const tab of tabs) assert.equal(await tab.evaluate(() => globalThis.shown.length), 0);
  for (const tab of tabs) await tab.evaluate(() => (globalThis.isHidden = true));
  const [{ id: mine }] = [await api(context).post("rules", { kind: "starts", minutes: 1_440, event: (await alertsOf(context, 1))[0].event })];
  for (const tab of tabs) await tab.waitForFunction(() => globalThis.shown.length > 0, null, WITHIN);
  const alert = (await alertsOf(context, 2)).find((alert) => alert.rule === mine);
  for (const tab of tabs) {
    const notes = await tab.evaluate(() => globalThis.shown.map(({ tag, title, body }) => ({ tag, title, body })));
    assert.equal(notes.length, 1);
    assert.equal(notes[0].tag, alert.id);
    assert.ok(notes[0].title.includes(alert.home_team), notes[0].title);
    assert.match(notes[0].body, /^It starts within \d+ minutes$/);
  }
  await page.evaluate(() => {
    globalThis.isHidden = false;
    globalThis.shown[0].dispatchEvent(new Event("click"));
  });
  await page.locator(".panel h2").waitFor(WITHIN);
  assert.equal(new URL(page.url()).pathname, `/event/${alert.event}`);
  for (const tab of tabs) await unread(tab, 1).waitFor(WITHIN);
  await close(page);
});

test("a browser that lets only the service worker notify gets its notification from there", async () => {
  const context = await newUser();
  await context.grantPermissions(["notifications"], { origin: toteboard.url });
  // As on Android.
  await context.addInitScript(() => {
    const { requestPermission } = Notification;
    globalThis.Notification = class {
      constructor() {
        throw new TypeError("Illegal constructor");
      }
      static permission = "granted";
      static requestPermission = requestPermission;
    };
    Object.defineProperty(document, "hidden", { get: () => true });
  });
  const page = await board(context);
  await page.waitForFunction(() => navigator.serviceWorker.controller !== null, null, WITHIN);
  await fireAtOnce(context, 1);
  const [alert] = await alertsOf(context, 1);
  const shown = () =>
    page.evaluate(async () => {
      const all = await (await navigator.serviceWorker.ready).getNotifications();
      return all.map(({ tag, title, data }) => ({ tag, title, data }));
    });
  for (const end = Date.now() + 40_000; (await shown()).length === 0 && Date.now() < end; ) await page.waitForTimeout(200);
  const [note, ...others] = await shown();
  assert.deepEqual(others, []);
  assert.equal(note.tag, alert.id);
  assert.equal(note.data, `/event/${alert.event}`);
  assert.ok(note.title.includes(alert.home_team), note.title);
  await close(page);
});

for (const colorScheme of ["light", "dark"]) {
  for (const viewport of [{ width: 390, height: 844 }, { width: 1440, height: 900 }]) {
    test(`axe finds nothing in ${colorScheme}, ${viewport.width} pixels wide`, async () => {
      const context = await newUser({ colorScheme, viewport, bypassCSP: true, reducedMotion: "reduce" });
      const page = await board(context);
      // A few events are enough: axe takes minutes for thousands of cells.
      const team = (await upcoming(page).innerText()).split(" – ")[0];
      await page.goto(`${toteboard.url}/alerts?q=${encodeURIComponent(team)}`);
      await page.getByText("Nothing yet. Open an event").waitFor(WITHIN);
      await finds(page, "no alerts");
      await fireAtOnce(context, 2);
      await items(page).nth(1).waitFor(WITHIN);
      await unread(page, 2).waitFor(WITHIN);
      await finds(page, "unread alerts");
      await page.goto(`${toteboard.url}/?q=${encodeURIComponent(team)}`);
      await upcoming(page).click();
      await markets(page).first().waitFor(WITHIN);
      await finds(page, "an event, with unread alerts");
      const bell = page.locator(".panel button.bell").first();
      await bell.click();
      await page.getByRole("button", { name: "Set the alert" }).click();
      await said(page).waitFor(WITHIN);
      await finds(page, "an alert that is set");
      await bell.click();
      await dialog(page).getByRole("listitem").first().waitFor(WITHIN);
      await page.getByLabel("This price or better").fill("evens");
      await page.keyboard.press("Enter");
      await dialog(page).getByText("expected a price such as").waitFor(WITHIN);
      await finds(page, "the dialog");
      await close(page);
    });
  }
}
