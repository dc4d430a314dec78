// Checks a running gateway against PROTOCOL.md: see README.md.

import { parseArgs } from "node:util";
import { Description } from "./description.mjs";
import { http } from "./connection.mjs";
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
  },
});
if (!values.url || !values.token) {
  console.error("usage: node check.mjs --url URL --token TOKEN [--only TEXT] [--without history] [--without alerts]");
  process.exit(2);
}

const about = { url: values.url, token: values.token };
const answer = await http(about, "/api/asyncapi.json");
if (answer.status !== 200) {
  console.error(`${about.url} is no gateway: GET /api/asyncapi.json returns ${answer.status}`);
  process.exit(2);
}
const description = new Description(answer.json());
about.seen = (event, payload) => description.take(event, payload);
// The market that most quotes are of.
const quotes = (await http(about, "/api/odds/uk")).json().events.flatMap((event) => event.quotes);
const of = (market) => quotes.filter((quote) => quote.market === market).length;
about.market = [...new Set(quotes.map((quote) => quote.market))].sort((a, b) => of(b) - of(a))[0];
if (!about.market) {
  console.error("the board of the United Kingdom is empty: these checks need odds that change");
  process.exit(2);
}

// What asks too much at once comes last: it may be refused for a while.
const groups = [connecting, boards, requests, feeds, replays, alerts, overHttp, transports];
let failed = 0;
let held = 0;

async function run(section, [sentence, check, part]) {
  const line = `${section}: ${sentence}`;
  if (!line.toLowerCase().includes(values.only.toLowerCase())) return;
  if (values.without.includes(part)) return console.log(`-    ${line} (without ${part})`);
  try {
    await check(about);
    held++;
    console.log(`ok   ${line}`);
  } catch (error) {
    failed++;
    console.log(`FAIL ${line}\n     ${error.message}`);
  }
}

/** Checks of one section run one after the other, sections at the same time. */
const section = async ({ name, checks }) => {
  for (const check of checks) await run(name, check);
};
await Promise.all(groups.map(section));
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
console.log(`${held} hold, ${failed} fail`);
process.exit(failed ? 1 : 0);
