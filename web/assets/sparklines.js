// Small charts of the last day in the rows of the board, loaded after the board. One request serves all rows that are
// drawn. `data-event` of an event and `data-outcome` of a row say what it shows; `data-charted` of the document is the
// query of the regions and the market.

const TEXT = { title: (first, last) => `In a day: ${first} → ${last}` };
const READ_EVERY = 60_000;
/** Rows that are drawn together are asked for together. */
const READ_AFTER = 500;
const MOST_EVENTS = 60;
const [WIDTH, HEIGHT] = [28, 14];
/** A smaller change of the probability does not fill the height, */
const LEAST_SPAN = 0.04;
/** and one that is even smaller is not shown. */
const LEAST_CHANGE = 0.005;

const SHEET = `
  .event > .row > .outcome { isolation: isolate; }
  .sparkline { position: absolute; right: 0.25rem; top: calc(50% - ${HEIGHT / 2}px); z-index: -1; color: var(--faint); fill: none; stroke: currentColor; stroke-width: 1.5; }
  .sparkline.rises { color: var(--up); }
  .sparkline.falls { color: var(--down); }
  /* There, the row's bell is shown. */
  .row:is(:hover, :focus-visible) > .outcome > .sparkline { visibility: hidden; }
  @media (max-width: 48rem) { .event > .row > .outcome { position: relative; left: 0; } }
`;

/** By event: when it was read, and its outcomes. */
const known = new Map();
/** The query that they belong to. */
let charted = "";
let waiting;
let isOff = false;

/** Whether an outcome of an answer is the one with this label on the board: its name, with its point if it has one. */
export function isLabel({ outcome, point, description }, label) {
  // A row doesn't say of whom.
  if (description !== undefined) return false;
  if (point === undefined) return outcome === label;
  return label.startsWith(`${outcome} `) && Number(label.slice(outcome.length)) === point;
}

/** The path of a line of probabilities: null where there is none. */
export function pathOf(probabilities) {
  const values = probabilities.filter((share) => share !== null);
  const [low, high] = [Math.min(...values), Math.max(...values)];
  const span = Math.max(high - low, LEAST_SPAN);
  const bottom = (low + high - span) / 2;
  const x = (at) => ((at / (probabilities.length - 1)) * WIDTH).toFixed(1);
  const y = (share) => (HEIGHT - 1 - ((share - bottom) / span) * (HEIGHT - 2)).toFixed(1);
  return probabilities.map((share, at) => (share === null ? "" : `${(probabilities[at - 1] ?? null) === null ? "M" : "L"}${x(at)} ${y(share)}`)).join("");
}

/** Draws a row's chart, if its prices are known. */
function draw(row) {
  const outcomes = known.get(eventOf(row))?.outcomes ?? [];
  const probabilities = outcomes.find((it) => isLabel(it, row.dataset.outcome))?.probabilities ?? [];
  const values = probabilities.filter((share) => share !== null);
  const hasMoved = Math.max(...values) - Math.min(...values) >= LEAST_CHANGE;
  const path = hasMoved ? pathOf(probabilities) : "";
  let chart = row.querySelector(".sparkline");
  if ((chart?.dataset.path ?? "") === path) return;
  chart?.remove();
  if (path === "") return;
  const change = values.at(-1) - values[0];
  const look = Math.abs(change) < LEAST_CHANGE ? "" : change > 0 ? "rises" : "falls";
  const percent = (share) => `${(share * 100).toFixed(1)} %`;
  const title = TEXT.title(percent(values[0]), percent(values.at(-1)));
  const svg = `<svg class="sparkline ${look}" width="${WIDTH}" height="${HEIGHT}" data-path="${path}" aria-hidden="true"><title>${title}</title><path d="${path}"/></svg>`;
  row.querySelector(".outcome").insertAdjacentHTML("beforeend", svg);
}

const rows = () => [...document.querySelectorAll(".event > .row[data-outcome]")];
const eventOf = (row) => row.parentElement.dataset.event;

function soon() {
  waiting ??= setTimeout(read, READ_AFTER);
}

async function read() {
  waiting = undefined;
  const query = document.documentElement.dataset.charted ?? "";
  if (isOff || document.hidden || !query.includes("region=")) return;
  if (query !== charted) known.clear();
  charted = query;
  const now = Date.now();
  rows().forEach(draw);
  const events = [...new Set(rows().map(eventOf))];
  const old = events.filter((event) => !(known.get(event)?.at > now - READ_EVERY)).slice(0, MOST_EVENTS);
  if (old.length === 0) return;
  // Also those of which nothing is recorded, and after a failure: they are asked for again later.
  for (const event of old) known.set(event, { at: now, outcomes: known.get(event)?.outcomes });
  const path = `/api/history/sparklines?${query}${old.map((event) => `&event=${encodeURIComponent(event)}`).join("")}`;
  const response = await fetch(path).catch(() => null);
  // This gateway has no history.
  if (response?.status === 501) return void (isOff = true);
  const answer = response?.ok ? await response.json() : { events: [] };
  if (query !== charted) return;
  for (const { id, outcomes } of answer.events) known.set(id, { at: now, outcomes });
  rows().forEach(draw);
  soon();
}

// In a module that is not on a page, there is only what can be tested.
if (globalThis.document) {
  const sheet = new CSSStyleSheet();
  sheet.replaceSync(SHEET);
  document.adoptedStyleSheets.push(sheet);
  // Rows come and go, and the regions and the market may be others.
  const changes = new MutationObserver(soon);
  changes.observe(document.body, { childList: true, subtree: true });
  changes.observe(document.documentElement, { attributes: true, attributeFilter: ["data-charted"] });
  setInterval(soon, READ_EVERY / 2);
  soon();
}
