// Connects TIMES times, one after the other, and prints each connection's first board of each region as one line
// of JSON in the format of GET /api/odds/{region}.
//
//   node connects.mjs URL TOKEN REGIONS TIMES [TRANSPORT]

import { createRequire } from "node:module";

// The packages are those of the JavaScript example, in whose folder this runs.
const { io } = createRequire(`${process.cwd()}/`)("socket.io-client");
const [url, token, regions, times, transport] = process.argv.slice(2);

function connect() {
  return new Promise((resolve) => {
    const boards = [];
    const parts = {};
    const socket = io(url, {
      forceNew: true,
      ...(transport && { transports: [transport] }),
      auth: { token, regions: regions.split(",") },
    });
    socket.on("connect_error", ({ message }) => console.error(`not connected: ${message}`));
    socket.on("disconnect", (reason) => console.error(`disconnected: ${reason}`));
    socket.on("snapshot", ({ region, cursor, events, part = 1, parts: all = 1 }) => {
      if (part === 1) parts[region] = [];
      parts[region].push(...events);
      if (part === all) boards.push({ region, cursor, events: parts[region] });
      if (boards.length === regions.split(",").length) {
        socket.disconnect();
        resolve(boards);
      }
    });
  });
}

for (let time = 0; time < Number(times); time++) {
  for (const board of await connect()) console.log(JSON.stringify(board));
}
