// Requests to backends, sign-ins with a provider, cookie mode.
import assert from "node:assert/strict";
import { test } from "node:test";
import { authByGateway } from "../auth-by-gateway.mjs";
import { createAuth, MemoryStorage } from "../dist/index.js";
import { challengeOf } from "../dist/pkce.js";
import { Gateway, URL_ } from "./gateway.mjs";

const WHO = { email: "ada@example.com", password: "secret" };

async function signedIn(options = {}) {
  const gateway = new Gateway();
  const storage = new MemoryStorage();
  const auth = createAuth({ url: URL_, mode: "token", storage, fetch: gateway.fetch, ...options });
  await auth.login(WHO);
  return { gateway, auth };
}

test("the token goes to the named backends and to nobody else", async () => {
  const { auth } = await signedIn({ backends: ["https://api.example.com/v1"] });
  const sent = async (url) => (await (await auth.fetch(url)).json()).authorization;

  assert.equal(await sent("https://api.example.com/reports"), `Bearer ${await auth.accessToken()}`);
  for (const url of ["https://example.com/", "http://api.example.com/", "https://api.example.com:8443/", "https://api.example.com.evil.net/"]) {
    assert.equal(await sent(url), null, url);
  }
});

test("a backend that refuses the token gets a new one, with the same body", async () => {
  const { auth, gateway } = await signedIn({ backends: ["https://api.example.com"] });
  const url = "https://api.example.com/reports";
  gateway.next(url, gateway.problem(401, "token_expired"));

  const answer = await auth.fetch(url, { method: "POST", body: JSON.stringify({ a: 1 }), headers: { "X-A": "b" } });

  assert.equal(answer.status, 200);
  const [first, , second] = gateway.requests.slice(1);
  assert.notEqual(first.request.headers.get("authorization"), second.request.headers.get("authorization"));
  assert.deepEqual([second.body, second.request.headers.get("x-a")], [{ a: 1 }, "b"]);
});

test("a 401 that is not about the token is the page's", async () => {
  const { auth, gateway } = await signedIn({ backends: ["https://api.example.com"] });
  gateway.next("https://api.example.com/", [401, "<html>"]);

  assert.equal((await auth.fetch("https://api.example.com/")).status, 401);
  assert.equal(gateway.count("POST /refresh"), 0);
});

test("the challenge of a verifier is the one of RFC 7636", async () => {
  assert.equal(
    await challengeOf("dBjftJeZ4CVP-mB92K27uhbUJU1p1r_wW1gFWFOEjXk"),
    "E9Melhoa2OwvFrEMTJguCHaoeK1t8URWbuGJSstw-cM",
  );
});

test("a sign-in with a provider sends its own verifier, and a mailed code none", async () => {
  const { auth, gateway } = await signedIn();
  const address = new URL(await auth.providerUrl("github", "https://app.example.com/welcome"));
  gateway.next("/exchange", [200, gateway.session()], [200, gateway.session()], [200, gateway.session()]);

  await auth.exchange("7c9b0f3e-6a54-4d0e-9a3c-2f1d8e5b7a61", { password: "a new one" });
  assert.deepEqual(gateway.requests.at(-1).body, {
    code: "7c9b0f3e-6a54-4d0e-9a3c-2f1d8e5b7a61",
    password: "a new one",
  });
  const again = new URL(await auth.providerUrl("github", "https://app.example.com/welcome"));
  await auth.finishLogin("https://app.example.com/welcome?code=sealed&tab=2");

  assert.equal(address.origin + address.pathname, `${URL_}/api/v1/auth/authorize/github`);
  assert.equal(address.searchParams.get("redirect_to"), "https://app.example.com/welcome");
  const { code, code_verifier } = gateway.requests.at(-1).body;
  assert.equal(code, "sealed");
  assert.equal(await challengeOf(code_verifier), again.searchParams.get("code_challenge"));
});

test("a provider that refused is an error of its own", async () => {
  const { auth } = await signedIn();
  const page = "https://app.example.com/welcome?error=";

  await assert.rejects(auth.finishLogin(`${page}access_denied&error_description=Call+us`), {
    code: "access_denied",
    message: "The sign-in was cancelled or refused.",
  });
  await assert.rejects(auth.finishLogin(`${page}invented`), { code: "server_error" });
  assert.equal(await auth.finishLogin("https://app.example.com/welcome"), null);
});

test("in cookie mode every call has the cookie, and none a token", async () => {
  const gateway = new Gateway();
  const auth = createAuth({ url: URL_, mode: "cookie", fetch: gateway.fetch, backends: ["https://api.example.com"] });
  const events = [];
  for (const name of ["signed-in", "refreshed", "signed-out"]) auth.on(name, () => events.push(name));
  const shown = { user: { id: "user-1" }, expires_at: 1_800_000_000 };
  gateway.next("/login", [200, shown]);
  gateway.next("/refresh", [200, shown]);

  await auth.login(WHO);
  await auth.refresh();
  await auth.fetch("https://api.example.com/");

  assert.deepEqual(await auth.session(), shown);
  assert.equal(await auth.accessToken(), null);
  assert.deepEqual(gateway.asked, ["POST /login", "POST /refresh", "GET https://api.example.com/"]);
  for (const { request } of gateway.requests) {
    assert.deepEqual([request.credentials, request.headers.get("authorization")], ["include", null]);
  }
  assert.equal(gateway.requests[1].body, undefined);
  gateway.next("/me", gateway.problem(401, "session_expired"));
  await assert.rejects(auth.me(), { code: "session_expired" });
  assert.deepEqual([await auth.session(), events], [null, ["signed-in", "refreshed", "signed-out"]]);
});

test("in cookie mode the gateway is asked once whether there is a session", async () => {
  const gateway = new Gateway();
  const auth = createAuth({ url: URL_, mode: "cookie", fetch: gateway.fetch });
  gateway.next("/me", gateway.problem(503, "busy"), gateway.problem(401, "token_missing"));

  await assert.rejects(auth.session(), { code: "busy" });
  assert.equal(await auth.session(), null);
  assert.equal(await auth.session(), null);

  assert.equal(gateway.count("GET /me"), 2);
});

test("supabase-js gets two addresses", async () => {
  const asked = [];
  const send = async (input, init) => {
    const request = new Request(input, init);
    asked.push([request.method, request.url]);
    return new Response("{}");
  };
  const fetch = authByGateway("https://abcdefgh.supabase.co", URL_, send);

  await fetch("https://abcdefgh.supabase.co/auth/v1/token?grant_type=password", { method: "POST", body: "{}" });
  await fetch(new Request("https://abcdefgh.supabase.co/auth/v1/user"));
  await fetch(new URL("https://abcdefgh.supabase.co/rest/v1/users"));

  assert.deepEqual(asked, [
    ["POST", `${URL_}/auth/v1/token?grant_type=password`],
    ["GET", `${URL_}/auth/v1/user`],
    ["GET", "https://abcdefgh.supabase.co/rest/v1/users"],
  ]);
});
