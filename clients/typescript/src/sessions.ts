import type { MfaAnswer, Operations, UserAnswer } from "./generated.js";
import type { CallOptions, Request } from "./transport.js";

/** The session of a user, in both modes. Tokens are not in it: `accessToken()` gives the one that is good now. */
export interface Session {
  user: UserAnswer;
  /** When the access token ends, in seconds since the epoch. The session itself goes on. */
  expires_at: number;
  /** A second factor is due: call `factors.verify`. */
  mfa?: MfaAnswer;
  weak_password?: Record<string, unknown> | null;
  /** Somebody else may have chosen the password: have the user choose one. */
  password_unproven?: boolean;
}

/** What happened to the session, here or in another tab. */
export interface Events {
  "signed-in": Session;
  refreshed: Session;
  "signed-out": null;
}

/** Tells of one event. */
export type Emit = <Name extends keyof Events>(name: Name, session: Events[Name]) => void;

/** What the two modes have in common. */
export interface Sessions {
  /** Returns the session, or null. */
  session(options?: CallOptions): Promise<Session | null>;
  /** Returns an access token that is good for a while; null without a session, and always null in cookie mode. */
  accessToken(options?: CallOptions): Promise<string | null>;
  /** Takes the session that an answer holds, and returns it. */
  accept(answer: object): Promise<Session>;
  /** Sends a request that needs the session. */
  send<Name extends keyof Operations>(name: Name, request?: Request<Name>): Promise<Operations[Name]["answer"]>;
  /** Sends a request to a backend that trusts the gateway. */
  fetch(request: globalThis.Request): Promise<Response>;
  refresh(options?: CallOptions): Promise<Session>;
  logout(scope: string | undefined, options?: CallOptions): Promise<void>;
  /** Removes the session from this browser without asking the gateway. */
  forget(): Promise<void>;
  close(): void;
}

/** Rejects when *signal* is aborted, and leaves the work alone: others may wait for it too. */
export function unlessAborted<Result>(work: Promise<Result>, signal: AbortSignal | undefined): Promise<Result> {
  if (!signal) return work;
  return new Promise((resolve, reject) => {
    const abort = () => reject(signal.reason);
    if (signal.aborted) abort();
    signal.addEventListener("abort", abort);
    work.then(resolve, reject).finally(() => signal.removeEventListener("abort", abort));
  });
}
