// Follows eighty streams until the digests of TOTEBOARD_FRAMES frames have been compared with their boards, a million
// unless set. Fails if one of them is wrong.

import { Toteboard } from "toteboard";

const { TOTEBOARD_URL: url, TOTEBOARD_TOKEN: token, TOTEBOARD_FRAMES: wanted = "1000000" } = process.env;
const STREAMS = 80;

const toteboard = new Toteboard({ url, token });
const streams = [];
const troubles = new Map();
let frames = 0;
for (let n = 0; n < STREAMS; n += 1) {
  const stream = toteboard.stream({ regions: ["us", "uk", "eu", "au"], filter: { markets: ["h2h"] } });
  streams.push(stream);
  stream.on("change", () => (frames += 1));
  stream.on("board", () => (frames += 1));
  stream.on("trouble", ({ code }) => troubles.set(code, (troubles.get(code) ?? 0) + 1));
  // One after the other: hundreds of whole boards at once keep this program from all else for long.
  await stream.ready();
}
const checked = () => streams.reduce((sum, stream) => sum + stream.checked, 0);
const began = Date.now();
while (checked() < Number(wanted)) {
  const before = checked();
  await new Promise((resolve) => setTimeout(resolve, 10_000));
  if (checked() === before) throw new Error(`no frame has come for ten seconds, after ${before}`);
  console.log(`${checked()} frames after ${Math.round((Date.now() - began) / 1_000)} s`);
}
for (const stream of streams) stream.close();
const wrong = troubles.get("wrong_digest") ?? 0;
// The first boards by HTTP have no digest.
console.log(`${checked()} of ${frames} frames were checked in ${(Date.now() - began) / 1_000} s, ${wrong} wrong; troubles: ${JSON.stringify([...troubles])}`);
process.exitCode = wrong > 0 ? 1 : 0;
