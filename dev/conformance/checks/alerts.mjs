import assert from "node:assert/strict";
import { boardOf } from "../board.mjs";
import { Connection, http, until } from "../connection.mjs";

export const alerts = {
  name: "Alerts",
  checks: [
    [
      "a rule that fires reaches every connection of its user within seconds, and one that names the last alert gets those after it",
      async (about) => {
        const board = boardOf((await http(about, "/api/odds/uk?market=h2h")).json());
        const starts = (event) => Date.parse(event.details.commence_time);
        const soon = [...board.events].filter(([, event]) => event.quotes.size > 0 && starts(event) > Date.now() + 60_000);
        const [id, event] = soon.sort(([, a], [, b]) => starts(a) - starts(b))[0];
        const outcome = [...event.quotes.values()][0].outcomes[0].name;
        const before = (await http(about, "/api/alerts?limit=1")).json().alerts.at(-1)?.id;
        const [one, other] = [await Connection.accepted(about, { regions: [] }), await Connection.accepted(about, { regions: ["eu"] })];
        const rule = { kind: "price", event: id, market: "h2h", outcome, at_least: 1.01 };
        const made = await http(about, "/api/rules", { method: "POST", body: rule });
        assert.equal(made.status, 201, made.text);
        const { id: ruleId } = made.json();
        try {
          const alert = (client) => client.all("alert").find((alert) => alert.payload.rule === ruleId);
          const first = await until("an alert", () => alert(one) && alert(other) && alert(one).payload, 30_000);
          assert.equal(first.id, alert(other).payload.id);
          assert.equal(first.event, id);
          const late = await Connection.accepted(about, { regions: [], ...(before ? { alerts: before } : {}) });
          if (before) await until("the missed alert", () => alert(late));
          late.close();
          assert.ok((await http(about, "/api/alerts")).json().alerts.some((it) => it.id === first.id));
          assert.equal((await http(about, "/api/alerts/read", { method: "POST", body: { ids: [first.id] } })).status, 200);
        } finally {
          await http(about, `/api/rules/${ruleId}`, { method: "DELETE" });
          one.close();
          other.close();
        }
      },
      "alerts",
    ],
  ],
};
