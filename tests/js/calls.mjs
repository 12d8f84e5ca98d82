// Makes every call of the official client once and prints what each met: node calls.mjs URL PUBLISHABLE_KEY SECRET_KEY [ADMIN_URL]
//
// A gateway has no administration: those calls go to ADMIN_URL, the project's own address.
//
// One JSON object: call -> "ok" or "<status> <code>".
import { createHmac } from "node:crypto";
import { createClient } from "@supabase/supabase-js";
import WebSocket from "ws";

const [url, key, secret, adminUrl = url] = process.argv.slice(2);
const PASSWORD = "correct horse 1!";
const met = {};

function client(withKey) {
  return createClient(withKey === secret ? adminUrl : url, withKey, {
    auth: { persistSession: false, autoRefreshToken: false },
    // Node before 22 has no WebSocket of its own, and the client insists on one.
    realtime: { transport: WebSocket },
  });
}

async function call(name, promise) {
  const answer = await promise;
  const error = answer.error;
  met[name] = error ? `${error.status} ${error.code}` : "ok";
  return answer.data ?? {};
}

let number = 0;
const newEmail = () => `client-${process.pid}-${Date.now()}-${number++}@example.com`;

function totp(secretText) {
  const alphabet = "ABCDEFGHIJKLMNOPQRSTUVWXYZ234567";
  const bits = [...secretText].map((letter) => alphabet.indexOf(letter).toString(2).padStart(5, "0")).join("");
  const bytes = Buffer.from(bits.match(/.{8}/g).map((byte) => parseInt(byte, 2)));
  const counter = Buffer.alloc(8);
  counter.writeBigUInt64BE(BigInt(Math.floor(Date.now() / 30000)));
  const digest = createHmac("sha1", bytes).update(counter).digest();
  const start = digest[digest.length - 1] & 15;
  return String((digest.readUInt32BE(start) & 0x7fffffff) % 1_000_000).padStart(6, "0");
}

const admin = client(secret).auth;
const user = client(key).auth;
const wrong = "000000";

async function newUser() {
  const email = newEmail();
  const { data, error } = await admin.admin.createUser({ email, password: PASSWORD, email_confirm: true });
  if (error) throw error;
  return { email, id: data.user.id };
}

const fresh = newEmail();
await call("signUp", user.signUp({ email: fresh, password: PASSWORD }));
const known = await newUser();
const stranger = client(key).auth;
await call("signUp existing", stranger.signUp({ email: known.email, password: PASSWORD }));
await call("signUp weak password", stranger.signUp({ email: newEmail(), password: "a" }));
await call("signUp bad mail", stranger.signUp({ email: "x", password: PASSWORD }));
await call("signUp phone", stranger.signUp({ phone: "+15551234567", password: PASSWORD }));

const signedIn = await call(
  "signInWithPassword",
  user.signInWithPassword({ email: known.email, password: PASSWORD }),
);
await call("signInWithPassword wrong", stranger.signInWithPassword({ email: known.email, password: "wrong" }));
await call("getSession", user.getSession());
await call("getUser", user.getUser());
await call("getClaims", user.getClaims());
await call("getUser rubbish jwt", user.getUser("a.b.c"));
const refreshed = await call("refreshSession", user.refreshSession());
await call("setSession", user.setSession(refreshed.session ?? signedIn.session));
await call("updateUser data", user.updateUser({ data: { a: 1 } }));
await call("updateUser same password", user.updateUser({ password: PASSWORD }));
await call("updateUser weak password", user.updateUser({ password: "a" }));
await call("updateUser password", user.updateUser({ password: "another horse 2!" }));
await call("updateUser email", user.updateUser({ email: newEmail() }));
await call("reauthenticate", user.reauthenticate());
await call("getUserIdentities", user.getUserIdentities());
await call("linkIdentity", user.linkIdentity({ provider: "gitlab", options: { skipBrowserRedirect: true } }));
await call("resend signup", stranger.resend({ type: "signup", email: fresh }));
await call("resetPasswordForEmail", stranger.resetPasswordForEmail(known.email));
await call("resetPasswordForEmail unknown", stranger.resetPasswordForEmail(newEmail()));
await call("verifyOtp recovery", stranger.verifyOtp({ type: "recovery", email: known.email, token: wrong }));
await call("signInWithOtp", stranger.signInWithOtp({ email: known.email }));
await call("verifyOtp email", stranger.verifyOtp({ type: "email", email: known.email, token: wrong }));
await call("verifyOtp wrong", stranger.verifyOtp({ type: "magiclink", token_hash: "0".repeat(56) }));
await call(
  "signInWithOtp no create",
  stranger.signInWithOtp({ email: newEmail(), options: { shouldCreateUser: false } }),
);
await call("signInWithOtp phone", stranger.signInWithOtp({ phone: "+15551234567" }));
await call("signInAnonymously", stranger.signInAnonymously());
await call("signInWithOAuth", stranger.signInWithOAuth({ provider: "gitlab", options: { skipBrowserRedirect: true } }));
await call("signInWithIdToken", stranger.signInWithIdToken({ provider: "google", token: "a.b.c" }));
await call("signInWithSSO", stranger.signInWithSSO({ domain: "example.com" }));
await call("exchangeCodeForSession", stranger.exchangeCodeForSession("00000000-0000-4000-8000-000000000000"));

const factor = await newUser();
const mfa = client(key).auth;
await mfa.signInWithPassword({ email: factor.email, password: PASSWORD });
const enrolled = await call("mfa.enroll", mfa.mfa.enroll({ factorType: "totp", friendlyName: "phone" }));
const challenged = await call("mfa.challenge", mfa.mfa.challenge({ factorId: enrolled.id }));
const proof = { factorId: enrolled.id, challengeId: challenged.id };
await call("mfa.verify wrong", mfa.mfa.verify({ ...proof, code: wrong }));
await call("mfa.verify", mfa.mfa.verify({ ...proof, code: totp(enrolled.totp.secret) }));
await call("mfa.listFactors", mfa.mfa.listFactors());
await call("mfa.getAuthenticatorAssuranceLevel", mfa.mfa.getAuthenticatorAssuranceLevel());
const second = client(key).auth;
await call("signIn of MFA user", second.signInWithPassword({ email: factor.email, password: PASSWORD }));
await call("aal after signIn of MFA user", second.mfa.getAuthenticatorAssuranceLevel());
await call("mfa.unenroll at aal1", second.mfa.unenroll({ factorId: enrolled.id }));
await call("mfa.unenroll", mfa.mfa.unenroll({ factorId: enrolled.id }));

const made = newEmail();
const created = await call(
  "admin.createUser",
  admin.admin.createUser({ email: made, password: PASSWORD, email_confirm: true }),
);
await call("admin.createUser duplicate", admin.admin.createUser({ email: made, password: PASSWORD }));
await call("admin.createUser with id", admin.admin.createUser({ email: newEmail(), id: crypto.randomUUID() }));
await call("admin.createUser no password", admin.admin.createUser({ email: newEmail() }));
const password_hash = "$2a$10$N9qo8uLOickgx2ZMRZoMyeIjZAgcfl7p92ldGxad68LJZdL17lhWy";
await call("admin.createUser password_hash", admin.admin.createUser({ email: newEmail(), password_hash }));
await call("admin.listUsers", admin.admin.listUsers());
await call("admin.listUsers page 2", admin.admin.listUsers({ page: 2, perPage: 1 }));
const id = created.user.id;
await call("admin.getUserById", admin.admin.getUserById(id));
await call("admin.getUserById unknown", admin.admin.getUserById(crypto.randomUUID()));
await call("admin.updateUserById", admin.admin.updateUserById(id, { user_metadata: { a: 1 } }));
await call("admin.updateUserById ban", admin.admin.updateUserById(id, { ban_duration: "none" }));
await call("admin.updateUserById phone", admin.admin.updateUserById(id, { phone: "+0155512345" }));
const link = (type, more = {}) => admin.admin.generateLink({ type, email: made, ...more });
await call("admin.generateLink signup", link("signup", { email: newEmail(), password: PASSWORD }));
await call("admin.generateLink magiclink", link("magiclink"));
const recovery = await call("admin.generateLink recovery", link("recovery"));
await call("admin.generateLink invite", link("invite", { email: newEmail() }));
await call("admin.generateLink email_change_new", link("email_change_new", { newEmail: newEmail() }));
const token_hash = recovery.properties?.hashed_token ?? "";
await call("verifyOtp token_hash of generated link", client(key).auth.verifyOtp({ type: "recovery", token_hash }));
await call("admin.inviteUserByEmail", admin.admin.inviteUserByEmail(newEmail()));
await call("admin.mfa.listFactors", admin.admin.mfa.listFactors({ userId: id }));
await call("admin.deleteUser soft", admin.admin.deleteUser(id, true));
await call("admin.deleteUser", admin.admin.deleteUser(id));
await call("admin.deleteUser again", admin.admin.deleteUser(id));
await call("admin.listUsers with publishable key", client(key).auth.admin.listUsers());

const leaving = await newUser();
async function leave(scope, name) {
  const auth = client(key).auth;
  await auth.signInWithPassword({ email: leaving.email, password: PASSWORD });
  await call(`signOut ${scope}`, auth.signOut({ scope }));
  await call(`getUser after signOut ${scope}`, auth.getUser());
}
await leave("others");
await leave("local");
await leave("global");
const last = client(key).auth;
const ended = await last.signInWithPassword({ email: leaving.email, password: PASSWORD });
await call("admin.signOut", admin.admin.signOut(ended.data.session.access_token, "global"));
await call("oauth.listClients", admin.admin.oauth.listClients());
await call("passkey/settings fetch", plain("/settings", { headers: { apikey: key } }));

const asked = "apikey,authorization,content-type,x-client-info,x-supabase-api-version";
const preflight = await fetch(`${url}/auth/v1/token?grant_type=password`, {
  method: "OPTIONS",
  headers: {
    Origin: "https://app.example.com",
    "Access-Control-Request-Method": "POST",
    "Access-Control-Request-Headers": asked,
  },
});
const says = (answer, name) => answer.headers.get(`access-control-${name}`);
const allowed = says(preflight, "allow-headers") === asked && says(preflight, "allow-methods").includes("POST");
met["preflight /token"] = `${preflight.ok ? "ok" : preflight.status} acao=${says(preflight, "allow-origin")} ${allowed}`;
const refused = await fetch(`${url}/auth/v1/token?grant_type=password`, {
  method: "POST",
  headers: { Origin: "https://app.example.com", apikey: key, "Content-Type": "application/json" },
  body: JSON.stringify({ email: known.email, password: "wrong" }),
});
const exposed = says(refused, "expose-headers");
met["cors header on POST"] = `${refused.status} acao=${says(refused, "allow-origin")} aceh=${exposed}`;
const browser = { apikey: secret, Authorization: `Bearer ${secret}`, "User-Agent": "Mozilla/5.0" };
met["browser UA with secret key"] = String((await fetch(`${url}/auth/v1/admin/users`, { headers: browser })).status);

console.log(JSON.stringify(met));

async function plain(path, options) {
  const answer = await fetch(`${url}/auth/v1${path}`, options);
  return { error: answer.ok ? null : { status: answer.status } };
}
