import assert from "node:assert/strict";
import { test } from "node:test";
import { AuthError, createAuth, ERROR_CODES, MemoryStorage } from "../dist/index.js";
import { Gateway, URL_ } from "./gateway.mjs";

const WHO = { email: "ada@example.com", password: "secret" };

function lab(options = {}) {
  const gateway = new Gateway();
  return { gateway, auth: createAuth({ url: URL_, mode: "token", fetch: gateway.fetch, ...options }) };
}

async function failure(promise) {
  const error = await promise.then(() => assert.fail("there was no error"), (error) => error);
  assert.ok(error instanceof AuthError, error);
  return error;
}

test("an error has what the gateway said", async () => {
  const { gateway, auth } = lab();
  gateway.next("/login", gateway.problem(429, "too_many_attempts", {}, { "Retry-After": "17" }));
  gateway.next("/login", gateway.problem(422, "invalid_request", { errors: { email: ["is wrong"] } }));

  const throttled = await failure(auth.login(WHO));
  const wrong = await failure(auth.login(WHO));

  assert.deepEqual([throttled.code, throttled.status, throttled.retryAfter], ["too_many_attempts", 429, 17]);
  assert.deepEqual([throttled.requestId, throttled.isTemporary], ["id-1", true]);
  assert.deepEqual([wrong.fields, wrong.retryAfter, wrong.isTemporary], [{ email: ["is wrong"] }, null, false]);
});

test("every code of the gateway is known", async () => {
  const { gateway, auth } = lab();
  for (const code of ERROR_CODES) {
    gateway.next("/password/forgot", gateway.problem(400, code));
    assert.equal((await failure(auth.forgotPassword({ email: "a@b.c" }))).code, code);
  }
});

test("what is not the gateway's answer is told apart", async () => {
  const { gateway, auth } = lab();
  gateway.next("/login", [502, "<html>", { "X-Request-ID": "edge-7" }], [200, "<html>"]);
  gateway.next("/login", gateway.problem(400, "code_of_a_newer_gateway"));

  const errors = [await failure(auth.login(WHO)), await failure(auth.login(WHO)), await failure(auth.login(WHO))];

  assert.deepEqual(errors.map((error) => error.code), Array(3).fill("unexpected_answer"));
  assert.deepEqual([errors[0].isTemporary, errors[0].requestId, errors[1].isTemporary], [true, "edge-7", false]);
  assert.equal(errors[2].problem.code, "code_of_a_newer_gateway");
});

test("no answer is a network error, a late one a timeout", async () => {
  const { gateway, auth } = lab();
  gateway.next("/login", () => Promise.reject(new TypeError("fetch failed")));
  assert.equal((await failure(auth.login(WHO))).code, "network_error");

  gateway.delay = () => new Promise(() => {});
  const late = await failure(auth.login(WHO, { timeoutMs: 5 }));

  assert.deepEqual([late.code, late.status, late.isTemporary], ["timeout", 0, true]);
});

test("a call that is aborted rejects with the reason", async () => {
  const { gateway, auth } = lab();
  gateway.delay = () => new Promise(() => {});
  const controller = new AbortController();
  const reason = new Error("the person left");

  const call = auth.login(WHO, { signal: controller.signal });
  controller.abort(reason);

  await assert.rejects(call, (error) => error === reason);
});

test("a call without a session needs no request", async () => {
  const { gateway, auth } = lab({ storage: new MemoryStorage() });

  assert.equal((await failure(auth.me())).code, "signed_out");
  assert.equal(await auth.session(), null);
  assert.equal(await auth.accessToken(), null);
  assert.deepEqual(gateway.asked, []);
});

test("the mode has to fit the gateway", async () => {
  const token = lab();
  token.gateway.next("/login", [200, { user: { id: "1" }, expires_at: 1 }]);
  const cookie = lab({ mode: "cookie" });

  assert.equal((await failure(token.auth.login(WHO))).code, "wrong_mode");
  assert.equal((await failure(cookie.auth.login(WHO))).code, "wrong_mode");
  assert.equal((await failure(cookie.auth.forget())).code, "wrong_mode");
});
