// Starts the standalone program, and a Chromium to test it with.

import { spawn } from "node:child_process";
import { mkdtempSync, rmSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { chromium } from "playwright-core";

const WITHIN = 60_000;

function need(name) {
  const value = process.env[name];
  if (!value) throw new Error(`${name} is not set: run these tests by \`cargo xtask test\``);
  return value;
}

/** Starts all of Toteboard on a free port, with an empty data folder and these additional settings. */
export async function start(...settings) {
  return startAt("127.0.0.1:0", mkdtempSync(join(tmpdir(), "toteboard-data-")), settings);
}

async function startAt(listen, data, settings) {
  const args = ["--listen", listen, "--data", data, "--page", need("PAGE"), ...settings];
  const child = spawn(need("STANDALONE"), args, { stdio: ["ignore", "pipe", "pipe"] });
  let log = "";
  child.stderr.on("data", (data) => (log += data));
  const { url, link, password } = await new Promise((resolve, reject) => {
    const late = setTimeout(() => reject(new Error(`no address printed within ${WITHIN} ms\n${log}`)), WITHIN);
    child.once("exit", (code) => reject(new Error(`the standalone program exited with ${code}\n${log}`)));
    let output = "";
    child.stdout.on("data", (data) => {
      output += data;
      const found = output.match(/(?<url>http:\/\/[\d.:]+)[^]*once: (?<link>\S+)[^]*password (?<password>\S+)/);
      if (found) {
        clearTimeout(late);
        resolve(found.groups);
      }
    });
  });
  const end = async () => {
    if (child.exitCode !== null) return;
    const gone = new Promise((resolve) => child.once("exit", resolve));
    child.kill("SIGTERM");
    const late = setTimeout(() => child.kill("SIGKILL"), 15_000);
    await gone;
    clearTimeout(late);
  };
  return {
    url,
    link,
    password,
    data,
    async stop() {
      await end();
      rmSync(data, { recursive: true });
    },
    /** Stops it, waits for `meanwhile`, and starts it again at the same address with the same accounts. */
    async restart(meanwhile) {
      await end();
      await meanwhile();
      return startAt(url.replace("http://", ""), data, settings);
    },
  };
}

/** Waits until every sport of every region has been polled once. After that, boards grow slowly. */
export async function everySportIsPolled({ url, password }) {
  const headers = { origin: url, "content-type": "application/json" };
  const body = JSON.stringify({ name: "demo", password });
  const login = await fetch(`${url}/api/login`, { method: "POST", headers, body });
  const cookie = login.headers.get("set-cookie").split(";")[0];
  const polled = async () => {
    const feeds = await (await fetch(`${url}/api/regions`, { headers: { cookie } })).json();
    return feeds.map((feed) => Object.keys(feed.sports).length);
  };
  const end = Date.now() + WITHIN;
  for (let before = [], since = Date.now(); Date.now() - since < 2_000; await new Promise((resolve) => setTimeout(resolve, 100))) {
    const now = await polled();
    if (now.includes(0) || String(now) !== String(before)) [before, since] = [now, Date.now()];
    if (Date.now() > end) throw new Error(`sports are still being polled for the first time, polled so far: ${now}`);
  }
}

/** Starts a Chromium with an empty profile and without background network requests, with these additional arguments. */
export function browser(...args) {
  return chromium.launch({
    executablePath: need("CHROMIUM").startsWith("/") ? need("CHROMIUM") : `/usr/bin/${need("CHROMIUM")}`,
    args: [
      "--no-sandbox",
      "--disable-background-networking",
      "--disable-component-update",
      "--disable-sync",
      "--no-first-run",
      "--disable-quic",
      `--crash-dumps-dir=${mkdtempSync(join(tmpdir(), "toteboard-"))}`,
      ...args,
    ],
  });
}
