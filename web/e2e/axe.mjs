// Looks for what assistive technology can't use, with axe.

import assert from "node:assert/strict";
import { readFileSync } from "node:fs";
import { createRequire } from "node:module";

const AXE = readFileSync(createRequire(import.meta.url).resolve("axe-core/axe.min.js"), "utf8");

/** Fails if axe finds anything. The page's context must bypass its content security policy. */
export async function finds(page, where) {
  await page.evaluate(AXE);
  // The size of touch targets is checked, too, which axe doesn't do by default.
  const rules = { "target-size": { enabled: true } };
  const { violations } = await page.evaluate((rules) => globalThis.axe.run(document, { resultTypes: ["violations"], rules }), rules);
  const found = violations.map(({ id, nodes }) => `${id}: ${nodes.map((node) => node.html).slice(0, 3).join(" ")}`);
  assert.deepEqual(found, [], where);
}
