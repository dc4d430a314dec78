import assert from "node:assert/strict";
import { boardOf } from "../board.mjs";
import { Connection, http, until } from "../connection.mjs";

/** An outcome of an event that has not started, at a price that every bookmaker offers. */
async function likely(about) {
  const board = boardOf((await http(about, "/api/odds/uk?market=h2h")).json());
  const starts = (event) => Date.parse(event.details.commence_time);
  const soon = [...board.events].filter(([, event]) => event.quotes.size > 0 && starts(event) > Date.now() + 60_000);
  const [id, event] = soon.sort(([, a], [, b]) => starts(a) - starts(b))[0];
  return { kind: "price", event: id, market: "h2h", outcome: [...event.quotes.values()][0].outcomes[0].name, at_least: 1.01 };
}

/** Makes a rule that fires, and waits until each of these connections has its alert. */
async function alerted(about, clients) {
  const rule = await likely(about);
  const made = await http(about, "/api/rules", { method: "POST", body: rule });
  assert.equal(made.status, 201, made.text);
  const { id } = made.json();
  const undo = about.undo(() => http(about, `/api/rules/${id}`, { method: "DELETE" }));
  try {
    const alert = (client) => client.all("alert").find((alert) => alert.payload.rule === id)?.payload;
    await until("an alert", () => clients.every(alert), 30_000);
    const [first, ...others] = clients.map(alert);
    for (const other of others) assert.equal(other.id, first.id);
    assert.equal(first.event, rule.event);
    return first;
  } finally {
    await undo();
  }
}

export const alerts = {
  name: "Alerts",
  checks: [
    [
      "a rule that fires reaches every connection of its user, whatever its regions and filter are",
      async (about) => {
        const one = await Connection.accepted(about, { regions: [] });
        const other = await Connection.accepted(about, { regions: ["eu"], filter: { sports: [] } });
        const alert = await alerted(about, [one, other]);
        assert.ok((await http(about, "/api/alerts")).json().alerts.some((it) => it.id === alert.id));
        assert.equal((await http(about, "/api/alerts/read", { method: "POST", body: { ids: [alert.id] } })).status, 200);
      },
      "alerts",
    ],
    [
      "a client that names the last alert that it has gets those after it",
      async (about) => {
        const one = await Connection.accepted(about, { regions: [] });
        const first = await alerted(about, [one]);
        const second = await alerted(about, [one]);
        const late = await Connection.accepted(about, { regions: [], alerts: first.id });
        await until("the alert that was missed", () => late.all("alert").some(({ payload }) => payload.id === second.id));
        assert.ok(late.all("alert").every(({ payload }) => payload.id !== first.id), "it got the alert that it has");
      },
      "alerts",
    ],
  ],
};
