import { solve } from "./challenge.js";
import { AuthError, errorOf } from "./errors.js";
import { PATHS, type Operations } from "./generated.js";

/** What every call may be given. */
export interface CallOptions {
  /** Aborts the call, which then rejects with the signal's reason. */
  signal?: AbortSignal | undefined;
  /** Milliseconds until the call fails with `timeout`; the solving of a challenge does not count. */
  timeoutMs?: number | undefined;
}

export interface Request<Name extends keyof Operations> extends CallOptions {
  body?: Operations[Name]["body"];
  /** Values for the placeholders of the path. */
  path?: Record<string, string>;
  query?: Record<string, string>;
  token?: string | null;
}

export interface TransportOptions {
  /** The gateway's address, without a path or with the one that it is mounted at. */
  url: string;
  fetch: typeof fetch;
  credentials: RequestCredentials;
  timeoutMs: number;
  solvesChallenges: boolean;
}

/** How often a challenge is solved for one call: an answer to a solution that came too late has a new one. */
const MAX_CHALLENGES = 2;

/** Sends requests to the gateway and turns everything but a good answer into an `AuthError`. */
export class Transport {
  readonly #options: TransportOptions;

  constructor(options: TransportOptions) {
    this.#options = { ...options, url: options.url.replace(/\/+$/, "") };
  }

  /** Returns the address of a path below `/api/v1/auth`. */
  address(path: string, query: Record<string, string> = {}): string {
    const search = new URLSearchParams(query).toString();
    return `${this.#options.url}/api/v1/auth${path}${search && `?${search}`}`;
  }

  /**
   * Sends one request and returns the answer's body. A challenge is solved, and the request sent again.
   *
   * @throws AuthError, or the reason of `signal`.
   */
  async send<Name extends keyof Operations>(
    name: Name,
    request: Request<Name> = {},
  ): Promise<Operations[Name]["answer"]> {
    for (let solved = 0; ; solved += 1) {
      try {
        return await this.#sendOnce(name, request);
      } catch (error) {
        const challenge = error instanceof AuthError ? error.challenge : null;
        const isSolvable = this.#options.solvesChallenges && request.body && globalThis.crypto?.subtle;
        if (!challenge || !isSolvable || solved >= MAX_CHALLENGES) throw error;
        const solution = await solve(challenge, request.signal);
        request = { ...request, body: { ...request.body, challenge: solution } as Operations[Name]["body"] };
      }
    }
  }

  async #sendOnce<Name extends keyof Operations>(name: Name, request: Request<Name>): Promise<any> {
    const [method, pattern] = PATHS[name];
    const path = pattern.replace(/\{(\w+)\}/g, (_, part: string) => encodeURIComponent(request.path?.[part] ?? ""));
    const headers: Record<string, string> = { Accept: "application/json" };
    if (request.body) headers["Content-Type"] = "application/json";
    if (request.token) headers["Authorization"] = `Bearer ${request.token}`;
    const init: RequestInit = { method, headers, credentials: this.#options.credentials, cache: "no-store" };
    if (request.body) init.body = JSON.stringify(request.body);
    const deadline = new Deadline(request.timeoutMs ?? this.#options.timeoutMs, request.signal);
    let answer: Response, text: string;
    try {
      // A gateway redirects no call; what does could send the password elsewhere.
      init.redirect = "error";
      answer = await this.#options.fetch(this.address(path, request.query), { ...init, signal: deadline.signal });
      text = await answer.text();
    } catch (cause) {
      request.signal?.throwIfAborted();
      const isLate = deadline.signal.aborted;
      const message = isLate ? "no answer came in time" : "the gateway could not be reached";
      throw new AuthError({ code: isLate ? "timeout" : "network_error", message, cause });
    } finally {
      deadline.end();
    }
    const body = parsed(text);
    if (!answer.ok) throw errorOf(answer.status, answer.headers, body);
    if (body === undefined && answer.status !== 204) {
      throw errorOf(answer.status, answer.headers, undefined);
    }
    return body;
  }
}

/** A signal that ends with another one, or after a time. `AbortSignal.any` is missing in browsers before 2024. */
class Deadline {
  readonly #controller = new AbortController();
  readonly #outer: AbortSignal | undefined;
  readonly #timer: ReturnType<typeof setTimeout>;
  readonly #abort = () => this.#controller.abort(this.#outer?.reason);

  constructor(timeoutMs: number, outer: AbortSignal | undefined) {
    this.#outer = outer;
    this.#timer = setTimeout(() => this.#controller.abort(), timeoutMs);
    if (outer?.aborted) this.#abort();
    outer?.addEventListener("abort", this.#abort);
  }

  get signal(): AbortSignal {
    return this.#controller.signal;
  }

  end(): void {
    clearTimeout(this.#timer);
    this.#outer?.removeEventListener("abort", this.#abort);
  }
}

function parsed(text: string): unknown {
  try {
    return JSON.parse(text);
  } catch {
    return undefined;
  }
}
