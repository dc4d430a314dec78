// A client that uses the generated types. The test is that it compiles and reads the boards of a running server.
//
//     node client.js http://127.0.0.1:8080 TOKEN

import createClient from "openapi-fetch";
import type { components, paths } from "./generated.js";

const [url, token] = process.argv.slice(2);
if (!url || !token) throw new Error("client.js URL TOKEN");
const client = createClient<paths>({ baseUrl: url, headers: { authorization: `Bearer ${token}` } });

/** Returns the best price of each outcome of an event. */
function best(event: components["schemas"]["Event"]): Map<string, number> {
  const found = new Map<string, number>();
  for (const { market, outcomes } of event.quotes) {
    for (const { name, point, price } of outcomes) {
      const key = `${market} ${name} ${point ?? ""}`;
      found.set(key, Math.max(price, found.get(key) ?? 0));
    }
  }
  return found;
}

const { data: feeds, error } = await client.GET("/api/regions");
if (!feeds) throw new Error(JSON.stringify(error));
for (const { region, state } of feeds) {
  const { data: board, error } = await client.GET("/api/odds/{region}", { params: { path: { region } } });
  if (!board) throw new Error(JSON.stringify(error));
  const prices = board.events.map((event) => best(event).size).reduce((sum, size) => sum + size, 0);
  console.log(`${region}: ${state}, ${board.events.length} events, ${prices} outcomes`);
  if (prices === 0) throw new Error(`${region} has no prices`);
}
