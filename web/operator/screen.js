// What operators see: the custom element `toteboard-operator`. The gateway serves this code to operators only.
//
// Its attributes:
//   status      the payload of the event `operator`, as JSON: what /api/operator/status answers
//   connection  why nothing can come; empty while it can
//
// A part of the screen is drawn again only when it has changed, so that whoever is about to press a button still can.

const TEXT = {
  well: "All is well",
  problems: (count) => (count === 1 ? "1 problem" : `${count} problems`),
  wait: "Waiting for the first status…",
  late: "nothing comes",
  old: (why) => `Not live: ${why}. What is shown is old.`,
  severity: { page: "users miss something", warning: "warning" },
  toDo: "What to do",
  live: "live",
  nobody: "nobody",
  never: "never",
  none: "none",
  confirm: "Do it",
  cancel: "Cancel",
  noted: "It is noted in the audit log.",
  done: "Done.",
  close: "Close",
  failed: "It was not done",
  password: (name, password) => `The password of ${name} is ${password}. It is shown only now.`,
  replayed: ({ produced, refused }) =>
    `${produced} produced again${refused ? `; ${refused} can't be, because they don't say where they came from` : ""}.`,
  waits: {
    gateway_lag: "records to read",
    historian_lag: "records to record",
    historian_waiting_steps: "steps to store",
    alerter_lag: "records to evaluate",
    notifier_lag: "records to become messages",
  },
  runOut: (when) => `used up ${when}, at this pace`,
  notUsed: "not used up at this pace",
};

/** What asks for confirmation: the title, what it will do, and the request. */
const ACTIONS = {
  disconnect: (id, name) => ({
    title: `Disconnect a client of ${name}`,
    effect: "Its connection ends, and it usually connects again after some seconds.",
    request: ["DELETE", `/api/operator/clients/${encodeURIComponent(id)}`],
  }),
  endSessions: (name) => ({
    title: `End the sessions of ${name}`,
    effect: "The user is signed out everywhere, and signs in again with the password. Tokens stay valid.",
    request: ["DELETE", `/api/operator/accounts/${encodeURIComponent(name)}/sessions`],
  }),
  disable: (name) => ({
    title: `Disable ${name}`,
    effect: "Its sessions and connections end, and its tokens are refused until the account is enabled again.",
    request: ["PATCH", `/api/operator/accounts/${encodeURIComponent(name)}`, { disabled: true }],
  }),
  enable: (name) => ({
    title: `Enable ${name}`,
    effect: "The user may sign in again.",
    request: ["PATCH", `/api/operator/accounts/${encodeURIComponent(name)}`, { disabled: false }],
  }),
  grant: (name) => ({
    title: `Make ${name} an operator`,
    effect: "The account sees and does what you do here.",
    request: ["PATCH", `/api/operator/accounts/${encodeURIComponent(name)}`, { is_operator: true }],
  }),
  revoke: (name) => ({
    title: `Take the role of an operator from ${name}`,
    effect: "The account no longer sees anything of this.",
    request: ["PATCH", `/api/operator/accounts/${encodeURIComponent(name)}`, { is_operator: false }],
  }),
  reset: (name) => ({
    title: `Make a new password for ${name}`,
    effect: "The old password is no longer valid, and all sessions end. The new one is shown once.",
    request: ["POST", `/api/operator/accounts/${encodeURIComponent(name)}/password`],
  }),
  create: (name) => ({
    title: `Create the account ${name}`,
    effect: "It may sign in with a password that is shown once.",
    request: ["POST", "/api/operator/accounts", { name }],
  }),
  open: () => ({
    title: "Open registration",
    effect: "Anybody who reaches a gateway may make an account.",
    request: ["PUT", "/api/operator/registration", { is_open: true }],
  }),
  shut: () => ({
    title: "Close registration",
    effect: "Only operators make accounts.",
    request: ["PUT", "/api/operator/registration", { is_open: false }],
  }),
  replayOne: (topic, partition, offset) => ({
    title: "Produce a dead letter again",
    effect: `The record ${partition}/${offset} of ${topic} goes back to where it came from. What was sent is not sent again.`,
    request: ["POST", "/api/operator/dead-letters/replay", { topic, only: { partition: Number(partition), offset: Number(offset) } }],
  }),
  replayAll: (topic) => ({
    title: "Produce all dead letters again",
    effect: `All records of ${topic} go back to where they came from. What was sent is not sent again.`,
    request: ["POST", "/api/operator/dead-letters/replay", { topic }],
  }),
};

const SHEET = `
  :host { display: block; max-width: 80rem; margin: 0 auto; padding: 0.75rem; }
  h2, h3, h4 { margin: 0; font: inherit; font-weight: 650; }
  h2 { font-size: 1.25rem; } h3 { font-size: 1rem; margin-bottom: 0.375rem; } h4 { margin: 0.625rem 0 0.25rem; }
  p { margin: 0.25rem 0; }
  section { background: var(--panel); border: 1px solid var(--line); border-radius: 0.5rem; padding: 0.75rem; margin: 0.75rem 0; }
  .scrolls { overflow-x: auto; }
  table { border-collapse: collapse; font-size: 0.8125rem; width: 100%; }
  th, td { text-align: left; padding: 0.25rem 0.75rem 0.25rem 0; border-bottom: 1px solid var(--line); vertical-align: top; }
  th { font-weight: 600; color: var(--faint); white-space: nowrap; }
  tr:last-child td { border-bottom: 0; }
  td.number, th.number { text-align: right; font-variant-numeric: tabular-nums; white-space: nowrap; }
  td.nowrap { white-space: nowrap; }
  .hint, caption { color: var(--faint); font-size: 0.8125rem; text-align: left; }
  .chip { display: inline-block; padding: 0 0.5rem; border-radius: 1rem; background: var(--tint); font-size: 0.75rem; white-space: nowrap; }
  .bad { background: var(--down-tint); color: var(--down); } .good { background: var(--up-tint); color: var(--up); }
  .warn { background: var(--warn); color: var(--warn-ink); }
  .problem { border-left: 0.25rem solid var(--warn-ink); padding: 0.25rem 0 0.25rem 0.75rem; margin: 0.625rem 0; overflow-wrap: anywhere; }
  .problem.page { border-color: var(--down); }
  .regions { display: grid; grid-template-columns: repeat(auto-fit, minmax(min(17rem, 100%), 1fr)); gap: 0.75rem; }
  .regions > div { border: 1px solid var(--line); border-radius: 0.375rem; padding: 0.5rem 0.625rem; min-width: 0; overflow-wrap: anywhere; }
  dl { display: grid; grid-template-columns: auto 1fr; gap: 0.125rem 0.625rem; margin: 0.375rem 0 0; font-size: 0.8125rem; }
  dt { color: var(--faint); } dd { margin: 0; }
  svg { display: block; width: 100%; height: 2.5rem; } path { fill: none; stroke: var(--accent); stroke-width: 1.5; vector-effect: non-scaling-stroke; }
  button, input, select { font: inherit; color: inherit; background: var(--panel); border: 1px solid var(--line); border-radius: 0.375rem;
    min-height: 2rem; padding: 0 0.625rem; }
  button { cursor: pointer; white-space: nowrap; } button:hover { border-color: var(--faint); }
  button.danger { color: var(--down); border-color: var(--down); }
  a { color: var(--accent); }
  :focus-visible { outline: 2px solid var(--accent); outline-offset: 1px; }
  form, .row { display: flex; flex-wrap: wrap; gap: 0.5rem; align-items: center; margin: 0.375rem 0; }
  summary { cursor: pointer; min-height: 1.5rem; font-size: 0.8125rem; }
  ul { margin: 0; padding: 0; list-style: none; font-size: 0.8125rem; } li { padding: 0.25rem 0; overflow-wrap: anywhere; }
  dialog { background: var(--panel); color: var(--ink); border: 1px solid var(--line); border-radius: 0.5rem; max-width: min(30rem, 100vw - 2rem); }
  dialog::backdrop { background: rgb(0 0 0 / 50%); }
  [hidden] { display: none; }
`;

/** A status comes every two seconds. */
const LATE_AFTER = 8_000;

const escaped = (text) => String(text).replace(/[&<>"']/g, (it) => `&#${it.charCodeAt(0)};`);

/** Text that is HTML already. */
class Html {
  constructor(text) {
    this.text = text;
  }
}

const inner = (value) => (Array.isArray(value) ? value.map(inner).join("") : value instanceof Html ? value.text : escaped(value ?? ""));

/** Makes HTML in which everything that is put in is text, unless it is HTML that was made here. */
const html = (parts, ...values) => new Html(parts.map((part, at) => part + (at < values.length ? inner(values[at]) : "")).join(""));

/** A time span in words. */
export function lasting(from, until) {
  const seconds = Math.max(0, Math.round((Date.parse(until) - Date.parse(from)) / 1_000));
  for (const [size, unit] of [[86_400, "d"], [3_600, "h"], [60, "min"]]) if (seconds >= size) return `${Math.floor(seconds / size)} ${unit}`;
  return `${seconds} s`;
}

/** A number with about three digits. */
export function short(value) {
  if (value === undefined || value === null) return "–";
  for (const [size, unit] of [[1e9, " G"], [1e6, " M"], [1e4, " k"]]) {
    if (Math.abs(value) >= size) return `${Number((value / (unit === " k" ? 1e3 : size)).toPrecision(3))}${unit}`;
  }
  return String(Number(value.toPrecision(3)));
}

/** A number of bytes. */
const bytes = (value) => short(value).replace(/ ?([kMG]?)$/, (_, unit) => ` ${unit}B`);

/** The parts of a value's name: `producer_polls_total{uk,ok}`. */
const parsed = (name) => {
  const [, metric, of] = name.match(/^([^{]*)(?:\{(.*)\})?$/);
  return { metric, of: of?.split(",") ?? [] };
};

/** The sum of a metric's values, of these labels only. */
function sum(values, metric, ...of) {
  let found;
  for (const [name, value] of Object.entries(values)) {
    const it = parsed(name);
    if (it.metric === metric && of.every((label, at) => label === undefined || it.of[at] === label)) found = (found ?? 0) + value;
  }
  return found;
}

/** Whether a program does something of this kind. */
const does = (program, prefix) => Object.keys(program.values).some((name) => name.startsWith(prefix));
const named = (program) => `${program.role} ${program.instance}`;
const button = (action, args, label, kind = "") =>
  html`<button type="button" class="${kind}" data-action="${action}" data-args="${JSON.stringify(args)}" data-key="${action} ${args.join(" ")}">${label}</button>`;
const table = (caption, heads, rows) =>
  rows.length === 0
    ? html`<p class="hint">${caption}: ${TEXT.none}</p>`
    : html`<div class="scrolls" tabindex="0" role="region" aria-label="${caption}"><table><caption>${caption}</caption><thead><tr>${heads.map((head) => html`<th class="${head.endsWith(" ") ? "number" : ""}" scope="col">${head.trim()}</th>`)}</tr></thead><tbody>${rows}</tbody></table></div>`;
const state = (program) => html`<span class="chip ${program.state === "running" ? "good" : "bad"}">${program.state}</span>`;

/** What is wrong in the same words with several, such as regions, is one problem, since the first of them. */
function together(problems) {
  const groups = new Map();
  for (const { ...it } of problems) {
    const group = groups.get(it.name + it.text);
    if (!group) groups.set(it.name + it.text, it);
    else {
      group.about += `, ${it.about}`;
      if (it.since < group.since) group.since = it.since;
    }
  }
  return [...groups.values()];
}

/** The verdict on everything, and the problems. */
function verdict({ problems: all, at }) {
  const problems = together(all);
  const worst = problems.some((problem) => problem.severity === "page") ? "bad" : problems.length > 0 ? "warn" : "good";
  return html`<h2 id="verdict"><span class="chip ${worst}" aria-hidden="true">●</span> ${problems.length === 0 ? TEXT.well : TEXT.problems(problems.length)}</h2>
    ${problems.map(
      (it) => html`<div class="problem ${it.severity}"><h3>${it.name}${it.about && ` · ${it.about}`}
        <span class="chip ${it.severity === "page" ? "bad" : "warn"}">${TEXT.severity[it.severity]}</span> <span class="hint">${lasting(it.since, at)}</span></h3>
        <p>${it.text}</p><p><b>${TEXT.toDo}:</b> ${it.what_to_do}.</p></div>`,
    )}`;
}

/** The burn-down of credits. */
function burnDown(history) {
  if (history.length < 2) return "";
  const [first, last] = [history[0][0], history.at(-1)[0]];
  const most = Math.max(...history.map(([, left]) => left), 1);
  const point = ([at, left]) => `${(((at - first) / (last - first || 1)) * 100).toFixed(1)} ${(30 - (left / most) * 28).toFixed(1)}`;
  return html`<svg viewBox="0 0 100 32" preserveAspectRatio="none" role="img" aria-label="Credits left, since ${new Date(first).toLocaleString()}"><path d="M${history.map(point).join("L")}"/></svg>`;
}

function credits({ left, run_out_at, history }) {
  const when = run_out_at ? TEXT.runOut(new Date(run_out_at).toLocaleString([], { dateStyle: "medium", timeStyle: "short" })) : TEXT.notUsed;
  return html`<dt>Credits</dt><dd>${short(left)} left, ${when}${burnDown(history)}</dd>`;
}

function sports(polls, key) {
  const rows = Object.entries(polls).sort();
  if (rows.length === 0) return "";
  const seconds = (value) => (value === null ? "–" : `${short(value)} s`);
  return html`<details data-key="sports ${key}"><summary>${rows.length} sports</summary>${table(
    "How often each sport is polled",
    ["Sport", "Every ", "About "],
    rows.map(([sport, [every, age]]) => html`<tr><td>${sport}</td><td class="number">${seconds(every)}</td><td class="number">${seconds(age)} ago</td></tr>`),
  )}</details>`;
}

function region({ region: key, state: feed, verdict: text, since, what_to_do, credits: left }, { programs, at }) {
  const running = programs.filter((program) => program.state === "running" && sum(program.values, "producer_leading", key) !== undefined);
  const leader = running.find((program) => sum(program.values, "producer_leading", key) === 1);
  const standBys = running.filter((program) => program !== leader).map((program) => program.instance);
  const polls = (of) => (leader ? sum(leader.per_second, "producer_polls_total", key, of) ?? 0 : 0) * 60;
  const failed = polls() - polls("ok");
  const age = leader ? sum(leader.values, "producer_poll_age_seconds", key) : undefined;
  return html`<div><h3>${key.toUpperCase()} <span class="chip ${feed === "live" ? (text === TEXT.live ? "good" : "warn") : "bad"}">${feed}</span></h3>
    ${text === TEXT.live ? "" : html`<p>${text}${since ? html` <span class="hint">${lasting(since, at)}</span>` : ""}</p>`}
    ${what_to_do ? html`<p class="hint">${TEXT.toDo}: ${what_to_do}.</p>` : ""}
    <dl><dt>Leads</dt><dd>${leader?.instance ?? TEXT.nobody}</dd><dt>Stands by</dt><dd>${standBys.join(", ") || TEXT.nobody}</dd>
    <dt>Last poll</dt><dd>${age === undefined ? TEXT.never : `${short(age)} s ago`}</dd>
    <dt>Polls a minute</dt><dd>${short(polls("ok"))}${failed > 0.05 ? html`, <span class="chip bad">${short(failed)} fail</span>` : ""}</dd>
    ${left ? credits(left) : ""}</dl>${leader ? sports(leader.sports[key] ?? {}, key) : ""}</div>`;
}

/** Where all programs are behind. */
function lags({ programs, at }) {
  const rows = programs.flatMap((program) =>
    program.lags.map(({ of, records, since, grows }) => {
      const trend = Math.abs(grows) < 0.05 ? "→ steady" : grows > 0 ? `↑ grows by ${short(grows)} a second` : `↓ falls by ${short(-grows)} a second`;
      const { metric, of: [key] } = parsed(of);
      return html`<tr><td>${named(program)}</td><td class="nowrap">${key.toUpperCase()}: ${TEXT.waits[metric] ?? metric}</td><td class="number">${short(records)}</td><td class="number">${lasting(since, at)}</td><td class="nowrap">${trend}</td></tr>`;
    }),
  );
  return table("Readers that are behind", ["Program", "What waits", "How many ", "For ", "Trend"], rows);
}

function kafka(status) {
  const cluster = status.kafka;
  if (cluster === null) return html`<h3>Kafka</h3><p><span class="chip bad">no broker answers</span></p>${lags(status)}`;
  const broker = (it) => html`<tr><td>${it.id}</td><td>${it.address ?? html`<span class="chip bad">does not answer</span>`}</td><td class="number">${it.leads}</td></tr>`;
  const faults = (it) => [
    ...(it.exists ? [] : ["missing"]),
    ...(it.without_leader ? [`${it.without_leader} without a leader`] : []),
    ...(it.out_of_sync ? [`${it.out_of_sync} out of sync`] : []),
    ...it.differences.map(({ what, planned, found }) => `${what} is ${found}, planned is ${planned}`),
  ];
  const topic = (it) =>
    html`<tr><td>${it.name}</td><td class="number">${it.partitions}</td><td class="number">${it.replicas}</td><td>${faults(it).map((fault) => html`<span class="chip bad">${fault}</span> `)}${faults(it).length ? "" : "as planned"}</td></tr>`;
  return html`<h3>Kafka</h3>${table("Brokers", ["Broker", "Address", "Leads "], cluster.brokers.map(broker))}
    <details data-key="topics"><summary>${cluster.topics.length} topics, ${cluster.topics.filter((it) => faults(it).length).length} not as planned</summary>${table("Topics", ["Topic", "Partitions ", "Replicas ", "State"], cluster.topics.map(topic))}</details>
    ${lags(status)}`;
}

function gateways({ programs, at }) {
  const all = programs.filter((program) => program.clients || does(program, "gateway_"));
  const row = (it) => html`<tr><td>${named(it)} ${state(it)}</td><td>${it.version}</td><td class="number">${short(it.clients?.users)}</td>
    <td class="number">${short(sum(it.values, "gateway_connections"))}</td><td class="number">${short(it.per_second.gateway_frames_total ?? 0)}</td>
    <td class="number">${bytes(it.per_second.gateway_sent_bytes_total ?? 0)}</td><td class="number">${short((it.per_second.gateway_late_ticks_total ?? 0) * 60)}</td>
    <td class="number">${bytes(it.memory)}</td></tr>`;
  const slow = all.flatMap((it) => (it.clients?.slow ?? []).map((client) => [it, client]));
  const online = all.flatMap((it) => (it.clients?.most ?? []).map((user) => [it, user]));
  return html`<h3>Gateways</h3>${table("Gateways", ["Gateway", "Version", "Users ", "Connections ", "Frames/s ", "Bytes/s ", "Late ticks/min ", "Memory "], all.map(row))}
    ${table(
      "Clients that don't take what they are sent",
      ["User", "At", "For ", "Action"],
      slow.map(([it, { id, name, since }]) => html`<tr><td>${name}</td><td>${it.instance}</td><td class="number">${lasting(since, at)}</td><td>${button("disconnect", [id, name], "Disconnect")}</td></tr>`),
    )}
    ${table(
      "Users with the most connections",
      ["User", "At", "Connections ", "Action"],
      online.map(([it, { name, connections }]) => html`<tr><td>${name}</td><td>${it.instance}</td><td class="number">${connections}</td><td>${button("endSessions", [name], "End sessions")}</td></tr>`),
    )}`;
}

/** Historians, alerters and notifiers. */
function workers({ programs }) {
  const of = (prefix) => programs.filter((program) => does(program, prefix));
  const yes = (value) => (value === undefined ? "–" : value ? html`<span class="chip good">yes</span>` : html`<span class="chip bad">no</span>`);
  const regions = (it) => [...new Set(Object.keys(it.values).map(parsed).filter(({ metric }) => metric === "historian_leading").map(({ of: [key] }) => key))];
  const historians = of("historian_").flatMap((it) =>
    regions(it).map((key) => {
      const leads = sum(it.values, "historian_leading", key) === 1;
      return html`<tr><td>${named(it)} ${state(it)}</td><td>${key.toUpperCase()}</td><td>${leads ? "records" : "stands by"}</td><td class="number">${short(sum(it.per_second, "historian_steps_total", key))}</td>
        <td class="number">${short(sum(it.values, "historian_waiting_steps", key) ?? 0)}</td><td class="number">${short(sum(it.values, "historian_lag", key) ?? 0)}</td><td>${yes(sum(it.values, "historian_store_available", key))}</td></tr>`;
    }),
  );
  const alerters = of("alerter_").map(
    (it) => html`<tr><td>${named(it)} ${state(it)}</td><td class="number">${short(sum(it.values, "alerter_shards"))}</td><td class="number">${short(sum(it.values, "alerter_rules") ?? 0)}</td>
      <td class="number">${short(sum(it.values, "alerter_lag") ?? 0)}</td><td>${yes(sum(it.values, "alerter_store_available"))}</td></tr>`,
  );
  const notifiers = of("notifier_").flatMap((it) =>
    [["email", "notifier_emails_total"], ["sms", "notifier_sms_total"]].flatMap(([key, sent]) =>
      sum(it.values, "notifier_waiting", key) === undefined
        ? []
        : [html`<tr><td>${named(it)} ${state(it)}</td><td>${key}</td><td class="number">${short((sum(it.per_second, sent, "sent") ?? 0) * 60)}</td>
            <td class="number">${short(sum(it.values, "notifier_waiting", key))}</td><td class="number">${short(sum(it.values, "notifier_oldest_seconds", key) ?? 0)} s</td>
            <td class="number">${short(sum(it.values, "notifier_lag", key) ?? 0)}</td><td class="number">${short(sum(it.values, "notifier_dead_letters", key) ?? 0)}</td>
            <td>${yes(1 - (sum(it.values, "notifier_provider_failing", key) ?? 0))}</td><td>${yes(sum(it.values, "notifier_store_available", key))}</td></tr>`],
    ),
  );
  return html`<h3>Historians, alerters, notifiers</h3>
    ${table("Historians", ["Historian", "Region", "State", "Steps/s ", "Wait ", "Lag ", "Store works"], historians)}
    ${table("Alerters", ["Alerter", "Shards ", "Rules ", "Lag ", "Store works"], alerters)}
    ${table("Notifiers", ["Notifier", "Channel", "Sent/min ", "Wait ", "Oldest ", "Lag ", "Dead letters ", "Provider works", "Outbox works"], notifiers)}`;
}

function log({ programs }) {
  const all = programs.flatMap((program) => program.troubles.map((trouble) => ({ ...trouble, by: named(program) })));
  all.sort((one, other) => (one.at < other.at ? 1 : -1));
  const line = ({ at, level, text, count = 1, by }) =>
    html`<li><span class="chip ${level === "error" ? "bad" : "warn"}">${level}</span> <span class="hint">${new Date(at).toLocaleTimeString()} ${by}</span> ${text}${count > 1 ? ` (${count} times)` : ""}</li>`;
  return html`<h3>Warnings and errors of the last ten minutes</h3>${all.length ? html`<ul>${all.map(line)}</ul>` : html`<p class="hint">${TEXT.none}</p>`}`;
}

const deadLetters = (topic, letters) =>
  table(
    `Dead letters of ${topic}`,
    ["Record", "Why", "Value", "Action"],
    letters.map((it) => html`<tr><td>${it.origin || `${it.partition}/${it.offset}`}<br><span class="hint">${it.died_at}</span></td><td>${it.reason}</td><td><code>${it.value}</code></td><td>${button("replayOne", [topic, it.partition, it.offset], "Produce again")}</td></tr>`),
  );

const accounts = (list) =>
  table(
    "Accounts",
    ["Name", "Since", "State", "Connections ", "Action"],
    list.map(({ name, created_at, disabled, is_operator, connections }) => html`<tr><td>${name}</td><td>${new Date(created_at).toLocaleDateString()}</td>
      <td>${disabled ? html`<span class="chip bad">disabled</span>` : "active"} ${is_operator ? html`<span class="chip">operator</span>` : ""}</td><td class="number">${connections}</td>
      <td><div class="row">${disabled ? button("enable", [name], "Enable") : button("disable", [name], "Disable", "danger")}
      ${is_operator ? button("revoke", [name], "No operator") : button("grant", [name], "Make operator")}
      ${button("reset", [name], "New password")}${button("endSessions", [name], "End sessions")}</div></td></tr>`),
  );

const audit = (entries) =>
  table(
    "What operators did",
    ["When", "Who", "From", "What", "To whom"],
    entries.map((it) => html`<tr><td>${new Date(it.at).toLocaleString()}</td><td>${it.by}</td><td>${it.address}<br><span class="hint">${it.agent}</span></td><td>${it.action.replaceAll("_", " ")}${it.failure ? html` <span class="chip bad">${it.failure}</span>` : ""}</td><td>${it.about}</td></tr>`),
  );

/** The frame of the screen: what is drawn again, and the forms, which are not. */
const FRAME = `
  <div id="old" role="status" hidden></div>
  <section aria-labelledby="verdict" data-part="verdict" aria-live="polite"><p class="hint">${TEXT.wait}</p></section>
  <section aria-label="Regions"><div class="regions" data-part="regions"></div></section>
  <section data-part="kafka"></section>
  <section data-part="gateways"></section>
  <section data-part="workers"></section>
  <section><h3>Dead letters</h3>
    <form id="dead"><label>Topic <select name="topic"><option>transactions.dead</option><option>alerts.dead</option></select></label>
    <button>Show</button><button type="button" id="replay-all">Produce all again</button></form><div data-part="dead"></div></section>
  <section data-part="log"></section>
  <section><h3>Accounts</h3><div class="row" data-part="registration"></div>
    <form id="find"><label>Begins with <input name="begin" autocomplete="off"></label><button>Find</button></form>
    <form id="create"><label>New account <input name="name" autocomplete="off" required minlength="3" maxlength="64"></label><button>Create</button></form>
    <div data-part="accounts"></div></section>
  <section><h3>Audit log</h3><div class="row"><button type="button" id="audit">Show the newest</button>
    <button type="button" id="older" hidden>Older</button><a href="/api/operator/audit.csv" download>Save all as CSV</a></div><div data-part="audit"></div></section>
  <dialog aria-labelledby="dialog-title"><h3 id="dialog-title"></h3><p id="dialog-text"></p><div class="row">
    <button type="button" id="yes" class="danger">${TEXT.confirm}</button><button type="button" id="no">${TEXT.cancel}</button></div></dialog>`;

/** Sends a request. Returns the answer; throws what the gateway says. */
async function ask([method, path, body]) {
  const headers = body === undefined ? {} : { "content-type": "application/json" };
  const response = await fetch(path, { method, headers, body: body === undefined ? undefined : JSON.stringify(body) });
  const text = await response.text();
  const answer = text ? JSON.parse(text) : {};
  if (!response.ok) throw new Error(answer.error?.message ?? response.statusText);
  return answer;
}

class Screen extends (globalThis.HTMLElement ?? class {}) {
  static observedAttributes = ["status", "connection"];
  /** What each part shows. */
  #drawn = new Map();
  /** What is to be confirmed. */
  #pending = null;
  #accounts = null;
  #audit = [];
  /** When the last status came. */
  #cameAt = Date.now();
  #timer = null;

  connectedCallback() {
    if (this.shadowRoot) return;
    const root = this.attachShadow({ mode: "open" });
    const sheet = new CSSStyleSheet();
    sheet.replaceSync(SHEET);
    root.adoptedStyleSheets = [sheet];
    root.innerHTML = FRAME;
    root.addEventListener("click", (event) => {
      const pressed = event.target.closest("button[data-action]");
      if (pressed) this.#confirm(ACTIONS[pressed.dataset.action](...JSON.parse(pressed.dataset.args)));
    });
    const on = (id, name, act) =>
      root.getElementById(id).addEventListener(name, (event) => {
        event.preventDefault();
        act(new FormData(event.currentTarget instanceof HTMLFormElement ? event.currentTarget : undefined));
      });
    on("dead", "submit", (given) => this.#show("dead", () => this.#deadLetters(given.get("topic"))));
    on("replay-all", "click", () => this.#confirm(ACTIONS.replayAll(root.querySelector("#dead select").value)));
    on("find", "submit", () => this.#show("accounts", () => this.#listed()));
    on("create", "submit", (given) => this.#confirm(ACTIONS.create(given.get("name"))));
    on("audit", "click", () => this.#show("audit", () => this.#entries([])));
    on("older", "click", () => this.#show("audit", () => this.#entries(this.#audit)));
    on("no", "click", () => root.querySelector("dialog").close());
    on("yes", "click", () => this.#act());
    this.#timer = setInterval(() => this.#drawAge(), 1_000);
    this.#draw();
  }

  disconnectedCallback() {
    clearInterval(this.#timer);
  }

  attributeChangedCallback(name) {
    if (name === "status") this.#cameAt = Date.now();
    if (this.shadowRoot) this.#draw();
  }

  /** Says if nothing comes, whatever the connection says of itself. */
  #drawAge() {
    const late = Date.now() - this.#cameAt > LATE_AFTER ? TEXT.late : "";
    const why = this.getAttribute("connection") || late;
    const old = this.shadowRoot.getElementById("old");
    if (old.dataset.why === why) return;
    old.dataset.why = why;
    old.hidden = why === "";
    old.innerHTML = old.hidden ? "" : html`<p class="chip warn">${TEXT.old(why)}</p>`.text;
  }

  #draw() {
    this.#drawAge();
    const text = this.getAttribute("status");
    if (!text) return;
    const status = JSON.parse(text);
    this.#part("verdict", verdict(status));
    this.#part("regions", html`${status.regions.map((it) => region(it, status))}`);
    this.#part("kafka", kafka(status));
    this.#part("gateways", gateways(status));
    this.#part("workers", workers(status));
    this.#part("log", log(status));
    const isOpen = status.registration_is_open;
    this.#part("registration", html`<span>Registration is <b>${isOpen ? "open" : "closed"}</b>.</span> ${isOpen ? button("shut", [], "Close it") : button("open", [], "Open it")}`);
  }

  /** Draws a part, if it has changed. What is focused or folded open stays so. */
  #part(name, content) {
    const { text } = content;
    if (this.#drawn.get(name) === text) return;
    this.#drawn.set(name, text);
    const part = this.shadowRoot.querySelector(`[data-part="${name}"]`);
    const opened = new Set([...part.querySelectorAll("details[open]")].map((it) => it.dataset.key));
    const focused = part.contains(this.shadowRoot.activeElement) ? this.shadowRoot.activeElement : null;
    const key = focused?.dataset.key ?? focused?.getAttribute("aria-label") ?? focused?.closest("details")?.dataset.key;
    const scrolled = new Map([...part.querySelectorAll(".scrolls")].map((it) => [it.getAttribute("aria-label"), it.scrollLeft]));
    part.innerHTML = text;
    for (const it of part.querySelectorAll("details")) it.open = opened.has(it.dataset.key);
    for (const it of part.querySelectorAll(".scrolls")) it.scrollLeft = scrolled.get(it.getAttribute("aria-label")) ?? 0;
    if (key) {
      const again = [...part.querySelectorAll("[data-key], [aria-label]")].find((it) => key === (it.dataset.key ?? it.getAttribute("aria-label")));
      (again?.matches("details") ? again.querySelector("summary") : again)?.focus({ preventScroll: true });
    }
  }

  /** Shows what a request answers, or why it failed. */
  async #show(name, content) {
    const shown = await content().catch((error) => html`<p class="chip bad" role="alert">${error.message}</p>`);
    this.#drawn.delete(name);
    this.#part(name, shown);
  }

  async #deadLetters(topic) {
    const { letters } = await ask(["GET", `/api/operator/dead-letters?topic=${encodeURIComponent(topic)}`]);
    return deadLetters(topic, letters);
  }

  async #listed() {
    const begin = this.shadowRoot.querySelector("#find input").value;
    this.#accounts = (await ask(["GET", `/api/operator/accounts?begin=${encodeURIComponent(begin)}`])).accounts;
    return accounts(this.#accounts);
  }

  async #entries(before) {
    const query = before.length ? `?before=${encodeURIComponent(before.at(-1).id)}` : "";
    const { entries } = await ask(["GET", `/api/operator/audit${query}`]);
    this.#audit = [...before, ...entries];
    this.shadowRoot.getElementById("older").hidden = entries.length === 0;
    return audit(this.#audit);
  }

  #confirm(action) {
    this.#pending = action;
    this.#dialog(action.title, `${action.effect} ${TEXT.noted}`, true);
  }

  #dialog(title, text, asks) {
    const find = (id) => this.shadowRoot.getElementById(id);
    find("dialog-title").textContent = title;
    find("dialog-text").textContent = text;
    find("yes").hidden = !asks;
    find("no").textContent = asks ? TEXT.cancel : TEXT.close;
    const dialog = this.shadowRoot.querySelector("dialog");
    if (!dialog.open) dialog.showModal();
    find("no").focus();
  }

  async #act() {
    const { title, request } = this.#pending;
    this.#pending = null;
    try {
      const answer = await ask(request);
      const told = answer.password ? TEXT.password(answer.name, answer.password) : "produced" in answer ? TEXT.replayed(answer) : TEXT.done;
      this.#dialog(title, told, false);
    } catch (error) {
      this.#dialog(TEXT.failed, error.message, false);
    }
    if (this.#accounts) this.#show("accounts", () => this.#listed());
    if (this.#audit.length) this.#show("audit", () => this.#entries([]));
  }
}

globalThis.customElements?.define("toteboard-operator", Screen);
