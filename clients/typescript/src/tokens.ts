import { AuthError } from "./errors.js";
import type { ConfirmAnswer, Operations } from "./generated.js";
import type { Lock } from "./locks.js";
import { unlessAborted, type Emit, type Session, type Sessions } from "./sessions.js";
import type { Storage } from "./storage.js";
import type { CallOptions, Request, Transport } from "./transport.js";

/** An access token is refreshed when it is good for less than this, or for less than a quarter of its life. */
export const MARGIN_MS = 60_000;
/** How often a visible page looks whether it is time: often enough to notice the end of a sleep. */
const TICK_MS = 15_000;
/** Waits after failed refreshes, without a `Retry-After`. */
const FIRST_WAIT_MS = 1_000;
const LONGEST_WAIT_MS = 60_000;
/** Codes with which a refresh ends the session. Nothing else does. */
const ENDING: ReadonlySet<string> = new Set(["session_expired", "token_invalid"]);
/** Codes with which a call asks for a refresh. */
const REFUSED: ReadonlySet<string> = new Set(["token_expired", "token_invalid"]);

/** A session as it is stored. */
type Kept = ConfirmAnswer & {
  /** The clock of this browser when the tokens came, in milliseconds: the gateway's clock may differ. */
  received_at: number;
};

export interface TokenOptions {
  transport: Transport;
  storage: Storage;
  key: string;
  lock: Lock;
  emit: Emit;
  fetch: typeof fetch;
  /** Whether the page refreshes the session before it is used. */
  refreshesByItself: boolean;
}

/** Sessions whose tokens the page keeps. */
export class TokenSessions implements Sessions {
  readonly #options: TokenOptions;
  readonly #stops: (() => void)[] = [];
  /** What was seen last; undefined before the first look. */
  #seen: Kept | null | undefined;
  #refreshing: Promise<Kept> | undefined;
  #failures = 0;
  /** No refresh is tried until then, and the error of the last one. */
  #waiting: { until: number; began: number; error: AuthError } | undefined;

  constructor(options: TokenOptions) {
    this.#options = options;
    this.#watch();
    if (options.refreshesByItself) this.#begin();
  }

  async session(): Promise<Session | null> {
    const kept = await this.#look();
    return kept && shown(kept);
  }

  async accessToken(options: CallOptions = {}): Promise<string | null> {
    const kept = await this.#look();
    if (!kept) return null;
    if (!isStale(kept)) return kept.access_token;
    try {
      return (await this.#refreshed(kept, options)).access_token;
    } catch (error) {
      const isOver = !(error instanceof AuthError) || error.code === "signed_out" || isEnd(error);
      if (isOver || leftMs(kept) <= 0) throw error;
      return kept.access_token;
    }
  }

  async accept(answer: object): Promise<Session> {
    const session = answer as ConfirmAnswer;
    if (!session.access_token || !session.refresh_token) {
      throw new AuthError({ code: "wrong_mode", message: 'the gateway keeps sessions in cookies: use mode "cookie"' });
    }
    await this.#look();
    this.#calm();
    return shown(await this.#write(session));
  }

  async send<Name extends keyof Operations>(
    name: Name,
    request: Request<Name> = {},
  ): Promise<Operations[Name]["answer"]> {
    const token = await this.#neededToken(request);
    try {
      return await this.#options.transport.send(name, { ...request, token });
    } catch (error) {
      if (!(error instanceof AuthError) || !REFUSED.has(error.code)) throw error;
      const again = await this.#tokenAfter(token, request);
      return await this.#options.transport.send(name, { ...request, token: again });
    }
  }

  async fetch(request: globalThis.Request): Promise<Response> {
    const token = await this.accessToken({ signal: request.signal });
    if (!token) return await this.#options.fetch(request);
    const spare = request.clone();
    const answer = await this.#options.fetch(withToken(request, token));
    if (answer.status !== 401) return answer;
    const code = await answer.clone().json().then((problem) => String(problem?.code), () => "");
    if (!REFUSED.has(code)) return answer;
    return await this.#options.fetch(withToken(spare, await this.#tokenAfter(token, { signal: request.signal })));
  }

  async refresh(options: CallOptions = {}): Promise<Session> {
    const kept = await this.#look();
    if (!kept) throw signedOut();
    return shown(await this.#refreshed(kept, options));
  }

  async logout(scope: string | undefined, options: CallOptions = {}): Promise<void> {
    const kept = await this.#look();
    if (!kept) return;
    // Not while a refresh is under way, which would write the session anew.
    await this.#options.lock(async () => {
      const now = (await this.#read()) ?? kept;
      const query: Record<string, string> = scope ? { scope } : {};
      // With the refresh token the gateway can end a session whose access token has expired.
      const body = { refresh_token: now.refresh_token };
      try {
        await this.#options.transport.send("logout", { ...options, query, body, token: now.access_token });
      } catch (error) {
        // The session is over already; every other error leaves it alive, and here.
        if (!(error instanceof AuthError) || error.status !== 401 || error.code === "unexpected_answer") throw error;
      }
      if (scope !== "others") await this.#write(null);
    });
  }

  async forget(): Promise<void> {
    await this.#look();
    await this.#write(null);
  }

  close(): void {
    for (const stop of this.#stops.splice(0)) stop();
  }

  async #neededToken(options: CallOptions): Promise<string> {
    const token = await this.accessToken(options);
    if (!token) throw signedOut();
    return token;
  }

  /** Returns a token that is not *refused*. */
  async #tokenAfter(refused: string, options: CallOptions): Promise<string> {
    const kept = await this.#look();
    if (!kept) throw signedOut();
    if (kept.access_token !== refused) return kept.access_token;
    return (await this.#refreshed(kept, options)).access_token;
  }

  /** Returns the session that follows *old*: one refresh for all calls of all tabs. */
  #refreshed(old: Kept, options: CallOptions = {}): Promise<Kept> {
    const waits = this.#waitsMs();
    if (this.#waiting && waits > 0) {
      const { code, message, status, requestId, problem } = this.#waiting.error;
      const retryAfter = Math.ceil(waits / 1000);
      return Promise.reject(new AuthError({ code, message, status, requestId, problem, retryAfter }));
    }
    this.#refreshing ??= this.#options.lock(() => this.#ask(old)).finally(() => (this.#refreshing = undefined));
    return unlessAborted(this.#refreshing, options.signal);
  }

  async #ask(old: Kept): Promise<Kept> {
    const kept = await this.#look();
    if (!kept) throw signedOut();
    // Another tab was faster.
    if (kept.refresh_token !== old.refresh_token && !isStale(kept)) return kept;
    const body = { refresh_token: kept.refresh_token };
    let answer;
    try {
      answer = await this.#options.transport.send("refresh", { body });
    } catch (error) {
      return await this.#afterFailure(kept, error);
    }
    this.#calm();
    // Somebody logged out or in meanwhile: that counts.
    const now = await this.#look();
    if (!now) throw signedOut();
    return now.refresh_token === kept.refresh_token ? await this.#write(answer) : now;
  }

  async #afterFailure(kept: Kept, error: unknown): Promise<Kept> {
    const now = await this.#look();
    if (now && now.refresh_token !== kept.refresh_token) return now;
    if (!(error instanceof AuthError)) throw error;
    if (isEnd(error)) {
      if (now) await this.#write(null);
      throw error;
    }
    const longest = Math.min(LONGEST_WAIT_MS, FIRST_WAIT_MS * 2 ** this.#failures++);
    const wait = error.retryAfter === null ? longest * (0.5 + Math.random() / 2) : error.retryAfter * 1000;
    this.#waiting = { began: Date.now(), until: Date.now() + wait, error };
    throw error;
  }

  #waitsMs(): number {
    const waiting = this.#waiting;
    // A clock that was set back must not make the wait longer.
    return !waiting || Date.now() < waiting.began ? 0 : waiting.until - Date.now();
  }

  #calm(): void {
    this.#failures = 0;
    this.#waiting = undefined;
  }

  /** Reads the session, and tells what another tab did to it. */
  async #look(): Promise<Kept | null> {
    const kept = await this.#read();
    this.#notice(kept);
    return kept;
  }

  async #read(): Promise<Kept | null> {
    const text = await this.#options.storage.getItem(this.#options.key);
    try {
      const kept = JSON.parse(text ?? "null") as Kept | null;
      return kept?.refresh_token && kept.access_token && kept.user ? kept : null;
    } catch {
      return null;
    }
  }

  async #write(answer: ConfirmAnswer): Promise<Kept>;
  async #write(answer: null): Promise<null>;
  async #write(answer: ConfirmAnswer | null): Promise<Kept | null> {
    const { storage, key } = this.#options;
    const kept = answer && { ...answer, received_at: Date.now() };
    if (kept) await storage.setItem(key, JSON.stringify(kept));
    else await storage.removeItem(key);
    this.#notice(kept);
    return kept;
  }

  #notice(kept: Kept | null): void {
    const before = this.#seen;
    this.#seen = kept;
    if (before === undefined || before?.refresh_token === kept?.refresh_token) return;
    if (!kept) return this.#options.emit("signed-out", null);
    const isSame = before !== null && sessionId(before) === sessionId(kept);
    this.#options.emit(isSame ? "refreshed" : "signed-in", shown(kept));
  }

  /** Looks again when another tab wrote. */
  #watch(): void {
    this.#listen(globalThis.window, "storage", (event) => {
      const { key } = event as StorageEvent;
      if (key === null || key === this.#options.key) void this.#look();
    });
  }

  /** Refreshes in time while the page is visible, and at once when it wakes up or is online again. */
  #begin(): void {
    const look = async () => {
      if (globalThis.document?.visibilityState === "hidden") return;
      const kept = await this.#look();
      if (kept && isStale(kept)) await this.#refreshed(kept).catch(() => undefined);
    };
    const now = () => void look();
    const timer = setInterval(now, TICK_MS);
    // Node would wait for it.
    (timer as unknown as { unref?: () => void }).unref?.();
    this.#stops.push(() => clearInterval(timer));
    this.#listen(globalThis.document, "visibilitychange", now);
    this.#listen(globalThis.window, "pageshow", now);
    this.#listen(globalThis.window, "online", () => {
      this.#calm();
      now();
    });
    now();
  }

  /** Listens to a page; where there is none (Node, React Native) nothing comes. */
  #listen(target: EventTarget | undefined, name: string, listener: (event: Event) => void): void {
    if (typeof target?.addEventListener !== "function") return;
    target.addEventListener(name, listener);
    this.#stops.push(() => target.removeEventListener(name, listener));
  }
}

/** Returns how long the access token is good, in milliseconds; 0 where a clock that was set back leaves it open. */
function leftMs(kept: Kept): number {
  const age = Date.now() - kept.received_at;
  // A clock that is corrected by less than the margin changes nothing.
  return age < -MARGIN_MS ? 0 : kept.expires_in * 1000 - age;
}

function isStale(kept: Kept): boolean {
  return leftMs(kept) <= Math.min(MARGIN_MS, kept.expires_in * 250);
}

function isEnd(error: AuthError): boolean {
  return error.status === 401 && ENDING.has(error.code);
}

function shown(kept: ConfirmAnswer): Session {
  const { user, expires_at, mfa, weak_password, password_unproven } = kept;
  return {
    user,
    expires_at,
    ...(mfa && { mfa }),
    ...(weak_password && { weak_password }),
    ...(password_unproven && { password_unproven }),
  };
}

/** Returns the claim `session_id` of the access token; the user's id where it cannot be read. */
function sessionId(kept: Kept): string {
  try {
    const part = (kept.access_token.split(".")[1] ?? "").replaceAll("-", "+").replaceAll("_", "/");
    return String(JSON.parse(atob(part)).session_id);
  } catch {
    return kept.user.id;
  }
}

function withToken(request: globalThis.Request, token: string): globalThis.Request {
  const headers = new Headers(request.headers);
  headers.set("Authorization", `Bearer ${token}`);
  return new globalThis.Request(request, { headers });
}

function signedOut(): AuthError {
  return new AuthError({ code: "signed_out", message: "there is no session: log in first" });
}
