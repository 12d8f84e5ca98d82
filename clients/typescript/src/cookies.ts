import { AuthError } from "./errors.js";
import type { MeAnswer, Operations, UserAnswer } from "./generated.js";
import type { Emit, Events, Session, Sessions } from "./sessions.js";
import type { CallOptions, Request, Transport } from "./transport.js";

/** Codes that say that the cookie is gone or its session is over. */
const ENDED: ReadonlySet<string> = new Set(["session_expired", "token_missing", "token_invalid"]);

export interface CookieOptions {
  transport: Transport;
  emit: Emit;
  fetch: typeof fetch;
  /** Names the channel over which the tabs tell each other what happened. */
  key: string;
}

/** Sessions that the gateway keeps in a cookie. No script of the page sees a token, and the gateway refreshes. */
export class CookieSessions implements Sessions {
  readonly #options: CookieOptions;
  readonly #channel: BroadcastChannel | undefined;
  /** Undefined before the gateway was asked. */
  #session: Session | null | undefined;

  constructor(options: CookieOptions) {
    this.#options = options;
    if (typeof document === "undefined" || typeof BroadcastChannel === "undefined") return;
    this.#channel = new BroadcastChannel(options.key);
    this.#channel.onmessage = (message: MessageEvent<{ name: keyof Events; session: Session | null }>) => {
      this.#take(message.data.name, message.data.session);
    };
  }

  async session(options: CallOptions = {}): Promise<Session | null> {
    if (this.#session !== undefined) return this.#session;
    try {
      const me = await this.send("meGet", options);
      this.#session ??= { user: userOf(me), expires_at: me.expires_at ?? 0 };
    } catch (error) {
      // `send` has noted that there is none.
      if (!(error instanceof AuthError) || !ENDED.has(error.code)) throw error;
    }
    return this.#session ?? null;
  }

  async accessToken(): Promise<null> {
    return null;
  }

  async accept(answer: object): Promise<Session> {
    if ("access_token" in answer) {
      const message = 'the gateway answers with tokens: set AUTH_COOKIE_SESSIONS=1, or use mode "token"';
      throw new AuthError({ code: "wrong_mode", message });
    }
    const session = answer as Session;
    const isSame = this.#session?.user.id === session.user.id;
    this.#tell(isSame ? "refreshed" : "signed-in", session);
    return session;
  }

  async send<Name extends keyof Operations>(
    name: Name,
    request: Request<Name> = {},
  ): Promise<Operations[Name]["answer"]> {
    try {
      return await this.#options.transport.send(name, request);
    } catch (error) {
      if (error instanceof AuthError && error.status === 401 && ENDED.has(error.code)) {
        if (this.#session) this.#tell("signed-out", null);
        this.#session = null;
      }
      throw error;
    }
  }

  async fetch(request: globalThis.Request): Promise<Response> {
    return await this.#options.fetch(new globalThis.Request(request, { credentials: "include" }));
  }

  async refresh(options: CallOptions = {}): Promise<Session> {
    // Without a body the gateway refreshes the session of the cookie.
    return await this.accept(await this.send("refresh", options));
  }

  async logout(scope: string | undefined, options: CallOptions = {}): Promise<void> {
    const query: Record<string, string> = scope ? { scope } : {};
    try {
      await this.#options.transport.send("logout", { ...options, query });
    } catch (error) {
      if (!(error instanceof AuthError) || error.status !== 401 || error.code === "unexpected_answer") throw error;
    }
    if (scope !== "others" && this.#session !== null) this.#tell("signed-out", null);
  }

  forget(): Promise<void> {
    const message = "only the gateway can remove the cookie: call logout()";
    return Promise.reject(new AuthError({ code: "wrong_mode", message }));
  }

  close(): void {
    this.#channel?.close();
  }

  #tell<Name extends keyof Events>(name: Name, session: Events[Name]): void {
    this.#channel?.postMessage({ name, session });
    this.#take(name, session);
  }

  #take(name: keyof Events, session: Session | null): void {
    this.#session = session;
    this.#options.emit(name as "signed-in", session as Session);
  }
}

function userOf(me: MeAnswer): UserAnswer {
  const { id, email, role, display_name, avatar_url, credits_balance, created_at, is_anonymous, user_metadata } = me;
  const user = { id, email, role, display_name, avatar_url, credits_balance, created_at, is_anonymous, user_metadata };
  return user as UserAnswer;
}
