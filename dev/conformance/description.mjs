// Compares every payload with the gateway's own description of it, and the description with AsyncAPI's.

import { createRequire } from "node:module";
import Ajv from "ajv";
import Ajv2020 from "ajv/dist/2020.js";
import addFormats from "ajv-formats";

const asyncapi = createRequire(import.meta.url)("@asyncapi/specs/schemas/3.0.0-without-$id.json");
export class Description {
  /** How many payloads of each event fit, and the first that didn't. */
  counts = new Map();
  wrong = new Map();
  #validators = new Map();

  constructor(document) {
    this.document = document;
    this.ajv = new Ajv2020({ strict: false, allErrors: true });
    addFormats(this.ajv);
    this.ajv.addSchema({ $id: "https://toteboard.invalid/asyncapi.json", components: document.components });
  }

  /** Returns why the document is no AsyncAPI, or undefined. */
  flaw() {
    const ajv = new Ajv({ strict: false });
    addFormats(ajv);
    const isValid = ajv.compile(asyncapi);
    return isValid(this.document) ? undefined : ajv.errorsText(isValid.errors.slice(0, 3));
  }

  take(event, payload) {
    let validator = this.#validators.get(event);
    if (!validator) {
      const reference = this.document.components.messages[event]?.payload.$ref;
      if (!reference) return this.wrong.set(event, "it is not described");
      validator = this.ajv.compile({ $ref: `https://toteboard.invalid/asyncapi.json${reference}` });
      this.#validators.set(event, validator);
    }
    if (validator(payload)) this.counts.set(event, (this.counts.get(event) ?? 0) + 1);
    else if (!this.wrong.has(event)) this.wrong.set(event, this.ajv.errorsText(validator.errors.slice(0, 3)));
  }
}
