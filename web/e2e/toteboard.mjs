// Starts the standalone program and a Chromium to look at it with.

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

/** Starts all of Toteboard on a free port. */
export async function start(...settings) {
  const data = mkdtempSync(join(tmpdir(), "toteboard-data-"));
  const args = ["--listen", "127.0.0.1:0", "--data", data, "--page", need("PAGE"), ...settings];
  const child = spawn(need("STANDALONE"), args, { stdio: ["ignore", "pipe", "pipe"] });
  let log = "";
  child.stderr.on("data", (data) => (log += data));
  const { url, password } = await new Promise((resolve, reject) => {
    const late = setTimeout(() => reject(new Error(`no address within ${WITHIN} ms\n${log}`)), WITHIN);
    child.once("exit", (code) => reject(new Error(`it ended with ${code}\n${log}`)));
    let said = "";
    child.stdout.on("data", (data) => {
      said += data;
      const found = said.match(/(?<url>http:\/\/[\d.:]+)[^]*password (?<password>\S+)/);
      if (found) {
        clearTimeout(late);
        resolve(found.groups);
      }
    });
  });
  return {
    url,
    password,
    async stop() {
      if (child.exitCode !== null) return;
      const gone = new Promise((resolve) => child.once("exit", resolve));
      child.kill("SIGTERM");
      const late = setTimeout(() => child.kill("SIGKILL"), 15_000);
      await gone;
      clearTimeout(late);
      rmSync(data, { recursive: true });
    },
  };
}

/** A Chromium with an empty profile, that calls nobody. */
export function browser() {
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
    ],
  });
}
