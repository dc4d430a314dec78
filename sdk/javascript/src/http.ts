// Requests to the gateway's HTTP interface.

import { ToteboardError } from "./errors.js";

export type Query = Record<string, string | number | boolean | Date | readonly string[] | undefined>;

/** Asks a gateway, with a token. */
export class Http {
  constructor(
    readonly url: string,
    readonly token: string | undefined,
  ) {}

  /** With the most milliseconds that it may take. */
  async get<T>(path: string, query: Query = {}, within?: number): Promise<T> {
    return (await read(await this.#ask("GET", path, query, undefined, within))) as T;
  }

  async send<T>(method: "POST" | "PUT" | "PATCH" | "DELETE", path: string, body?: unknown): Promise<T> {
    return (await read(await this.#ask(method, path, {}, body))) as T;
  }

  /** The lines of an answer, as they come. The last one is cut off if the connection was. */
  async *lines(path: string, query: Query): AsyncGenerator<string> {
    const response = await this.#ask("GET", path, query);
    const reader = response.body!.pipeThrough(new TextDecoderStream()).getReader();
    let rest = "";
    try {
      for (;;) {
        const { done, value } = await reader.read();
        if (done) return;
        const lines = (rest + value).split("\n");
        rest = lines.pop()!;
        yield* lines.filter((line) => line !== "");
      }
    } catch (error) {
      throw new ToteboardError("unreachable", String(error));
    } finally {
      await reader.cancel().catch(() => {});
    }
  }

  async #ask(method: string, path: string, query: Query, body?: unknown, within?: number): Promise<Response> {
    const url = new URL(path, this.url);
    for (const [name, value] of Object.entries(query)) {
      if (value === undefined) continue;
      const values = Array.isArray(value) ? value : [value];
      for (const it of values) url.searchParams.append(name, it instanceof Date ? it.toISOString() : String(it));
    }
    const headers: Record<string, string> = {};
    if (this.token !== undefined) headers["authorization"] = `Bearer ${this.token}`;
    if (body !== undefined) headers["content-type"] = "application/json";
    const request = {
      method,
      headers,
      ...(body !== undefined && { body: JSON.stringify(body) }),
      ...(within !== undefined && { signal: AbortSignal.timeout(within) }),
    };
    const response = await fetch(url, request).catch((error: unknown) => {
      throw new ToteboardError("unreachable", `${url.origin} does not answer (${error})`);
    });
    if (!response.ok) throw await refused(response);
    return response;
  }
}

/** The content of an answer, which may be cut off. */
async function read(response: Response): Promise<unknown> {
  try {
    const text = await response.text();
    return text === "" ? undefined : JSON.parse(text);
  } catch (error) {
    throw new ToteboardError("unreachable", `an answer was cut off (${error})`);
  }
}

async function refused(response: Response): Promise<ToteboardError> {
  const text = await response.text().catch(() => "");
  try {
    const { code, message, fields } = JSON.parse(text).error as { code: string; message: string; fields?: Record<string, string> };
    return new ToteboardError(code, message, response.status, fields);
  } catch {
    return new ToteboardError("unreachable", `an answer that is none of a gateway's: ${response.status} ${text.slice(0, 100)}`, response.status);
  }
}
