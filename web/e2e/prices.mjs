// What prices mean, computed from the stream of changes by this code alone: the tests compare it with what the gateway
// says. The definitions are in docs/history.md and docs/opportunities.md.

/** Signs in, and returns a function that asks the gateway for JSON. */
export async function asker({ url, password }) {
  const headers = { origin: url, "content-type": "application/json" };
  const login = await fetch(`${url}/api/login`, { method: "POST", headers, body: JSON.stringify({ name: "demo", password }) });
  const cookie = login.headers.get("set-cookie").split(";")[0];
  const text = async (path) => {
    const response = await fetch(url + path, { headers: { cookie } });
    if (!response.ok) throw new Error(`${path}: ${response.status} ${await response.text()}`);
    return response.text();
  };
  return { json: async (path) => JSON.parse(await text(path)), lines: async (path) => (await text(path)).trim().split("\n").map((line) => JSON.parse(line)) };
}

/** A board that follows the lines of `GET /api/history/changes`. */
export class Board {
  events = new Map();

  apply({ event, data }) {
    if (event === "gap") this.events.clear();
    if (event !== "snapshot" && event !== "odds") return;
    if (event === "snapshot") this.events.clear();
    for (const change of data.events) {
      if (change.removed) {
        this.events.delete(change.id);
        continue;
      }
      const { quotes = [], ...details } = change;
      const known = this.events.get(change.id) ?? { quotes: new Map() };
      Object.assign(known, details);
      for (const quote of quotes) {
        const key = `${quote.bookmaker} ${quote.market}`;
        if (quote.outcomes.length === 0) known.quotes.delete(key);
        else known.quotes.set(key, quote);
      }
      this.events.set(change.id, known);
    }
  }

  copy() {
    const copy = new Board();
    for (const [id, event] of this.events) copy.events.set(id, { ...event, quotes: new Map(event.quotes) });
    return copy;
  }
}

/** The lines of an event's quotes: prices of the same outcomes of the same market at the same point. */
export function linesOf(event, quotes) {
  const lines = new Map();
  const runners = new Map();
  for (const { bookmaker, market, outcomes } of quotes) {
    const all = runners.get(market) ?? new Set();
    runners.set(market, all);
    const parts = new Map();
    for (const outcome of outcomes) {
      all.add(outcome.name);
      const point = outcome.point === undefined ? "" : outcome.name === event.away_team ? -outcome.point : outcome.point;
      const key = JSON.stringify([outcome.description ?? "", point === 0 ? 0 : point]);
      parts.set(key, [...(parts.get(key) ?? []), outcome]);
    }
    for (const [part, offered] of parts) {
      offered.sort((a, b) => (a.name < b.name ? -1 : 1));
      const key = JSON.stringify([market, part, offered.map((it) => it.name)]);
      const line = lines.get(key) ?? { key, market, description: offered[0].description, outcomes: offered.map(({ name, point }) => ({ name, point, prices: new Map() })) };
      lines.set(key, line);
      offered.forEach((outcome, at) => line.outcomes[at].prices.set(bookmaker, outcome.price));
    }
  }
  for (const line of lines.values()) {
    const [market, part, names] = JSON.parse(line.key);
    const others = [...lines.keys()].map((key) => JSON.parse(key)).filter(([of, at]) => of === market && at === part);
    const isPart = others.some(([, , more]) => more.length > names.length && names.every((name) => more.includes(name)));
    const isOutright = market.startsWith("outrights");
    line.isComplete = isOutright ? line.outcomes.length === runners.get(market).size : names.length > 1 && !isPart;
  }
  return [...lines.values()];
}

const sum = (values) => values.reduce((sum, value) => sum + value, 0);

function median(values) {
  const sorted = values.toSorted((a, b) => a - b);
  const middle = sorted.length >> 1;
  return sorted.length % 2 ? sorted[middle] : (sorted[middle - 1] + sorted[middle]) / 2;
}

/** What a bookmaker thinks of each outcome, without its margin. */
export function opinion(line, bookmaker) {
  const shares = line.outcomes.map((outcome) => 1 / outcome.prices.get(bookmaker));
  return shares.map((share) => share / sum(shares));
}

/** The probability of each outcome by all bookmakers. */
export function consensus(line) {
  if (!line.isComplete) return null;
  const bookmakers = [...line.outcomes[0].prices.keys()];
  const opinions = bookmakers.map((bookmaker) => opinion(line, bookmaker));
  const medians = line.outcomes.map((_, at) => median(opinions.map((it) => it[at])));
  return { probabilities: medians.map((it) => it / sum(medians)), bookmakers: bookmakers.length };
}

export const best = (outcome) => Math.max(...outcome.prices.values());

/** The moves of an event's outcomes between two states of it. */
export function movesOf(before, now, admits = () => true) {
  const lines = (event) => linesOf(event, [...event.quotes.values()].filter(admits));
  const earlier = new Map(lines(before).map((line) => [line.key, line]));
  return lines(now).flatMap((line) => {
    const first = earlier.get(line.key);
    const [was, is] = [first && consensus(first), consensus(line)];
    if (!was || !is) return [];
    return line.outcomes.map((outcome, at) => {
      const pairs = [...outcome.prices].filter(([bookmaker]) => first.outcomes[at].prices.has(bookmaker));
      const change = is.probabilities[at] - was.probabilities[at];
      const moved = pairs.filter(([bookmaker, price]) => (change > 0 ? price < first.outcomes[at].prices.get(bookmaker) : price > first.outcomes[at].prices.get(bookmaker)));
      return {
        event: now.id,
        market: line.market,
        outcome: outcome.name,
        point: outcome.point,
        first: was.probabilities[at],
        last: is.probabilities[at],
        change,
        first_price: best(first.outcomes[at]),
        last_price: best(outcome),
        bookmakers: pairs.length,
        moved_with: moved.length,
      };
    });
  });
}

const isExchange = (bookmaker) => bookmaker.startsWith("betfair_ex") || ["matchbook", "smarkets"].includes(bookmaker);

/** What is paid back for a unit. The commission is in per cent. */
export const netOf = (bookmaker, price, commission) => (isExchange(bookmaker) ? 1 + (price - 1) * (1 - commission / 100) : price);
