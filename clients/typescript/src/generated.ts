// Made from the gateway's OpenAPI document by `make client-types`. Do not edit.

/** Every `code` that an error of the gateway can have. */
export const ERROR_CODES = [
  "already_registered",
  "bad_json",
  "bad_parameter",
  "bad_request",
  "busy",
  "captcha_required",
  "challenge_required",
  "code_invalid",
  "cross_site",
  "email_not_confirmed",
  "expectation_failed",
  "forbidden",
  "headers_too_large",
  "insufficient_aal",
  "internal_error",
  "invalid_credentials",
  "invalid_request",
  "link_invalid",
  "method_not_allowed",
  "not_enabled",
  "not_found",
  "not_implemented",
  "reauthentication_needed",
  "request_timeout",
  "resting",
  "same_password",
  "session_expired",
  "stopping",
  "token_expired",
  "token_invalid",
  "token_missing",
  "too_large",
  "too_many_attempts",
  "unauthorized",
  "unsupported_media_type",
  "upstream_error",
  "upstream_misconfigured",
  "upstream_throttled",
  "upstream_timeout",
  "upstream_unavailable",
  "uri_too_long",
  "weak_password",
] as const;

export type ErrorCode = (typeof ERROR_CODES)[number];

/**
 * Of 429 `challenge_required`: a proof of work of ALTCHA, version 2. Hand it to the widget and send what that makes in
 * `challenge`.
 */
export interface Challenge {
  parameters: {
    algorithm: "PBKDF2/SHA-256";
    nonce: string;
    salt: string;
    /** Iterations. */
    cost: number;
    keyLength: number;
    keyPrefix: string;
    /** Seconds since the epoch. */
    expiresAt: number;
  };
  signature: string;
}

export interface Problem {
  type: string;
  title: string;
  status: number;
  /** The same as `status`. */
  status_code: number;
  code: string;
  detail: string;
  request_id: string;
  errors?: Record<string, string[]>;
  /** Of 422 `weak_password`: what Supabase finds weak, where it says so. */
  reasons?: ("length" | "characters" | "pwned")[];
  challenge?: Challenge;
  /** Of a reset or confirmation whose link was used already: send it in place of the link. */
  ticket?: string;
  /** Of the same: the old password still works, and may be somebody else's. */
  password_unproven?: boolean;
  /** Of 403 `insufficient_aal`: the second factors of the user, one of which has to be passed. */
  factors?: ({
    id?: string;
    type?: string;
    friendly_name?: string | null;
  })[];
}

export interface LoginBody {
  email: string;
  password: string;
  captcha_token?: string | null;
  /** The solution of the challenge that a 429 `challenge_required` gave, as the widget of ALTCHA makes it. */
  challenge?: string | null;
}

export interface UserAnswer {
  id: string;
  email?: string | null;
  email_confirmed_at?: string | null;
  created_at?: string | null;
  /** Application role; null if Supabase names none. */
  role?: string | null;
  display_name?: string | null;
  avatar_url?: string | null;
  credits_balance?: number | null;
  is_anonymous?: boolean;
  factors?: Record<string, unknown>[];
  user_metadata?: Record<string, unknown>;
}

export interface FactorToProve {
  id: string;
  type: string;
  friendly_name?: string | null;
}

export interface MfaAnswer {
  required: boolean;
  factors: FactorToProve[];
}

export interface SessionAnswer {
  access_token: string;
  token_type: string;
  /** Seconds. */
  expires_in: number;
  /** Seconds since the epoch. */
  expires_at: number;
  refresh_token: string;
  user: UserAnswer;
  weak_password?: Record<string, unknown> | null;
  /** Beside an `aal1` session of a user with verified second factors; absent otherwise. */
  mfa?: MfaAnswer;
}

export interface RefreshBody {
  refresh_token: string;
}

export interface LogoutBody {
  refresh_token?: string | null;
}

export interface LogoutAnswer {
  message?: string;
}

export interface MeAnswer {
  id: string;
  email?: string | null;
  role?: string | null;
  display_name?: string | null;
  /** The same as `display_name`. */
  full_name?: string | null;
  avatar_url?: string | null;
  credits_balance?: number | null;
  created_at?: string | null;
  updated_at?: string | null;
  is_anonymous?: boolean;
  aal?: string;
  amr?: string[];
  session_id?: string;
  /** Seconds since the epoch. */
  expires_at?: number;
  user_metadata?: Record<string, unknown>;
}

export interface ProfileBody {
  current_password?: string | null;
  captcha_token?: string | null;
  challenge?: string | null;
  display_name?: string | null;
  /** The same as `display_name`. */
  full_name?: string | null;
  avatar_url?: string | null;
  /** Stays pending until it is confirmed by mail. Needs a recent sign-in or `current_password`. */
  email?: string;
  /** Where the link in the mail leads: one of `AUTH_REDIRECT_URLS`. */
  redirect_to?: string | null;
}

export interface PasswordBody {
  current_password?: string | null;
  captcha_token?: string | null;
  challenge?: string | null;
  password: string;
  /** The code that `POST /api/v1/auth/reauthenticate` mails; only passed on. */
  nonce?: string | null;
}

export interface MailedAnswer {
  status?: string;
}

export interface FactorAnswer {
  id: string;
  type: string;
  friendly_name?: string | null;
  /** `verified`, or `unverified` until a code was right once. */
  status?: string;
  created_at?: string | null;
  updated_at?: string | null;
}

export interface FactorsAnswer {
  factors: FactorAnswer[];
}

export interface FactorBody {
  current_password?: string | null;
  captcha_token?: string | null;
  challenge?: string | null;
  type?: "totp";
  friendly_name?: string | null;
  /** What the authenticator shows; the host of the site by default. */
  issuer?: string | null;
}

export interface TotpAnswer {
  /** An SVG image. */
  qr_code: string;
  /** The key, in base32. */
  secret: string;
  /** `otpauth://…` */
  uri: string;
}

export interface EnrolmentAnswer {
  id: string;
  type: string;
  friendly_name?: string | null;
  totp?: TotpAnswer;
}

export interface ProofBody {
  current_password?: string | null;
  captcha_token?: string | null;
  challenge?: string | null;
}

export interface ChallengeAnswer {
  id: string;
  type: string;
  /** Seconds since the epoch. */
  expires_at?: number;
}

export interface FactorCodeBody {
  code: string;
  /** Without it a challenge is made. */
  challenge_id?: string | null;
}

export interface AnonymousBody {
  /** Goes into `user_metadata`. */
  data?: Record<string, unknown> | null;
  captcha_token?: string | null;
}

export interface SignUpBody {
  email: string;
  /** Where the link in the mail leads to; one of the addresses that the service allows. */
  redirect_to?: string | null;
  captcha_token?: string | null;
  password: string;
  /** The user's own metadata, at most 2048 bytes. */
  data?: Record<string, unknown> | null;
  /** Taken into `data`. */
  display_name?: string | null;
  /** Another name of `display_name`. */
  full_name?: string | null;
}

export interface SentAnswer {
  status: string;
}

export interface MailBody {
  email: string;
  /** Where the link in the mail leads to; one of the addresses that the service allows. */
  redirect_to?: string | null;
  captcha_token?: string | null;
}

export interface OtpBody {
  email: string;
  /** Where the link in the mail leads to; one of the addresses that the service allows. */
  redirect_to?: string | null;
  captcha_token?: string | null;
  create_user?: boolean;
}

export interface ConfirmBody {
  type: "signup" | "invite" | "magiclink" | "email" | "recovery" | "email_change";
  token_hash?: string | null;
  email?: string | null;
  token?: string | null;
  password?: string | null;
  /** The solution of the challenge that a 429 `challenge_required` gave for the same link. */
  challenge?: string | null;
}

export interface ConfirmAnswer {
  access_token: string;
  token_type: string;
  /** Seconds. */
  expires_in: number;
  /** Seconds since the epoch. */
  expires_at: number;
  refresh_token: string;
  user: UserAnswer;
  weak_password?: Record<string, unknown> | null;
  /** Beside an `aal1` session of a user with verified second factors; absent otherwise. */
  mfa?: MfaAnswer;
  /**
   * True where the address was confirmed just now and no password was sent: the account may have the password of
   * somebody else, who signed the address up before. Have the user choose one.
   */
  password_unproven?: boolean;
}

export interface PendingAnswer {
  status: string;
}

export interface ResetBody {
  password: string;
  token_hash?: string | null;
  email?: string | null;
  token?: string | null;
  ticket?: string | null;
  /** The code of a second factor. */
  code?: string | null;
  /** Which second factor; without it the first one. */
  factor_id?: string | null;
  /** The solution of the challenge that a 429 `challenge_required` gave for the same link. */
  challenge?: string | null;
}

export interface ExchangeBody {
  /** What stands in `code` of the page's address. */
  code: string;
  /**
   * The verifier of the `code_challenge` that the sign-in began with. Not for the code of a mailed link: there the
   * browser has a cookie.
   */
  code_verifier?: string;
  password?: string | null;
}

export interface ListedSessionAnswer {
  id: string;
  created_at: string;
  /** Its last refresh, or its beginning. */
  last_used_at: string;
  /** Authenticator assurance level: `aal1`, `aal2`. */
  aal: string;
  /** Whether this request was made with it. */
  is_current: boolean;
  /** IP address of the client; null if unknown. */
  address?: string | null;
  /** null if unknown. */
  user_agent?: string | null;
}

export interface SessionsAnswer {
  sessions: ListedSessionAnswer[];
}

/** What each operation takes and answers. */
export interface Operations {
  /** Log in with a mail address and a password. */
  login: { body: LoginBody; answer: SessionAnswer };
  /** Trade a refresh token for a new session. */
  refresh: { body: RefreshBody; answer: SessionAnswer };
  /** End this session, all of the user's (default), or all the others. */
  logout: { body: LogoutBody | undefined; answer: LogoutAnswer };
  /** Tell who the token belongs to, with the profile row. */
  meGet: { body: undefined; answer: MeAnswer };
  /** Change the display name, the picture or the mail address of the token's user. */
  mePatch: { body: ProfileBody; answer: MeAnswer };
  /** Change the display name, the picture or the mail address of the token's user. */
  profile: { body: ProfileBody; answer: MeAnswer };
  /** Set a new password, and end all other sessions of the user. */
  password: { body: PasswordBody; answer: undefined };
  /** Mail a code that a project may demand with a new password. */
  reauthenticate: { body: undefined; answer: MailedAnswer };
  /** List the second factors of the token's user. */
  factorsGet: { body: undefined; answer: FactorsAnswer };
  /** Enrol an authenticator; it counts once a code of it was verified. */
  factorsPost: { body: FactorBody; answer: EnrolmentAnswer };
  /** Remove a second factor. */
  factor: { body: ProofBody | undefined; answer: undefined };
  /** Begin the proof of a second factor. */
  factorChallenge: { body: undefined; answer: ChallengeAnswer };
  /** Prove a second factor: the session steps up to aal2, the user's lower sessions end. */
  factorVerify: { body: FactorCodeBody; answer: SessionAnswer };
  /** Begin a session of a new user without an address, where the project allows it. */
  anonymous: { body: AnonymousBody | undefined; answer: SessionAnswer };
  /** Make an account. */
  signup: { body: SignUpBody; answer: SessionAnswer | SentAnswer };
  /** Send the mail of a sign-up again. */
  signupResend: { body: MailBody; answer: SentAnswer };
  /** Send a link and a code to sign in with. */
  otp: { body: OtpBody; answer: SentAnswer };
  /** Send a link to replace a forgotten password. */
  passwordForgot: { body: MailBody; answer: SentAnswer };
  /** Trade a mailed link or code for a session. */
  confirm: { body: ConfirmBody; answer: ConfirmAnswer | PendingAnswer };
  /** Replace a forgotten password; all other sessions end. */
  passwordReset: { body: ResetBody; answer: SessionAnswer };
  /** Trade the code of a sign-in with a provider, or of a mailed link, for a session. */
  exchange: { body: ExchangeBody; answer: ConfirmAnswer };
  /** List the sessions of the user of the token. */
  sessions: { body: undefined; answer: SessionsAnswer };
  /** End one session of the user of the token. */
  session: { body: undefined; answer: undefined };
}

/** Where each operation is; `{…}` is a placeholder. */
export const PATHS = {
  login: ["POST", "/login"],
  refresh: ["POST", "/refresh"],
  logout: ["POST", "/logout"],
  meGet: ["GET", "/me"],
  mePatch: ["PATCH", "/me"],
  profile: ["PUT", "/profile"],
  password: ["PUT", "/password"],
  reauthenticate: ["POST", "/reauthenticate"],
  factorsGet: ["GET", "/factors"],
  factorsPost: ["POST", "/factors"],
  factor: ["DELETE", "/factors/{factor_id}"],
  factorChallenge: ["POST", "/factors/{factor_id}/challenge"],
  factorVerify: ["POST", "/factors/{factor_id}/verify"],
  anonymous: ["POST", "/anonymous"],
  signup: ["POST", "/signup"],
  signupResend: ["POST", "/signup/resend"],
  otp: ["POST", "/otp"],
  passwordForgot: ["POST", "/password/forgot"],
  confirm: ["POST", "/confirm"],
  passwordReset: ["POST", "/password/reset"],
  exchange: ["POST", "/exchange"],
  sessions: ["GET", "/sessions"],
  session: ["DELETE", "/sessions/{session_id}"],
} as const satisfies Record<keyof Operations, readonly [string, string]>;
