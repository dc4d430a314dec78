// Checks a running gateway against PROTOCOL.md: see README.md.

import { parseArgs } from "node:util";
import { http } from "./connection.mjs";
import { Description } from "./description.mjs";
import { alerts } from "./checks/alerts.mjs";
import { boards } from "./checks/boards.mjs";
import { connecting } from "./checks/connecting.mjs";
import { excess } from "./checks/excess.mjs";
import { feeds } from "./checks/feeds.mjs";
import { overHttp } from "./checks/http.mjs";
import { replays } from "./checks/replays.mjs";
import { requests } from "./checks/requests.mjs";
import { transports } from "./checks/transports.mjs";

const { values } = parseArgs({
  options: {
    url: { type: "string", default: process.env.TOTEBOARD_URL },
    token: { type: "string", default: process.env.TOTEBOARD_TOKEN },
    only: { type: "string", default: "" },
    without: { type: "string", multiple: true, default: [] },
    from: { type: "string" },
  },
});

/** Ends with a line that says what is wrong with the arguments. */
function unusable(reason) {
  console.error(reason);
  process.exit(2);
}

const PARTS = ["history", "alerts"];
if (!values.url || !values.token) unusable("usage: node check.mjs --url URL --token TOKEN [--only TEXT] [--without history|alerts] [--from ADDRESSES]");
if (values.without.some((part) => !PARTS.includes(part))) unusable(`--without: expected ${PARTS.join(" or ")}`);

const about = { url: values.url, token: values.token, from: values.from?.split(",") };
const answer = await http(about, "/api/asyncapi.json").catch((error) => unusable(`${about.url} doesn't answer: ${error.cause?.message ?? error.message}`));
if (answer.status !== 200) unusable(`${about.url} is no gateway: GET /api/asyncapi.json returns ${answer.status}`);
const first = await http(about, "/api/odds/uk");
if (first.status !== 200) unusable(`GET /api/odds/uk returns ${first.status}: ${first.text}`);
const description = new Description(answer.json());
about.seen = (event, payload) => description.take(event, payload);
// The market that most quotes are of.
const quotes = first.json().events.flatMap((event) => event.quotes);
const of = (market) => quotes.filter((quote) => quote.market === market).length;
about.market = [...new Set(quotes.map((quote) => quote.market))].sort((a, b) => of(b) - of(a))[0];
if (!about.market) unusable("the board of the United Kingdom is empty: these checks need odds that change");

/** What puts back what checks changed. */
const undoing = new Set();
about.undo = (undo) => {
  undoing.add(undo);
  return async () => undoing.delete(undo) && undo();
};
for (const signal of ["SIGINT", "SIGTERM"]) {
  process.on(signal, async () => {
    await Promise.allSettled([...undoing].map((undo) => undo()));
    process.exit(1);
  });
}

// Groups of sections run at the same time, the checks of a group one after the other. What asks too much at once comes
// last: it may be refused for a while.
const groups = [[connecting, requests], [boards], [feeds], [replays], [alerts, overHttp], [transports]];
let failed = 0;
let held = 0;

async function run(section, [sentence, check, part]) {
  const line = `${section}: ${sentence}`;
  if (!line.toLowerCase().includes(values.only.toLowerCase())) return;
  if (values.without.includes(part)) return console.log(`-    ${line} (without ${part})`);
  const own = { ...about, open: [] };
  try {
    await check(own);
    held++;
    console.log(`ok   ${line}`);
  } catch (error) {
    failed++;
    console.log(`FAIL ${line}\n     ${error.message}`);
  } finally {
    for (const connection of own.open) connection.close();
  }
}

const section = async ({ name, checks }) => {
  for (const check of checks) await run(name, check);
};
const group = async (sections) => {
  for (const each of sections) await section(each);
};
await Promise.all(groups.map(group));
await section(excess);

const described = [...new Set([...description.counts.keys(), ...description.wrong.keys()])].sort();
const everyPayload = described.map((event) => [
  `each \`${event}\` is as it is described (${description.counts.get(event) ?? 0} of them)`,
  () => {
    if (description.wrong.has(event)) throw new Error(description.wrong.get(event));
  },
]);
const isAsyncApi = () => {
  const flaw = description.flaw();
  if (flaw) throw new Error(flaw);
};
await section({ name: "Description", checks: [["it is AsyncAPI 3", isAsyncApi], ...everyPayload] });
if (held + failed === 0) unusable(`--only: no check has the text ${values.only}`);
console.log(`${held} hold, ${failed} fail`);
process.exit(failed ? 1 : 0);
