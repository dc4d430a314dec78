// The chart of an outcome's prices: the custom element `price-chart`, loaded when an event is first opened.
//
// Its attributes:
//   query    what is charted, as a query of /api/history/series, such as event=…&market=h2h&outcome=Arsenal&region=uk
//   format   decimal, american or fractional
//   heading  what the outcome is called
//   names    a line for each bookmaker: its key, a space, its name
//   mine     the keys of the user's own bookmakers, separated by commas
//   starts   when the event starts, in milliseconds since 1970
//   live     the prices as they are now: a line with the time, then a line for each: region, bookmaker, price. Empty while
//            that is not known
//
// A price stands until it changes, so lines are steps. Nothing is drawn where nothing is known.

const TEXT = {
  label: "Prices over time",
  ranges: { 1: "1 hour", 6: "6 hours", 24: "1 day", 720: "30 days" },
  range: "Time",
  scale: "Scale",
  axes: { price: "Odds", probability: "Probability" },
  log: "Logarithmic",
  reset: "Whole time",
  picture: "Save as PNG",
  file: "Save as CSV",
  table: "All prices as a table",
  columns: ["Bookmaker", "Region", "From", "Price"],
  more: (count) => `The newest ${count} are listed; the CSV file has all.`,
  none: "no price",
  unknown: "not recorded",
  starts: "start",
  waits: "alert",
  best: "Best",
  consensus: "Consensus",
  wait: "Reading prices…",
  empty: "Nothing is recorded of these prices.",
  failed: "The history can't be read just now.",
};

const HOUR = 3_600_000;
const RANGES = Object.keys(TEXT.ranges).map(Number);
/** A series that is read again in full when the user zooms in has at least this many points. */
const POINTS = 500;
const DETAILED_POINTS = 5_000;
const TABLE_ROWS = 2_000;
/** How often the chart goes on while no price changes. */
const GOES_ON_EVERY = 2_000;
const FOUND_AFTER = 50;
const MARGIN = { left: 56, right: 12, top: 12, bottom: 24 };
const SHORTEST_VIEW = 1_000;
const DASHES = [[], [6, 3], [2, 2], [8, 3, 2, 3]];
const REGIONS = ["us", "uk", "eu", "au"];

const SHEET = `
  :host { display: block; position: relative; margin: 0.5rem 0; }
  h3 { margin: 0.25rem 0; font: inherit; font-weight: 650; }
  .tools { display: flex; flex-wrap: wrap; gap: 0.25rem 0.5rem; align-items: center; font-size: 0.8125rem; }
  button, select { font: inherit; color: inherit; background: var(--panel); border: 1px solid var(--line);
    border-radius: 0.375rem; min-height: 1.75rem; padding: 0 0.5rem; cursor: pointer; }
  button[aria-pressed="true"] { background: var(--tint); border-color: var(--accent); }
  :focus-visible { outline: 2px solid var(--accent); outline-offset: 1px; }
  .plot { position: relative; height: 16rem; margin: 0.375rem 0; }
  canvas { position: absolute; inset: 0; width: 100%; height: 100%; touch-action: pan-y; cursor: crosshair; }
  .message { position: absolute; inset: 0; display: grid; place-items: center; margin: 0; color: var(--faint); pointer-events: none; }
  .reading { display: grid; grid-template-columns: repeat(auto-fill, minmax(11rem, 1fr)); gap: 0 0.75rem; margin: 0; padding: 0;
    list-style: none; font-size: 0.8125rem; max-height: 9.5rem; overflow: auto; }
  .reading li { display: flex; gap: 0.375rem; }
  .reading b { margin-left: auto; font-weight: 600; }
  .reading .when { grid-column: 1 / -1; font-weight: 600; }
  .reading i { align-self: center; flex: none; width: 0.75rem; border-top: 3px solid currentColor; }
  .of-us { color: light-dark(#0068a3, #56b4e9); } .of-uk { color: light-dark(#b04a00, #f0a04b); }
  .of-eu { color: light-dark(#00714f, #3fcf9f); } .of-au { color: light-dark(#96417c, #e39cc8); }
  .of-ink { color: var(--ink); } .of-faint { color: var(--faint); } .of-line { color: var(--line); } .of-tint { color: var(--tint); }
  .of-best { color: light-dark(#a87500, #ffd24a); } .of-panel { color: var(--panel); }
  summary { cursor: pointer; font-size: 0.8125rem; padding: 0.25rem 0; min-height: 1.5rem; }
  input { width: 1.5rem; height: 1.5rem; margin: 0; vertical-align: middle; }
  .rows { max-height: 16rem; overflow: auto; }
  table { border-collapse: collapse; font-size: 0.8125rem; }
  th, td { text-align: left; padding: 0.125rem 0.75rem 0.125rem 0; }
  td:last-child { text-align: right; }
`;

/** Fractions that bookmakers quote and that two decimal places can't express, as on the board. */
const CUSTOMARY = [
  [1, 33], [1, 16], [1, 14], [1, 12], [1, 11], [1, 9], [2, 15], [1, 7], [2, 13], [1, 6], [2, 11], [2, 9], [2, 7], [1, 3],
  [4, 11], [4, 9], [8, 15], [4, 7], [8, 13], [2, 3], [8, 11], [5, 6], [10, 11], [11, 8], [13, 8], [15, 8], [17, 8], [10, 3],
];

const divisor = (a, b) => (b === 0 ? a : divisor(b, a % b));
const reduced = (a, b) => [a / divisor(a, b), b / divisor(a, b)];

/** The text of a price, in a format. */
export function priceText(price, format) {
  if (price === null) return TEXT.none;
  if (format === "american" && price > 1) {
    const odds = price >= 2 ? Math.round((price - 1) * 100) : -Math.round(100 / (price - 1));
    return odds > 0 ? `+${odds}` : `${odds}`;
  }
  if (format === "fractional" && price > 1) {
    const hundredths = Math.round((price - 1) * 100);
    const customary = CUSTOMARY.find(([gain, stake]) => Math.floor((200 * gain + stake) / (2 * stake)) === hundredths);
    const [gain, stake] = customary ?? reduced(hundredths, 100);
    return `${gain}/${stake}`;
  }
  return price.toFixed(2);
}

const percent = (share) => `${(share * 100).toFixed(1)} %`;

const nothing = () => ({ times: [], prices: [], until: 0 });

/** The index of the last of these sorted times that is not after `time`; -1 if there is none. */
export function indexAt(times, time) {
  let [low, high] = [0, times.length];
  while (low < high) {
    const middle = (low + high) >> 1;
    if (times[middle] <= time) low = middle + 1;
    else high = middle;
  }
  return low - 1;
}

/** A line's price at a time: null if there was none, undefined if that is not known. */
export function priceAt(line, time) {
  const at = indexAt(line.times, time);
  return at < 0 || time > line.until ? undefined : line.prices[at];
}

/** The higher one of two prices over time, as a line. */
function higher(one, other) {
  const best = { times: [], prices: [], until: Math.max(one.until, other.until) };
  let [a, b, first, second] = [0, 0, null, null];
  while (a < one.times.length || b < other.times.length) {
    const isFirst = b === other.times.length || one.times[a] <= other.times[b];
    const time = isFirst ? one.times[a] : other.times[b];
    if (isFirst) first = one.prices[a++];
    if (b < other.times.length && other.times[b] === time) second = other.prices[b++];
    const price = second === null || (first !== null && first > second) ? first : second;
    if (best.times.length === 0 || price !== best.prices.at(-1)) {
      best.times.push(time);
      best.prices.push(price);
    }
  }
  return best;
}

/** The best price of all lines over time, as a line. */
export function bestOf(lines) {
  if (lines.length === 0) return nothing();
  if (lines.length === 1) return higher(lines[0], nothing());
  const half = lines.length >> 1;
  return higher(bestOf(lines.slice(0, half)), bestOf(lines.slice(half)));
}

/** Where times and heights are on the canvas. */
function scaleOf(plot, from, to, bottom, top) {
  const x = (time) => plot.x + ((time - from) / (to - from)) * plot.width;
  const y = (value) => plot.y + plot.height - ((value - bottom) / (top - bottom)) * plot.height;
  return { plot, from, to, x, y, bottom, top };
}

/** Round numbers between two values, about as many as there is room for. */
export function ticks(low, high, most) {
  const rough = (high - low) / most;
  const unit = 10 ** Math.floor(Math.log10(rough));
  const step = [1, 2, 5, 10].map((times) => times * unit).find((step) => step >= rough);
  const all = [];
  for (let tick = Math.ceil(low / step); tick * step <= high; tick++) all.push(tick * step);
  return all;
}

/** The times of a chart's vertical lines, on round hours or minutes of the user's clock. */
function timeTicks(from, to, most) {
  const seconds = [1, 2, 5, 10, 15, 30];
  const minutes = [1, 2, 5, 10, 15, 30, 60, 120, 180, 360, 720, 1_440, 2_880, 7_200];
  const steps = [...seconds, ...minutes.map((it) => it * 60)].map((it) => it * 1_000);
  const step = steps.find((step) => (to - from) / step <= most) ?? 14_400 * 60_000;
  const ahead = new Date(from).getTimezoneOffset() * -60_000;
  const all = [];
  for (let time = Math.ceil((from + ahead) / step) * step - ahead; time <= to; time += step) all.push(time);
  return { all, format: step >= 720 * 60_000 ? day : step >= 60_000 ? clock : clockWithSeconds };
}

const clock = new Intl.DateTimeFormat(undefined, { hour: "2-digit", minute: "2-digit" });
const clockWithSeconds = new Intl.DateTimeFormat(undefined, { hour: "2-digit", minute: "2-digit", second: "2-digit" });
const day = new Intl.DateTimeFormat(undefined, { day: "numeric", month: "short" });
const moment = new Intl.DateTimeFormat(undefined, {
  day: "numeric",
  month: "short",
  hour: "2-digit",
  minute: "2-digit",
  second: "2-digit",
  timeZoneName: "short",
});

const make = (tag, properties = {}, children = []) => {
  const element = Object.assign(document.createElement(tag), properties);
  element.append(...children);
  return element;
};

async function ask(path) {
  const response = await fetch(path);
  if (!response.ok) throw new Error(`${response.status}`);
  return response.json();
}

class PriceChart extends HTMLElement {
  static observedAttributes = ["query", "heading", "format", "mine", "names", "starts", "live"];

  #lines = [];
  /** Of all lines, or null while it is still to be found. */
  #best = null;
  #gaps = [];
  /** The consensus: times and probabilities. */
  #consensus = nothing();
  /** Prices that alerts of the user wait for. */
  #waits = [];
  /** What was read: the time it begins, and how long it is. */
  #from = 0;
  #hours = 24;
  /** The time that is shown, or null for all. */
  #view = null;
  /** Lines with every step, of a shorter time. */
  #detail = null;
  #axis = "price";
  #isLog = false;
  /** The time of the crosshair. */
  #crosshair = null;
  #selection = null;
  #pointers = new Map();
  #colours = {};
  #font = "";
  /** The width and height of the canvas on the page. */
  #size = [0, 0];
  /** The lines, drawn for more time than is shown, so that moving and zooming need not draw them again. */
  #backdrop = null;
  #sharpening;
  #isDue = false;
  #isLive;
  /** The names of bookmakers, and the text that they are from. */
  #names = {};
  #namesText;
  // Elements.
  #heading;
  #ranges;
  #back;
  #message;
  #reading;
  #when;
  #items;
  #details;
  #swatches;
  // What goes on while the chart is on the page.
  #resizes;
  #themes;
  #scheme;
  #going;
  #describing = null;
  #detailing;
  #reads = 0;
  #liveAt = 0;

  constructor() {
    super();
    const root = this.attachShadow({ mode: "open" });
    const sheet = new CSSStyleSheet();
    sheet.replaceSync(SHEET);
    root.adoptedStyleSheets = [sheet];
    this.canvas = make("canvas", { tabIndex: 0 });
    for (const [name, value] of [["role", "slider"], ["aria-label", TEXT.label], ["aria-valuemin", "0"], ["aria-valuemax", "1000"], ["aria-valuenow", "1000"]]) {
      this.canvas.setAttribute(name, value);
    }
    this.#message = make("p", { className: "message" });
    this.#message.setAttribute("role", "status");
    this.#reading = make("ul", { className: "reading" });
    this.#reading.setAttribute("aria-hidden", "true");
    this.#when = make("li", { className: "when" });
    this.#items = [];
    this.#details = make("details", {}, [make("summary", { textContent: TEXT.table })]);
    this.#swatches = ["ink", "faint", "line", "tint", "best", "panel", ...REGIONS].map((name) => make("span", { className: `of-${name}`, hidden: true }));
    this.#heading = make("h3", { hidden: true });
    root.append(this.#heading, this.#tools(), make("div", { className: "plot" }, [this.canvas, this.#message]), this.#reading, this.#details, ...this.#swatches);
    this.#details.addEventListener("toggle", () => this.#fillTable());
    this.#listen();
  }

  connectedCallback() {
    this.#resizes = new ResizeObserver(([{ contentRect }]) => {
      this.#size = [contentRect.width, contentRect.height];
      this.#redraw();
    });
    this.#resizes.observe(this.canvas);
    this.#themes = new MutationObserver(() => this.#recolour());
    this.#themes.observe(document.documentElement, { attributes: true, attributeFilter: ["data-theme"] });
    this.#scheme = matchMedia("(prefers-color-scheme: dark)");
    this.#scheme.onchange = () => this.#recolour();
    this.#title(this.getAttribute("heading") ?? "");
    this.#going = setInterval(() => this.#goOn(), GOES_ON_EVERY);
    this.#recolour();
    this.#press();
    this.#read();
  }

  disconnectedCallback() {
    this.#reads++;
    clearInterval(this.#going);
    this.#resizes.disconnect();
    this.#themes.disconnect();
    this.#scheme.onchange = null;
  }

  attributeChangedCallback(name, before, value) {
    if (!this.isConnected || before === value) return;
    if (name === "query") {
      this.#view = null;
      this.#press();
      this.#crosshair = null;
      this.#read();
    } else if (name === "live") {
      this.#live(value);
    } else if (name === "heading") {
      this.#title(value);
    } else {
      this.#changed(this.#best);
    }
  }

  #title(text) {
    this.#heading.textContent = text.trim();
    this.#heading.hidden = text.trim() === "";
  }

  /** What tests and other scripts may look at. */
  get shown() {
    return { lines: this.#lines, gaps: this.#gaps, best: this.#best ?? this.#find(), consensus: this.#consensus, waits: this.#waits, view: this.#time() };
  }

  #tools() {
    const button = (text, act) => make("button", { type: "button", textContent: text, onclick: act });
    this.#ranges = RANGES.map((hours) => button(TEXT.ranges[hours], () => this.#show(hours)));
    const axes = Object.entries(TEXT.axes).map(([value, text]) => make("option", { value, textContent: text }));
    const axis = make("select", { ariaLabel: TEXT.scale, onchange: () => ((this.#axis = axis.value), this.#changed(this.#best)) }, axes);
    const log = make("input", { type: "checkbox", onchange: () => ((this.#isLog = log.checked), this.#changed(this.#best)) });
    const group = make("span", {}, this.#ranges);
    group.setAttribute("role", "group");
    group.setAttribute("aria-label", TEXT.range);
    this.#back = button(TEXT.reset, () => this.#zoom(null));
    const tools = [group, axis, make("label", {}, [log, ` ${TEXT.log}`]), this.#back];
    tools.push(button(TEXT.picture, () => this.#savePicture()), button(TEXT.file, () => this.#saveFile()));
    return make("div", { className: "tools" }, tools);
  }

  // Reading

  #path(what, from, to, points) {
    const query = new URLSearchParams(this.getAttribute("query") ?? "");
    query.set("from", new Date(from).toISOString());
    query.set("to", new Date(to).toISOString());
    if (points) query.set("points", points);
    return `/api/history/${what}?${query}`;
  }

  async #read() {
    const read = ++this.#reads;
    const query = new URLSearchParams(this.getAttribute("query") ?? "");
    if (!query.has("event")) return;
    if (this.#lines.length === 0) this.#message.textContent = TEXT.wait;
    const to = Date.now();
    const from = to - this.#hours * HOUR;
    try {
      const rules = ask("/api/rules").catch(() => null);
      const series = await ask(this.#path("series", from, to, POINTS));
      if (read !== this.#reads) return;
      this.#from = from;
      this.#detail = null;
      [this.#lines, this.#gaps] = [linesOf(series, to), gapsOf(series)];
      [this.#consensus, this.#waits] = [nothing(), []];
      this.#liveAt = to;
      this.#message.textContent = this.#lines.length === 0 ? TEXT.empty : "";
      this.#changed();
      if (this.#lines.length === 0) return;
      // Of the time that is shown, because it has few points.
      const consensus = await this.#readConsensus(query, this.#whole()[0], to).catch(() => nothing());
      const waits = waitsOf((await rules)?.rules ?? [], query);
      if (read !== this.#reads) return;
      [this.#consensus, this.#waits] = [consensus, waits];
      this.#redraw();
    } catch {
      if (read === this.#reads) this.#message.textContent = TEXT.failed;
    }
  }

  /** The consensus, as a line of probabilities. */
  async #readConsensus(query, from, to) {
    const wanted = new URLSearchParams({ event: query.get("event"), market: query.get("market") });
    for (const region of query.getAll("region")) wanted.append("region", region);
    wanted.set("from", new Date(from).toISOString());
    wanted.set("to", new Date(to).toISOString());
    const { times, events } = await ask(`/api/history/sparklines?${wanted}`);
    const isIt = (it) => ["outcome", "point", "description"].every((name) => `${it[name] ?? ""}` === (query.get(name) ?? ""));
    const found = events.flatMap((event) => event.outcomes).find(isIt);
    const points = found ? times.map((time, at) => [time, found.probabilities[at]]) : [];
    return { times: points.map(([time]) => time), prices: points.map(([, share]) => share), until: to };
  }

  /** Reads every step of the shown time, if what was read first is thinned. */
  async #readDetail() {
    const [from, to] = this.#time();
    const isThinned = this.#lines.some((line) => line.times.length >= POINTS - 1);
    const isThere = this.#detail && this.#detail.from <= from && to <= this.#detail.to;
    if (!this.#view || !isThinned || isThere) return;
    const read = this.#reads;
    const series = await ask(this.#path("series", from, to, DETAILED_POINTS)).catch(() => null);
    if (!series || read !== this.#reads) return;
    const lines = linesOf(series, to);
    this.#detail = { from, to, lines, best: bestOf(lines) };
    this.#redraw();
  }

  #live(text) {
    const wasLive = this.#isLive;
    this.#isLive = text !== "";
    if (this.#lines.length === 0 || !this.#isLive) return;
    // What happened meanwhile is in the history.
    if (wasLive === false) return void this.#read();
    const [time, ...prices] = text.split("\n");
    const at = Number(time);
    this.#liveAt = at;
    const key = (words) => words.slice(0, 2).join(" ");
    const now = new Map(prices.map((line) => line.split(" ")).map((words) => [key(words), Number(words[2])]));
    for (const line of this.#lines) {
      const name = `${line.region} ${line.bookmaker}`;
      append(line, at, now.get(name) ?? null);
      now.delete(name);
    }
    for (const [name, price] of now) {
      const [region, bookmaker] = name.split(" ");
      this.#lines.push({ region, bookmaker, times: [at], prices: [price], until: at });
    }
    append(this.#best ?? this.#find(), at, Math.max(...this.#lines.map((line) => line.prices.at(-1) ?? 0)) || null);
    this.#changed(this.#best);
  }

  /** Prices that don't change stand until now. */
  #goOn() {
    if (!this.#isLive || this.#lines.length === 0) return;
    this.#liveAt = Math.max(this.#liveAt, Date.now());
    for (const line of [...this.#lines, this.#best ?? this.#find()]) line.until = this.#liveAt;
    this.#redraw();
  }

  // Drawing

  #changed(best = null) {
    this.#best = best;
    this.#redraw();
    // Many lines are on the screen before the best of them is found.
    if (!best) setTimeout(() => this.#find(), FOUND_AFTER);
    if (this.#details.open) this.#fillTable();
  }

  #recolour() {
    this.#font = `12px ${getComputedStyle(this).fontFamily}`;
    for (const swatch of this.#swatches) {
      swatch.hidden = false;
      this.#colours[swatch.className.slice(3)] = getComputedStyle(swatch).color;
      swatch.hidden = true;
    }
    this.#redraw();
  }

  #find() {
    this.#best ??= bestOf(this.#lines);
    this.#redraw();
    return this.#best;
  }

  /** Draws everything again, because something is not what it was. */
  #redraw() {
    this.#backdrop = null;
    this.#draw();
  }

  /** Draws what is shown now, in the next frame. */
  #draw() {
    if (this.#isDue) return;
    this.#isDue = true;
    requestAnimationFrame(() => {
      this.#isDue = false;
      this.#drawNow();
    });
  }

  /** All of the time that can be shown: from when something is known. */
  #whole() {
    const first = Math.min(...this.#lines.map((line) => line.times[0]));
    const from = Math.max(this.#from, Math.min(first, this.#liveAt - SHORTEST_VIEW));
    return [from, Math.max(from + SHORTEST_VIEW, this.#liveAt)];
  }

  /** The time that is shown. */
  #time() {
    return this.#view ?? this.#whole();
  }

  /** The lines that have every step of the shown time, and the best of them. */
  #shown() {
    const [from, to] = this.#time();
    const has = this.#detail && this.#detail.from <= from && to <= this.#detail.to;
    return has ? this.#detail : { lines: this.#lines, best: this.#best };
  }

  /** The height of a price, before it is scaled to the plot. */
  #height(price) {
    const value = this.#axis === "probability" ? 1 / price : price;
    return this.#isLog ? Math.log(value) : value;
  }

  #priceOf(height) {
    const value = this.#isLog ? Math.exp(height) : height;
    return this.#axis === "probability" ? 1 / value : value;
  }

  #text(price) {
    return this.#axis === "probability" && price !== null ? percent(1 / price) : priceText(price, this.getAttribute("format"));
  }

  get #mine() {
    return (this.getAttribute("mine") ?? "").split(",").filter(Boolean);
  }

  #name(bookmaker) {
    const names = this.getAttribute("names");
    if (names !== this.#namesText) {
      const pairs = (names ?? "").split("\n").map((line) => [line.split(" ", 1)[0], line.slice(line.indexOf(" ") + 1)]);
      [this.#names, this.#namesText] = [Object.fromEntries(pairs), names];
    }
    return this.#names[bookmaker] || bookmaker;
  }

  /** A bookmaker's name with the line's region, if the name doesn't end with it. */
  #nameIn({ bookmaker, region }) {
    const [name, key] = [this.#name(bookmaker), region.toUpperCase()];
    return name.endsWith(` ${key}`) ? name : `${name} ${key}`;
  }

  /** Adds a line to the path, as far as it is shown: as steps, or, if its points are samples, straight from one to the
   * next. Of the steps within one pixel, it has the lowest and the highest. */
  #trace(context, { times, prices, until }, { plot, from, to, bottom, top, x }, height, isSampled = false) {
    // Written out, because the first lines are drawn before the browser has optimised this.
    const across1 = plot.width / (to - from);
    const down1 = plot.height / (top - bottom);
    const floor = plot.y + plot.height;
    let [before, column, low, high] = [null, 0, 0, 0];
    const endColumn = () => {
      if (low === high) return;
      context.lineTo(column, low);
      context.lineTo(column, high);
      context.lineTo(column, before);
    };
    for (let at = Math.max(0, indexAt(times, from)); at < times.length; at++) {
      const time = times[at];
      const across = time < from && !isSampled ? -9.5 : ((plot.x + (time - from) * across1) | 0) + 0.5;
      const price = prices[at];
      const next = price === null ? null : floor - ((height === null ? price : height(price)) - bottom) * down1;
      if (before === null) {
        if (next !== null) context.moveTo(across, next);
        [column, low, high] = [across, next, next];
      } else if (next !== null && across === column) {
        if (next < low) low = next;
        if (next > high) high = next;
      } else {
        endColumn();
        if (!isSampled) context.lineTo(across, before);
        if (next !== null) context.lineTo(across, next);
        [column, low, high] = [across, next, next];
      }
      before = next;
      if (time > to) return;
    }
    if (before === null) return;
    endColumn();
    context.lineTo(x(Math.min(until, to)), before);
  }

  /** The lowest and highest price that are shown. */
  #extremes(from, to) {
    let [low, high] = [Infinity, -Infinity];
    for (const { times, prices } of this.#shown().lines) {
      for (let at = Math.max(0, indexAt(times, from)); at < times.length && times[at] <= to; at++) {
        const price = prices[at];
        if (price === null) continue;
        if (price < low) low = price;
        if (price > high) high = price;
      }
    }
    for (const price of this.#waits) [low, high] = [Math.min(low, price), Math.max(high, price)];
    return [low, high];
  }

  #drawNow(canvas = this.canvas, ratio = devicePixelRatio) {
    const [width, height] = this.#size;
    if (width === 0) return;
    const [wide, high] = [Math.round(width * ratio), Math.round(height * ratio)];
    if (canvas.width !== wide || canvas.height !== high) Object.assign(canvas, { width: wide, height: high });
    const context = canvas.getContext("2d");
    context.setTransform(ratio, 0, 0, ratio, 0, 0);
    context.clearRect(0, 0, width, height);
    if (this.#lines.length === 0) return;
    const [from, to] = this.#time();
    const plot = { x: MARGIN.left, y: MARGIN.top, width: width - MARGIN.left - MARGIN.right, height: height - MARGIN.top - MARGIN.bottom };
    const backdrop = this.#backdropOf(from, to, plot, ratio);
    const scale = scaleOf(plot, from, to, backdrop.bottom, backdrop.top);
    this.scale = scale;
    context.font = this.#font;
    this.#drawGrid(context, scale, width, height);
    context.save();
    context.beginPath();
    context.rect(plot.x, plot.y - 4, plot.width, plot.height + 8);
    context.clip();
    this.#drawGaps(context, scale);
    this.#placeBackdrop(context, scale, backdrop);
    this.#drawMarks(context, scale);
    context.restore();
    // Not in every frame, and only when panning has ended: a long list takes longer than the lines.
    if (this.#crosshair === null) clearTimeout(this.#describing), (this.#describing = null);
    this.#describing ??= setTimeout(() => {
      this.#describing = null;
      this.#describe();
    }, 60);
  }

  /** The backdrop, if it still has what is shown. Otherwise it is drawn, with half as much again on each side. */
  #backdropOf(from, to, plot, ratio) {
    const known = this.#backdrop;
    const has = known && known.ratio === ratio && known.from <= from && to <= known.to;
    const closer = has ? known.length / (to - from) : 0;
    if (closer > 0.6 && closer < 2.5) return known;
    const [first, last] = this.#whole();
    const length = to - from;
    const [begin, end] = [Math.min(from, Math.max(first, from - length / 2)), Math.max(to, Math.min(last, to + length / 2))];
    const [lowest, highest] = this.#extremes(begin, end);
    const ends = [lowest, highest].map((price) => this.#height(price)).sort((a, b) => a - b);
    const room = (ends[1] - ends[0] || Math.abs(ends[0]) * 0.1 || 0.1) * 0.06;
    const [bottom, top] = [ends[0] - room, ends[1] + room];
    const wide = Math.round((plot.width * (end - begin)) / length);
    const canvas = make("canvas", { width: wide * ratio, height: plot.height * ratio });
    const context = canvas.getContext("2d");
    context.scale(ratio, ratio);
    this.#drawLines(context, scaleOf({ x: 0, y: 0, width: wide, height: plot.height }, begin, end, bottom, top));
    const backdrop = { canvas, ratio, from: begin, to: end, length, bottom, top };
    if (ratio === devicePixelRatio) this.#backdrop = backdrop;
    return backdrop;
  }

  /** Puts it where it belongs. While the user zooms, it is stretched; then it is drawn again. */
  #placeBackdrop(context, { plot, x, from, to }, { canvas, ratio, length, ...backdrop }) {
    const isStretched = Math.abs(length / (to - from) - 1) > 0.001;
    const left = Math.round(x(backdrop.from) * ratio) / ratio;
    const width = isStretched ? x(backdrop.to) - left : canvas.width / ratio;
    context.imageSmoothingEnabled = isStretched;
    context.drawImage(canvas, left, plot.y, width, plot.height);
    clearTimeout(this.#sharpening);
    if (isStretched) this.#sharpening = setTimeout(() => this.#redraw(), 150);
  }

  #drawGrid(context, { plot, from, to, y, x, bottom, top }, width, height) {
    const { line, faint } = this.#colours;
    Object.assign(context, { strokeStyle: line, fillStyle: faint, lineWidth: 1, textAlign: "right", textBaseline: "middle" });
    const [low, high] = [bottom, top].map((value) => (this.#isLog ? Math.exp(value) : value));
    for (const value of ticks(low, high, Math.max(2, plot.height / 40))) {
      const at = Math.round(y(this.#isLog ? Math.log(value) : value)) + 0.5;
      if (!(value > 0) || at < plot.y || at > plot.y + plot.height) continue;
      context.beginPath();
      context.moveTo(plot.x, at);
      context.lineTo(plot.x + plot.width, at);
      context.stroke();
      context.fillText(this.#text(this.#axis === "probability" ? 1 / value : value), plot.x - 6, at);
    }
    Object.assign(context, { textAlign: "center", textBaseline: "alphabetic" });
    const { all, format } = timeTicks(from, to, Math.max(2, plot.width / 80));
    for (const time of all) {
      const at = Math.round(x(time)) + 0.5;
      context.beginPath();
      context.moveTo(at, plot.y);
      context.lineTo(at, plot.y + plot.height);
      context.stroke();
      context.fillText(format.format(time), Math.min(Math.max(at, 20), width - 20), height - 8);
    }
  }

  /** Of each region in a strip of its own, because the others may have been recorded meanwhile. */
  #drawGaps(context, { plot, x, from }) {
    const regions = [...new Set(this.#lines.map((line) => line.region))].sort();
    const strip = plot.height / regions.length;
    for (const gap of this.#gaps) {
      const [begin, end] = [Math.max(x(gap.from ?? from), plot.x), Math.min(x(gap.until), plot.x + plot.width)];
      const top = plot.y + regions.indexOf(gap.region) * strip;
      if (end <= begin || top < plot.y) continue;
      context.fillStyle = this.#colours.tint;
      context.fillRect(begin, top, end - begin, strip);
      if (end - begin < 110) continue;
      Object.assign(context, { fillStyle: this.#colours.faint, textAlign: "center" });
      context.fillText(`${gap.region.toUpperCase()} ${TEXT.unknown}`, (begin + end) / 2, top + strip / 2);
    }
  }

  /** Lines of one look are one path, which is drawn at once. */
  #drawLines(context, scale) {
    const { lines, best } = this.#shown();
    // As they are.
    const isPlain = this.#axis === "price" && !this.#isLog;
    const height = isPlain ? null : (price) => this.#height(price);
    const stroke = (lines, colour, width, alpha = 1, dash = [], of = height) => {
      context.beginPath();
      for (const line of lines) this.#trace(context, line, scale, of, of !== height);
      Object.assign(context, { strokeStyle: colour, lineWidth: width, globalAlpha: alpha, lineJoin: "bevel" });
      context.setLineDash(dash);
      context.stroke();
    };
    const mine = this.#mine;
    const others = lines.filter((line) => !mine.includes(line.bookmaker));
    for (const region of REGIONS) stroke(others.filter((line) => line.region === region), this.#colours[region], 1, 0.35);
    stroke([this.#consensus], this.#colours.ink, 1.5, 0.8, [2, 3], (share) => this.#height(1 / share));
    if (best) stroke([best], this.#colours.best, 2.5);
    for (const line of lines) {
      const chosen = mine.indexOf(line.bookmaker);
      if (chosen >= 0) stroke([line], this.#colours[line.region], 2, 1, DASHES[chosen % DASHES.length]);
    }
    context.globalAlpha = 1;
    context.setLineDash([]);
  }

  /** When the event starts, what alerts wait for, the crosshair and the selection. */
  #drawMarks(context, { plot, x, y, from, to }) {
    const { ink, faint, tint } = this.#colours;
    const starts = Number(this.getAttribute("starts"));
    if (starts > from && starts < to) this.#upright(context, plot, x(starts), faint, TEXT.starts);
    for (const price of this.#waits) {
      const at = y(this.#height(price));
      Object.assign(context, { strokeStyle: ink, fillStyle: ink, lineWidth: 1, textAlign: "left" });
      context.setLineDash([8, 4]);
      context.beginPath();
      context.moveTo(plot.x, at);
      context.lineTo(plot.x + plot.width, at);
      context.stroke();
      context.setLineDash([]);
      context.fillText(`${TEXT.waits} ${this.#text(price)}`, plot.x + 4, at - 4);
    }
    if (this.#selection) {
      const [begin, end] = this.#selection.map(x);
      Object.assign(context, { fillStyle: tint, globalAlpha: 0.6 });
      context.fillRect(begin, plot.y, end - begin, plot.height);
      context.globalAlpha = 1;
    }
    if (this.#crosshair !== null) this.#upright(context, plot, x(this.#crosshair), ink, "");
  }

  #upright(context, plot, at, colour, text) {
    Object.assign(context, { strokeStyle: colour, fillStyle: colour, lineWidth: 1, textAlign: "left" });
    context.beginPath();
    context.moveTo(Math.round(at) + 0.5, plot.y);
    context.lineTo(Math.round(at) + 0.5, plot.y + plot.height);
    context.stroke();
    context.fillText(text, at + 4, plot.y + plot.height - 4);
  }

  /** Lists all prices at the crosshair, or as they are now. */
  #describe() {
    const [from, to] = this.#time();
    const time = this.#crosshair ?? to;
    const prices = this.#shown().lines
      .map((line) => ({ line, price: priceAt(line, time) }))
      .filter(({ price }) => price !== undefined && price !== null)
      .sort((a, b) => b.price - a.price);
    const share = priceAt(this.#consensus, time);
    const rows = prices.map(({ line, price }) => [line.region, this.#nameIn(line), this.#text(price)]);
    if (share) rows.unshift(["ink", TEXT.consensus, this.#text(1 / share)]);
    const best = prices[0] && `${TEXT.best} ${this.#text(prices[0].price)}, ${this.#name(prices[0].line.bookmaker)}`;
    const said = `${moment.format(time)}: ${best ?? TEXT.none}`;
    // Items are used again: most of them stay as they are.
    const items = rows.map(([colour, name, text], at) => {
      const item = (this.#items[at] ??= make("li", {}, [make("i"), make("span"), make("b")]));
      const [key, label, value] = item.children;
      if (key.className !== `of-${colour}`) key.className = `of-${colour}`;
      if (label.textContent !== name) label.textContent = name;
      if (value.textContent !== text) value.textContent = text;
      return item;
    });
    this.#when.textContent = said;
    if (this.#reading.children.length !== items.length + 1) this.#reading.replaceChildren(this.#when, ...items);
    this.canvas.setAttribute("aria-valuenow", Math.round(((time - from) / (to - from)) * 1_000));
    this.canvas.setAttribute("aria-valuetext", said);
  }

  #fillTable() {
    this.#details.querySelector(".rows")?.remove();
    if (!this.#details.open) return;
    const [from, to] = this.#time();
    const steps = stepsOf(this.#shown().lines).filter(([, , time]) => time >= from && time <= to);
    const rows = steps.slice(0, TABLE_ROWS).map(([bookmaker, region, time, price]) => {
      const cells = [this.#name(bookmaker), region.toUpperCase(), moment.format(time), this.#text(price)];
      return make("tr", {}, cells.map((text) => make("td", { textContent: text })));
    });
    const head = make("tr", {}, TEXT.columns.map((text) => make("th", { scope: "col", textContent: text })));
    const table = make("table", {}, [make("thead", {}, [head]), make("tbody", {}, rows)]);
    const more = make("p", { textContent: TEXT.more(TABLE_ROWS), hidden: steps.length <= TABLE_ROWS });
    const box = make("div", { className: "rows", tabIndex: 0 }, [more, table]);
    box.setAttribute("role", "region");
    box.setAttribute("aria-label", TEXT.table);
    this.#details.append(box);
  }

  // What the user does

  #show(hours) {
    this.#hours = hours;
    this.#view = null;
    this.#press();
    this.#read();
  }

  /** Buttons show what is shown. */
  #press() {
    this.#back.disabled = !this.#view;
    this.#ranges.forEach((button, at) => button.setAttribute("aria-pressed", String(RANGES[at] === this.#hours)));
  }

  #zoom(view) {
    const [first, last] = this.#whole();
    if (view) {
      const length = Math.min(Math.max(view[1] - view[0], SHORTEST_VIEW), last - first);
      const begin = Math.min(Math.max(view[0], first), last - length);
      view = length >= last - first ? null : [begin, begin + length];
    }
    this.#view = view;
    this.#press();
    this.#draw();
    if (this.#details.open) this.#fillTable();
    clearTimeout(this.#detailing);
    this.#detailing = setTimeout(() => this.#readDetail(), 250);
  }

  /** Zooms around a time: below one, closer. */
  #zoomBy(factor, around) {
    const [from, to] = this.#time();
    this.#zoom([around - (around - from) * factor, around + (to - around) * factor]);
  }

  #pan(part) {
    const [from, to] = this.#time();
    this.#zoom([from + (to - from) * part, to + (to - from) * part]);
  }

  #timeAt(event) {
    if (!this.scale) return 0;
    const { plot, from, to } = this.scale;
    const share = (event.clientX - this.canvas.getBoundingClientRect().left - plot.x) / plot.width;
    return from + Math.min(Math.max(share, 0), 1) * (to - from);
  }

  #listen() {
    const { canvas } = this;
    canvas.addEventListener("pointerdown", (event) => {
      canvas.setPointerCapture(event.pointerId);
      this.#pointers.set(event.pointerId, event);
      const isMouse = event.pointerType === "mouse" && event.button === 0;
      this.#selection = isMouse ? [this.#timeAt(event), this.#timeAt(event)] : null;
    });
    canvas.addEventListener("pointermove", (event) => {
      const before = this.#pointers.get(event.pointerId);
      if (this.#pointers.size === 2 && before) {
        this.#pinch(before, event);
      } else if (this.#selection) {
        this.#selection[1] = this.#timeAt(event);
      }
      if (before) this.#pointers.set(event.pointerId, event);
      this.#crosshair = this.#timeAt(event);
      this.#draw();
    });
    const end = (event) => {
      this.#pointers.delete(event.pointerId);
      const selection = this.#selection?.toSorted((a, b) => a - b);
      this.#selection = null;
      if (event.type === "pointerup" && selection && this.scale.x(selection[1]) - this.scale.x(selection[0]) > 5) this.#zoom(selection);
      this.#draw();
    };
    canvas.addEventListener("pointerup", end);
    canvas.addEventListener("pointercancel", end);
    canvas.addEventListener("pointerleave", () => {
      if (this.#pointers.size === 0) this.#crosshair = null;
      this.#draw();
    });
    canvas.addEventListener("dblclick", () => this.#zoom(null));
    canvas.addEventListener("wheel", (event) => this.#wheel(event), { passive: false });
    canvas.addEventListener("keydown", (event) => this.#key(event));
  }

  /** Two fingers: what was between them stays between them. */
  #pinch(before, now) {
    const other = [...this.#pointers.values()].find((it) => it.pointerId !== now.pointerId);
    const [was, is] = [before, now].map((it) => Math.max(20, Math.abs(it.clientX - other.clientX)));
    this.#zoomBy(was / is, (this.#timeAt(now) + this.#timeAt(other)) / 2);
    this.#pan((before.clientX - now.clientX) / 2 / this.scale.plot.width);
  }

  #wheel(event) {
    if (event.ctrlKey) this.#zoomBy(Math.exp(event.deltaY / 100), this.#timeAt(event));
    else if (event.deltaX !== 0 && Math.abs(event.deltaX) > Math.abs(event.deltaY)) this.#pan(event.deltaX / this.scale.plot.width);
    else return;
    event.preventDefault();
  }

  #key(event) {
    const [from, to] = this.#time();
    const around = this.#crosshair ?? to;
    const move = (time) => {
      this.#crosshair = Math.min(Math.max(time, from), to);
      this.#draw();
    };
    const acts = {
      ArrowLeft: () => (event.shiftKey ? this.#pan(-0.2) : move(around - (to - from) / 100)),
      ArrowRight: () => (event.shiftKey ? this.#pan(0.2) : move(around + (to - from) / 100)),
      Home: () => move(from),
      End: () => move(to),
      "+": () => this.#zoomBy(0.5, around),
      "-": () => this.#zoomBy(2, around),
      0: () => this.#zoom(null),
      Escape: () => this.#zoom(null),
    };
    if (!acts[event.key] || event.ctrlKey || event.metaKey || event.altKey) return;
    acts[event.key]();
    event.preventDefault();
    event.stopPropagation();
  }

  // Files

  #savePicture() {
    const picture = make("canvas");
    this.#drawNow(picture, 2);
    const context = picture.getContext("2d");
    context.setTransform(1, 0, 0, 1, 0, 0);
    Object.assign(context, { globalCompositeOperation: "destination-over", fillStyle: this.#colours.panel });
    context.fillRect(0, 0, picture.width, picture.height);
    picture.toBlob((blob) => this.#save(blob, "png"));
  }

  #saveFile() {
    const quoted = (text) => (/[",\n]/.test(text) ? `"${text.replaceAll('"', '""')}"` : text);
    const rows = stepsOf(this.#shown().lines).map(([bookmaker, region, time, price]) =>
      [bookmaker, region, new Date(time).toISOString(), price === null ? "" : `${price}`].map(quoted).join(","),
    );
    this.#save(new Blob([["bookmaker,region,from,price", ...rows, ""].join("\n")], { type: "text/csv" }), "csv");
  }

  #save(blob, extension) {
    const url = URL.createObjectURL(blob);
    const query = new URLSearchParams(this.getAttribute("query"));
    const name = `${query.get("event")}-${query.get("market")}-${query.get("outcome")}`.replaceAll(/[^\w.-]+/g, "-");
    make("a", { href: url, download: `${name}.${extension}` }).click();
    setTimeout(() => URL.revokeObjectURL(url), 10_000);
  }
}

/** The lines of an answer of /api/history/series. The last price stands until the region's newest recorded step. */
export function linesOf({ series, regions }, to) {
  const until = new Map(regions.map((it) => [it.region, Math.min(to, Date.parse(it.recorded_until) || 0)]));
  return series.map(({ region, bookmaker, times, prices }) => ({ region, bookmaker, times, prices, until: until.get(region) ?? to }));
}

function gapsOf({ regions }) {
  const time = (text) => (text ? Date.parse(text) : null);
  return regions.flatMap(({ region, gaps }) => gaps.map((gap) => ({ region, from: time(gap.from), until: time(gap.until) })));
}

/** The prices that rules of the user about this outcome wait for. */
export function waitsOf(rules, query) {
  const isIt = (rule) => ["event", "market", "outcome", "point", "description"].every((name) => `${rule[name] ?? ""}` === (query.get(name) ?? ""));
  return rules.filter((rule) => rule.kind === "price" && isIt(rule)).map(({ price, at_least, at_most }) => price ?? at_least ?? at_most);
}

/** Notes what a price is at a time. */
export function append(line, at, price) {
  line.until = Math.max(line.until, at);
  if (line.prices.at(-1) === price || at <= line.times.at(-1)) return;
  line.times.push(at);
  line.prices.push(price);
}

/** Every step of every line, the newest first. */
function stepsOf(lines) {
  const steps = lines.flatMap(({ bookmaker, region, times, prices }) => times.map((time, at) => [bookmaker, region, time, prices[at]]));
  return steps.sort((a, b) => b[2] - a[2]);
}

customElements.define("price-chart", PriceChart);
