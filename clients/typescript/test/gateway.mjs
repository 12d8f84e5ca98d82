// A gateway in memory, whose `fetch` is given to a client.

export const URL_ = "https://auth.example.com";
const API = `${URL_}/api/v1/auth`;
const encode = (value) => Buffer.from(JSON.stringify(value)).toString("base64url");

export class Gateway {
  /** Requests as "METHOD /path", in their order. */
  asked = [];
  /** The whole requests. */
  requests = [];
  /** Path → what answers instead, once for each entry. */
  answers = new Map();
  /** Awaited before an answer is given. */
  delay = async () => {};
  lifetime = 3600;
  #number = 0;
  #refreshTokens = new Set();

  /** The path's next answer is this one: `[status, body, headers]`, or a function that returns or throws one. */
  next(path, ...answers) {
    this.answers.set(path, [...(this.answers.get(path) ?? []), ...answers]);
  }

  problem(status, code, more = {}, headers = {}) {
    const body = { type: "about:blank", title: "", status, status_code: status, code, detail: code, request_id: "id-1" };
    return [status, { ...body, ...more }, headers];
  }

  session(more = {}) {
    const number = (this.#number += 1);
    const refresh_token = `refresh-${number}`;
    this.#refreshTokens.add(refresh_token);
    const claims = { sub: "user-1", session_id: this.sessionId ?? "session-1", number };
    return {
      access_token: `e30.${encode(claims)}.s`,
      token_type: "bearer",
      expires_in: this.lifetime,
      expires_at: Math.floor(Date.now() / 1000) + this.lifetime,
      refresh_token,
      user: { id: "user-1", email: "ada@example.com" },
      weak_password: null,
      ...more,
    };
  }

  /** How often a path was asked. */
  count(line) {
    return this.asked.filter((asked) => asked === line).length;
  }

  fetch = async (input, init) => {
    const request = new Request(input, init);
    const path = request.url.startsWith(API) ? request.url.slice(API.length) : request.url;
    const body = request.body ? await request.clone().json() : undefined;
    this.asked.push(`${request.method} ${path}`);
    this.requests.push({ request, body });
    const aborted = new Promise((_, reject) => {
      // The signal of a new Request may be collected before it is told (Node 20).
      const signal = init?.signal ?? request.signal;
      const abort = () => reject(new DOMException("aborted", "AbortError"));
      if (signal.aborted) abort();
      signal.addEventListener("abort", abort);
    });
    await Promise.race([this.delay(path), aborted]);
    const waiting = this.answers.get(path)?.shift();
    const [status, answer, headers = {}] = await (typeof waiting === "function" ? waiting() : (waiting ?? this.#usual(path, body, request)));
    const text = status === 204 ? null : typeof answer === "string" ? answer : JSON.stringify(answer);
    return new Response(text, { status, headers });
  };

  #usual(path, body, request) {
    if (path === "/login") return [200, this.session()];
    if (path === "/refresh") {
      if (!this.#refreshTokens.delete(body?.refresh_token)) return this.problem(401, "session_expired");
      return [200, this.session()];
    }
    if (path.startsWith("/logout")) return [200, { message: "Logged out" }];
    if (path === "/me") return [200, { id: "user-1", authorization: request.headers.get("authorization") }];
    if (!path.startsWith("/")) return [200, { authorization: request.headers.get("authorization") }];
    return this.problem(404, "not_found");
  }
}
