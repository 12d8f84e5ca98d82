import { ERROR_CODES, type Challenge, type ErrorCode, type FactorToProve, type Problem } from "./generated.js";

/** Codes of errors that the gateway did not send. */
export type ClientErrorCode =
  /** No answer came: no network, no server, or the page's origin is not in `CORS_ORIGINS`. */
  | "network_error"
  /** No answer came in time. */
  | "timeout"
  /** An answer that is not the gateway's, such as the page of a proxy; or a code of a newer gateway. */
  | "unexpected_answer"
  /** The call needs a session, and there is none here. */
  | "signed_out"
  /** The gateway keeps sessions in cookies and the client does not, or the other way round. */
  | "wrong_mode"
  /** A sign-in with a provider ended without a session; the page's address said so. */
  | "access_denied"
  | "temporarily_unavailable"
  | "server_error";

export type AnyErrorCode = ErrorCode | ClientErrorCode;

/** What an `AuthError` may be made with. */
export interface AuthErrorDetails {
  code: AnyErrorCode;
  message: string;
  status?: number;
  retryAfter?: number | null;
  requestId?: string | null;
  problem?: Problem | null;
  cause?: unknown;
}

const KNOWN: ReadonlySet<string> = new Set(ERROR_CODES);

/** Everything that goes wrong in a call. A call that its own `signal` aborts rejects with the signal's reason. */
export class AuthError extends Error {
  override readonly name = "AuthError";
  /** What went wrong, for programs. */
  readonly code: AnyErrorCode;
  /** HTTP status; 0 where no answer came. */
  readonly status: number;
  /** Seconds to wait before the next try; null where the gateway names no time. */
  readonly retryAfter: number | null;
  /** The id of the request in the gateway's log. */
  readonly requestId: string | null;
  /** The gateway's whole error; null where there is none. */
  readonly problem: Problem | null;

  constructor(details: AuthErrorDetails) {
    super(details.message, { cause: details.cause });
    this.code = details.code;
    this.status = details.status ?? 0;
    this.retryAfter = details.retryAfter ?? null;
    this.requestId = details.requestId ?? null;
    this.problem = details.problem ?? null;
  }

  /** Of 422: what is wrong with each field. */
  get fields(): Record<string, string[]> {
    return this.problem?.errors ?? {};
  }

  /** Of 429 `challenge_required`: what to solve. The client solves it by itself unless that is switched off. */
  get challenge(): Challenge | null {
    return this.problem?.challenge ?? null;
  }

  /** Of a reset or confirmation whose link is spent: send it in place of the link. */
  get ticket(): string | null {
    return this.problem?.ticket ?? null;
  }

  /** Of 403 `insufficient_aal`: the second factors, one of which has to be passed. */
  get factors(): FactorToProve[] {
    return (this.problem?.factors ?? []) as FactorToProve[];
  }

  /** Whether the same call may succeed later. The session is as good as before. */
  get isTemporary(): boolean {
    return this.status >= 500 || [408, 429].includes(this.status) || ["network_error", "timeout"].includes(this.code);
  }
}

/** Returns the error that an answer is. Anything but the gateway's own shape is `unexpected_answer`. */
export function errorOf(status: number, headers: Headers, body: unknown): AuthError {
  const problem = isProblem(body) ? body : null;
  const isKnown = problem !== null && KNOWN.has(problem.code);
  return new AuthError({
    code: isKnown ? (problem.code as ErrorCode) : "unexpected_answer",
    message: problem?.detail ?? `the answer ${status} is not the gateway's`,
    status,
    retryAfter: seconds(headers.get("Retry-After")),
    requestId: problem?.request_id ?? headers.get("X-Request-ID"),
    problem,
  });
}

function isProblem(body: unknown): body is Problem {
  const found = body as Problem | null;
  return typeof found === "object" && typeof found?.code === "string" && typeof found.detail === "string";
}

/** Returns the seconds of `Retry-After`; a date, which the gateway never sends, is left to the proxy's own retry. */
function seconds(header: string | null): number | null {
  return header !== null && /^\d{1,6}$/.test(header) ? Number(header) : null;
}
