import { CookieSessions } from "./cookies.js";
import { AuthError, type ClientErrorCode } from "./errors.js";
import type {
  AnonymousBody,
  ChallengeAnswer,
  ConfirmBody,
  EnrolmentAnswer,
  FactorAnswer,
  FactorBody,
  FactorCodeBody,
  ListedSessionAnswer,
  LoginBody,
  MailBody,
  MeAnswer,
  OtpBody,
  PasswordBody,
  PendingAnswer,
  ProfileBody,
  ProofBody,
  ResetBody,
  SentAnswer,
  SignUpBody,
} from "./generated.js";
import { lockFor } from "./locks.js";
import { challengeOf, newVerifier } from "./pkce.js";
import type { Events, Session, Sessions } from "./sessions.js";
import { SafeStorage, defaultStorage, tabStorage, type Storage } from "./storage.js";
import { TokenSessions } from "./tokens.js";
import { Transport, type CallOptions } from "./transport.js";

export interface AuthOptions {
  /** The gateway's address, such as `https://auth.example.com`. */
  url: string;
  /**
   * Who keeps the session: `"cookie"`, the gateway, in a cookie that no script can read (`AUTH_COOKIE_SESSIONS=1`, for
   * pages of the gateway's own site); or `"token"`, this client, in `storage`.
   */
  mode: "cookie" | "token";
  /** Token mode: where the session is kept; `localStorage` by default, which all tabs share. */
  storage?: Storage;
  /** The name of the session in `storage`; made from `url` by default. */
  storageKey?: string;
  /** Token mode: refresh before the token is needed; true by default in pages, else it is refreshed when it is used. */
  autoRefresh?: boolean;
  /** Origins of backends that `fetch` sends the session to; the gateway's and the page's own are always among them. */
  backends?: string[];
  /** Milliseconds until a call fails with `timeout`; 15,000 by default. */
  timeoutMs?: number;
  /** Solve proof-of-work challenges; true by default. */
  solveChallenges?: boolean;
  /** Token mode: whether calls carry cookies. `"include"` keeps the cookie that links of Supabase's default mails need. */
  credentials?: RequestCredentials;
  /** What sends the requests. */
  fetch?: typeof fetch;
}

/** Which sessions a logout ends. */
export type LogoutScope = "global" | "local" | "others";

type Listener<Name extends keyof Events> = (session: Events[Name]) => void;

/** Anybody can write an address, so its own text is not shown. */
const PROVIDER_ERRORS: ReadonlyMap<string, string> = new Map([
  ["access_denied", "The sign-in was cancelled or refused."],
  ["temporarily_unavailable", "The sign-in is not possible now. Try again later."],
  ["server_error", "The sign-in failed."],
]);
/** Supabase's own code, which a link of its default mails ends with. It needs no verifier. */
const MAILED_CODE = /^[0-9a-f]{8}-[0-9a-f]{4}-[0-9a-f]{4}-[0-9a-f]{4}-[0-9a-f]{12}$/i;

/** A client of one gateway. Every method throws `AuthError`. */
export class VelroAuth {
  readonly #options: AuthOptions;
  readonly #transport: Transport;
  readonly #sessions: Sessions;
  readonly #listeners = new Map<keyof Events, Set<Listener<any>>>();
  readonly #key: string;
  /** Keeps the verifier of a sign-in with a provider while the browser is there. */
  readonly #flows: Storage;

  constructor(options: AuthOptions) {
    const send = options.fetch ?? ((...request: Parameters<typeof fetch>) => fetch(...request));
    this.#options = options;
    this.#key = options.storageKey ?? `velro-auth:${new URL(options.url).host}`;
    this.#flows = new SafeStorage(tabStorage());
    this.#transport = new Transport({
      url: options.url,
      fetch: send,
      credentials: options.mode === "cookie" ? "include" : (options.credentials ?? "same-origin"),
      timeoutMs: options.timeoutMs ?? 15_000,
      solvesChallenges: options.solveChallenges ?? true,
    });
    const common = { transport: this.#transport, key: this.#key, fetch: send, emit: this.#emit.bind(this) };
    if (options.mode === "cookie") {
      this.#sessions = new CookieSessions(common);
      return;
    }
    const storage = new SafeStorage(options.storage ?? defaultStorage());
    const refreshesByItself = options.autoRefresh ?? typeof document !== "undefined";
    this.#sessions = new TokenSessions({ ...common, storage, refreshesByItself, lock: lockFor(this.#key, storage) });
  }

  /** Makes an account. `{status: "confirmation_sent"}` where the address has to be confirmed, else a session. */
  async signUp(body: SignUpBody, options?: CallOptions): Promise<Session | SentAnswer> {
    return await this.#sessionOr(await this.#transport.send("signup", { body, ...options }));
  }

  /** Sends the mail of a sign-up again. */
  async resendSignUp(body: MailBody, options?: CallOptions): Promise<SentAnswer> {
    return await this.#transport.send("signupResend", { body, ...options });
  }

  /** Mails a link and a code to sign in with; `confirm` takes either. */
  async sendCode(body: OtpBody, options?: CallOptions): Promise<SentAnswer> {
    return await this.#transport.send("otp", { body, ...options });
  }

  /** Trades a mailed link or code for a session. The first of two confirmations of a new address gives none. */
  async confirm(body: ConfirmBody, options?: CallOptions): Promise<Session | PendingAnswer> {
    return await this.#sessionOr(await this.#transport.send("confirm", { body, ...options }));
  }

  /** Logs in. If the session has `mfa`, a second factor is due: `factors.verify`. */
  async login(body: LoginBody, options?: CallOptions): Promise<Session> {
    return await this.#sessions.accept(await this.#transport.send("login", { body, ...options }));
  }

  /** Begins a session of a new user without an address. */
  async loginAnonymously(body: AnonymousBody = {}, options?: CallOptions): Promise<Session> {
    return await this.#sessions.accept(await this.#transport.send("anonymous", { body, ...options }));
  }

  /** Mails a link to replace a forgotten password. */
  async forgotPassword(body: MailBody, options?: CallOptions): Promise<SentAnswer> {
    return await this.#transport.send("passwordForgot", { body, ...options });
  }

  /** Replaces a forgotten password. If the error has a `ticket`, send it in place of the link. */
  async resetPassword(body: ResetBody, options?: CallOptions): Promise<Session> {
    return await this.#sessions.accept(await this.#transport.send("passwordReset", { body, ...options }));
  }

  /** Sets a new password; the user's other sessions end. */
  async changePassword(body: PasswordBody, options?: CallOptions): Promise<void> {
    await this.#sessions.send("password", { body, ...options });
  }

  /** Mails the code that some projects demand with a new password. */
  async reauthenticate(options?: CallOptions): Promise<void> {
    await this.#sessions.send("reauthenticate", { ...options });
  }

  /** Returns the user with the profile, as the gateway knows it now. */
  async me(options?: CallOptions): Promise<MeAnswer> {
    return await this.#sessions.send("meGet", { ...options });
  }

  /** Changes name, picture or address. A new address stays pending until it is confirmed. */
  async updateMe(body: ProfileBody, options?: CallOptions): Promise<MeAnswer> {
    return await this.#sessions.send("mePatch", { body, ...options });
  }

  /** The user's second factors. */
  readonly factors = {
    list: async (options?: CallOptions): Promise<FactorAnswer[]> => {
      return (await this.#sessions.send("factorsGet", { ...options })).factors;
    },
    /** Adds an authenticator. It counts once `verify` had a right code. */
    enrol: async (body: FactorBody = {}, options?: CallOptions): Promise<EnrolmentAnswer> => {
      return await this.#sessions.send("factorsPost", { body, ...options });
    },
    /** Begins a proof. `verify` does that by itself. */
    challenge: async (id: string, options?: CallOptions): Promise<ChallengeAnswer> => {
      return await this.#sessions.send("factorChallenge", { path: { factor_id: id }, ...options });
    },
    /** Proves a factor: the session is at `aal2` from now on. */
    verify: async (id: string, body: FactorCodeBody, options?: CallOptions): Promise<Session> => {
      const path = { factor_id: id };
      return await this.#sessions.accept(await this.#sessions.send("factorVerify", { path, body, ...options }));
    },
    remove: async (id: string, body: ProofBody = {}, options?: CallOptions): Promise<void> => {
      await this.#sessions.send("factor", { path: { factor_id: id }, body, ...options });
    },
  };

  /** All sessions of the user, on all devices. */
  readonly sessions = {
    list: async (options?: CallOptions): Promise<ListedSessionAnswer[]> => {
      return (await this.#sessions.send("sessions", { ...options })).sessions;
    },
    end: async (id: string, options?: CallOptions): Promise<void> => {
      await this.#sessions.send("session", { path: { session_id: id }, ...options });
    },
  };

  /** Returns the address at which a sign-in with a provider begins. Open it in this tab. */
  async providerUrl(provider: string, redirectTo: string): Promise<string> {
    const query: Record<string, string> = { redirect_to: redirectTo };
    if (this.#options.mode === "token") {
      const verifier = newVerifier();
      await this.#flows.setItem(this.#flowKey, verifier);
      query["code_challenge"] = await challengeOf(verifier);
    }
    return this.#transport.address(`/authorize/${encodeURIComponent(provider)}`, query);
  }

  /** Leaves the page for a sign-in with a provider, which ends at *redirectTo*; call `finishLogin` there. */
  async loginWithProvider(provider: string, redirectTo: string = location.href.split(/[?#]/)[0]!): Promise<void> {
    location.assign(await this.providerUrl(provider, redirectTo));
  }

  /**
   * Finishes a sign-in with a provider, or by a link of Supabase's default mails, on the page where it ends. Takes what
   * the gateway added out of the page's address. Returns the session; null where the address says nothing.
   */
  async finishLogin(address: string = location.href, options?: CallOptions & { password?: string }): Promise<Session | null> {
    const url = new URL(address);
    const { code, error } = Object.fromEntries(url.searchParams) as Record<string, string>;
    if (code === undefined && error === undefined) {
      return this.#options.mode === "cookie" ? await this.session(options) : null;
    }
    for (const name of ["code", "error", "error_description"]) url.searchParams.delete(name);
    if (typeof history !== "undefined" && address === location.href) history.replaceState(history.state, "", url);
    if (code === undefined) {
      const known = (PROVIDER_ERRORS.has(error!) ? error : "server_error") as ClientErrorCode;
      throw new AuthError({ code: known, message: PROVIDER_ERRORS.get(known)! });
    }
    return await this.exchange(code, options);
  }

  /**
   * Trades the code of a sign-in with a provider, or of a mailed link, for a session. With a mailed link, *password*
   * becomes the password of the account; where it cannot be set, the error has a `ticket` for another attempt.
   */
  async exchange(code: string, options: CallOptions & { password?: string } = {}): Promise<Session> {
    const { password, ...rest } = options;
    const verifier = MAILED_CODE.test(code) ? null : await this.#flows.getItem(this.#flowKey);
    const body = { code, ...(verifier && { code_verifier: verifier }), ...(password !== undefined && { password }) };
    const answer = await this.#transport.send("exchange", { body, ...rest });
    await this.#flows.removeItem(this.#flowKey);
    return await this.#sessions.accept(answer);
  }

  /**
   * Ends this session and all others of the user (`global`), this one alone (`local`), or the others. An error that
   * is temporary leaves the session alive, here too.
   */
  async logout(options: CallOptions & { scope?: LogoutScope } = {}): Promise<void> {
    const { scope, ...rest } = options;
    await this.#sessions.logout(scope, rest);
  }

  /** Token mode: removes the session from this browser without asking the gateway, where it lives on. */
  async forget(): Promise<void> {
    await this.#sessions.forget();
  }

  /** Returns the session, or null. It asks the gateway only in cookie mode, and only once. */
  async session(options?: CallOptions): Promise<Session | null> {
    return await this.#sessions.session(options);
  }

  /** Token mode: returns an access token that is good for a while, refreshed if need be. Null without a session. */
  async accessToken(options?: CallOptions): Promise<string | null> {
    return await this.#sessions.accessToken(options);
  }

  /** Refreshes the session now. There is seldom a reason to. */
  async refresh(options?: CallOptions): Promise<Session> {
    return await this.#sessions.refresh(options);
  }

  /**
   * As the global `fetch`, with the session for the gateway, the page's own origin and `backends`, and without it for
   * all others. A token that was refused is refreshed, and the request sent once more.
   */
  readonly fetch: typeof fetch = async (input, init) => {
    const request = new Request(input, init);
    const own = typeof location === "undefined" ? [] : [location.href];
    const trusted = [this.#options.url, ...own, ...(this.#options.backends ?? [])].map((url) => new URL(url).origin);
    if (trusted.includes(new URL(request.url).origin)) return await this.#sessions.fetch(request);
    return await (this.#options.fetch ?? fetch)(request);
  };

  /** Calls *listener* at each event, of this tab and of others; returns what stops that. */
  on<Name extends keyof Events>(name: Name, listener: (session: Events[Name]) => void): () => void {
    const listeners = this.#listeners.get(name) ?? new Set();
    this.#listeners.set(name, listeners.add(listener));
    return () => void listeners.delete(listener);
  }

  /** Stops timers and listeners. The session stays. */
  close(): void {
    this.#sessions.close();
    this.#listeners.clear();
  }

  get #flowKey(): string {
    return `${this.#key}:flow`;
  }

  async #sessionOr<Other extends { status: string }>(answer: object | Other): Promise<Session | Other> {
    return "status" in answer ? (answer as Other) : await this.#sessions.accept(answer);
  }

  #emit<Name extends keyof Events>(name: Name, session: Events[Name]): void {
    for (const listener of [...(this.#listeners.get(name) ?? [])]) {
      try {
        listener(session);
      } catch (error) {
        // A defect of the page, which must end no refresh.
        if (typeof reportError === "function") reportError(error);
        else console.error(error);
      }
    }
  }
}

/** Returns a client of the gateway at `options.url`. */
export function createAuth(options: AuthOptions): VelroAuth {
  return new VelroAuth(options);
}
