// Starts all of Toteboard, and runs a command with its address and with tokens in the environment:
//
//   node with_toteboard.mjs COMMAND ARGUMENT…
//
// Before that, it waits until half a minute is recorded. `cargo xtask test` sets STANDALONE and PAGE.

import { spawn } from "node:child_process";
import { everySportIsPolled, start } from "../web/e2e/toteboard.mjs";

const RECORDED = 25_000;
const [command, ...args] = process.argv.slice(2);

const program = await start("--attempts-per-minute", "10000");
try {
  const { url, password } = program;
  const headers = { origin: url, "content-type": "application/json" };
  const post = async (path, body) => {
    const response = await fetch(url + path, { method: "POST", headers, body: JSON.stringify(body) });
    if (!response.ok) throw new Error(`${path}: ${response.status} ${await response.text()}`);
    return response;
  };
  const login = await post("/api/login", { name: "demo", password });
  headers.cookie = login.headers.get("set-cookie").split(";")[0];
  const token = async (scopes) => (await (await post("/api/tokens", { name: "sdk", password, ...scopes })).json()).token;
  const env = { ...process.env, TOTEBOARD_URL: url, TOTEBOARD_TOKEN: await token({}), TOTEBOARD_PRODUCER: await token({ scopes: ["produce"] }) };
  await everySportIsPolled(program);
  await new Promise((resolve) => setTimeout(resolve, RECORDED));
  process.exitCode = await new Promise((resolve, reject) => {
    const child = spawn(command, args, { env, stdio: "inherit" });
    child.on("error", reject).on("exit", (code) => resolve(code ?? 1));
  });
} finally {
  await program.stop();
}
