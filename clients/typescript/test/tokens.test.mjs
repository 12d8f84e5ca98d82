// The session in token mode: when it is refreshed, and that nothing but its end ends it.
import assert from "node:assert/strict";
import { mock, test } from "node:test";
import { createAuth, MemoryStorage } from "../dist/index.js";
import { Gateway, URL_ } from "./gateway.mjs";

const WHO = { email: "ada@example.com", password: "secret" };
const HOUR_MS = 3_600_000;

/** A tab: a client, and the events that it told. */
function tab(gateway, storage, options = {}) {
  const auth = createAuth({ url: URL_, mode: "token", storage, fetch: gateway.fetch, ...options });
  const events = [];
  for (const name of ["signed-in", "refreshed", "signed-out"]) auth.on(name, () => events.push(name));
  return { auth, events };
}

/** A tab with a session, in a world whose clock is moved by hand. */
async function signedIn(t, options = {}) {
  mock.timers.enable({ apis: ["Date", "setInterval"], now: 1_800_000_000_000 });
  t.after(() => mock.timers.reset());
  const gateway = new Gateway();
  const storage = options.storage ?? new MemoryStorage();
  const one = tab(gateway, storage, options);
  t.after(() => one.auth.close());
  await one.auth.login(WHO);
  return { gateway, storage, ...one };
}

async function eventually(isSo) {
  for (const ends = performance.now() + 30_000; !isSo(); ) {
    assert.ok(performance.now() < ends, "it never came to that");
    await settled();
  }
}

const settled = () => new Promise((done) => setTimeout(done, 5));
const kept = (storage) => JSON.parse(storage.getItem("velro-auth:auth.example.com"));

test("a good token is not refreshed", async (t) => {
  const { auth, gateway, events } = await signedIn(t);
  mock.timers.tick(HOUR_MS - 61_000);

  const token = await auth.accessToken();

  assert.ok(token);
  assert.equal(gateway.count("POST /refresh"), 0);
  assert.deepEqual(events, ["signed-in"]);
});

test("fifty calls refresh once", async (t) => {
  const { auth, gateway, events } = await signedIn(t);
  mock.timers.tick(HOUR_MS - 59_000);

  const tokens = new Set(await Promise.all(Array.from({ length: 50 }, () => auth.accessToken())));

  assert.equal(tokens.size, 1);
  assert.equal(gateway.count("POST /refresh"), 1);
  assert.deepEqual(events, ["signed-in", "refreshed"]);
});

test("fifty calls that cannot refresh ask once", async (t) => {
  const { auth, gateway } = await signedIn(t);
  gateway.next("/refresh", ...Array(50).fill(gateway.problem(503, "resting", {}, { "Retry-After": "5" })));
  mock.timers.tick(HOUR_MS);

  const calls = await Promise.allSettled(Array.from({ length: 50 }, () => auth.accessToken()));

  assert.deepEqual(new Set(calls.map((call) => call.reason?.code)), new Set(["resting"]));
  assert.equal(gateway.count("POST /refresh"), 1);
});

test("a token of few seconds is not refreshed with every call", async (t) => {
  const { auth, gateway } = await signedIn(t);
  gateway.lifetime = 40;
  await auth.login(WHO);

  await auth.accessToken();
  assert.equal(gateway.count("POST /refresh"), 0);
  mock.timers.tick(31_000);
  await auth.accessToken();

  assert.equal(gateway.count("POST /refresh"), 1);
});

test("two tabs without Web Locks refresh once", async (t) => {
  const { auth, gateway, storage } = await signedIn(t);
  const other = tab(gateway, storage);
  mock.timers.tick(HOUR_MS);
  mock.timers.reset();
  mock.timers.enable({ apis: ["Date"], now: 1_800_000_000_000 + HOUR_MS });
  gateway.delay = settled;

  const tokens = await Promise.all([auth.accessToken(), other.auth.accessToken()]);

  assert.equal(tokens[0], tokens[1]);
  assert.equal(gateway.count("POST /refresh"), 1);
  assert.equal(storage.getItem("velro-auth:auth.example.com:lease"), null);
});

/** The storage of one origin as its tabs see it: what another tab wrote shows *laterMs* after it was written. */
class SlowlySharedStorage {
  #views = [];
  constructor(laterMs) {
    this.laterMs = laterMs;
  }

  /** The storage of a further tab. */
  view() {
    const mine = new MemoryStorage();
    const others = () => this.#views.filter((view) => view !== mine);
    const write = (change) => {
      change(mine);
      setTimeout(() => others().forEach(change), this.laterMs);
    };
    this.#views.push(mine);
    return {
      getItem: (key) => mine.getItem(key),
      setItem: (key, value) => write((view) => view.setItem(key, value)),
      removeItem: (key) => write((view) => view.removeItem(key)),
    };
  }
}

/** Gives this program the Web Locks of a browser: one holder at a time; the next one follows at once. */
function webLocks(t) {
  let last = Promise.resolve();
  const locks = {
    granted: 0,
    request: (_name, _options, work) => {
      const held = last.then(() => {
        locks.granted += 1;
        return work();
      });
      last = held.catch(() => undefined);
      return held;
    },
  };
  const before = Object.getOwnPropertyDescriptor(globalThis, "navigator");
  Object.defineProperty(globalThis, "navigator", { configurable: true, value: { locks } });
  t.after(() => {
    delete globalThis.navigator;
    if (before) Object.defineProperty(globalThis, "navigator", before);
  });
  return locks;
}

test("two tabs with Web Locks refresh once, though what one wrote reaches the other after the lock", async (t) => {
  const locks = webLocks(t);
  const shared = new SlowlySharedStorage(10);
  const views = [shared.view(), shared.view()];
  const { auth, gateway } = await signedIn(t, { storage: views[0] });
  const other = tab(gateway, views[1]);
  t.after(() => other.auth.close());
  await eventually(() => kept(views[1]));
  mock.timers.tick(HOUR_MS);
  locks.granted = 0;

  const tokens = await Promise.all([auth.accessToken(), other.auth.accessToken()]);

  assert.equal(tokens[0], tokens[1]);
  assert.equal(gateway.count("POST /refresh"), 1);
  assert.equal(locks.granted, 2);
});

const KEEP = {
  "503 busy": (gateway) => gateway.problem(503, "busy", {}, { "Retry-After": "7" }),
  "429 of a proxy": () => [429, "<html>", { "Retry-After": "7" }],
  "401 of a proxy": () => [401, "<html>"],
  "404 of a proxy": () => [404, "<html>"],
  "500 internal_error": (gateway) => gateway.problem(500, "internal_error"),
  "200 with a page": () => [200, "<html>"],
  "no network": () => () => Promise.reject(new TypeError("fetch failed")),
};

for (const [name, answer] of Object.entries(KEEP)) {
  test(`${name} keeps the session`, async (t) => {
    const { auth, gateway, events, storage } = await signedIn(t);
    const old = kept(storage).access_token;
    gateway.next("/refresh", answer(gateway), answer(gateway));

    // Still good for half a minute: it is given out.
    mock.timers.tick(HOUR_MS - 30_000);
    assert.equal(await auth.accessToken(), old);
    // Over: the error is told, and the session stays.
    mock.timers.tick(90_000);
    await assert.rejects(auth.accessToken(), { name: "AuthError" });
    assert.equal((await auth.session()).user.id, "user-1");
    // The gateway is well again.
    mock.timers.tick(120_000);
    assert.notEqual(await auth.accessToken(), old);
    assert.deepEqual(events, ["signed-in", "refreshed"]);
  });
}

for (const code of ["session_expired", "token_invalid"]) {
  test(`${code} of a refresh ends the session`, async (t) => {
    const { auth, gateway, events, storage } = await signedIn(t);
    gateway.next("/refresh", gateway.problem(401, code));
    mock.timers.tick(HOUR_MS);

    await assert.rejects(auth.accessToken(), { code });

    assert.equal(await auth.session(), null);
    assert.equal(storage.getItem("velro-auth:auth.example.com"), null);
    assert.deepEqual(events, ["signed-in", "signed-out"]);
  });
}

test("Retry-After is waited for, and told", async (t) => {
  const { auth, gateway } = await signedIn(t);
  gateway.next("/refresh", gateway.problem(503, "busy", {}, { "Retry-After": "30" }));
  mock.timers.tick(HOUR_MS);
  await assert.rejects(auth.accessToken(), { code: "busy", retryAfter: 30 });

  mock.timers.tick(10_000);
  await assert.rejects(auth.accessToken(), { code: "busy", retryAfter: 20 });
  assert.equal(gateway.count("POST /refresh"), 1);

  mock.timers.tick(20_000);
  assert.ok(await auth.accessToken());
});

test("without Retry-After the waits grow, to a minute at most", async (t) => {
  const { auth, gateway } = await signedIn(t);
  gateway.next("/refresh", ...Array(60).fill([502, "<html>"]));
  mock.timers.tick(HOUR_MS);

  for (let second = 0; second < 600; second += 1) {
    await assert.rejects(auth.accessToken(), { status: 502 });
    mock.timers.tick(1_000);
  }

  const tries = gateway.count("POST /refresh");
  // Waits that only doubled would make at most eleven.
  assert.ok(tries >= 13 && tries <= 40, String(tries));
});

test("a page that slept refreshes when it wakes up", async (t) => {
  const { gateway, events, storage } = await signedIn(t, { autoRefresh: true });
  const old = kept(storage).refresh_token;

  // The clock jumps, and the timers fire once.
  mock.timers.setTime(1_800_000_000_000 + 9 * HOUR_MS);
  mock.timers.tick(15_000);

  await eventually(() => kept(storage).refresh_token !== old);
  assert.equal(gateway.count("POST /refresh"), 1);
  assert.deepEqual(events, ["signed-in", "refreshed"]);
});

/** What a browser gives a page, as far as the client looks at it. */
function aPage(t, visibilityState = "visible") {
  globalThis.window = new EventTarget();
  globalThis.document = Object.assign(new EventTarget(), { visibilityState });
  t.after(() => {
    delete globalThis.window;
    delete globalThis.document;
  });
}

test("a hidden page leaves the refresh to others until it is shown", async (t) => {
  aPage(t, "hidden");
  const { gateway, storage } = await signedIn(t);
  const old = kept(storage).refresh_token;
  mock.timers.tick(2 * HOUR_MS);
  await settled();
  assert.equal(gateway.count("POST /refresh"), 0);

  document.visibilityState = "visible";
  document.dispatchEvent(new Event("visibilitychange"));

  await eventually(() => kept(storage).refresh_token !== old);
});

test("a page that is online again does not wait", async (t) => {
  aPage(t);
  const { auth, gateway, storage } = await signedIn(t);
  const old = kept(storage).refresh_token;
  gateway.next("/refresh", gateway.problem(503, "busy", {}, { "Retry-After": "600" }));
  mock.timers.tick(HOUR_MS);
  await assert.rejects(auth.accessToken(), { code: "busy" });

  window.dispatchEvent(new Event("online"));

  await eventually(() => kept(storage).refresh_token !== old);
});

test("a page notices what another tab wrote, and a closed client does not", async (t) => {
  aPage(t);
  const { auth, storage, events } = await signedIn(t);
  const changed = (key) => window.dispatchEvent(Object.assign(new Event("storage"), { key }));
  storage.removeItem("velro-auth:auth.example.com");
  changed("velro-auth:auth.example.org");
  await settled();
  assert.deepEqual(events, ["signed-in"]);

  changed("velro-auth:auth.example.com");
  await eventually(() => events.length === 2);
  assert.deepEqual(events, ["signed-in", "signed-out"]);

  auth.on("signed-in", () => events.push("heard"));
  auth.close();
  storage.setItem("velro-auth:auth.example.com", JSON.stringify({ ...new Gateway().session(), received_at: Date.now() }));
  changed(null);
  await settled();
  assert.deepEqual(events, ["signed-in", "signed-out"]);
});

test("the lease of a tab that is gone ends", async (t) => {
  const { auth, gateway, storage } = await signedIn(t);
  mock.timers.tick(HOUR_MS);
  storage.setItem("velro-auth:auth.example.com:lease", `another ${Date.now() + 15_000}`);

  const token = auth.accessToken();
  await settled();
  assert.equal(gateway.count("POST /refresh"), 0);
  mock.timers.tick(15_000);

  assert.ok(await token);
});

test("a clock that is set back makes no token older or younger than it is", async (t) => {
  const { auth, gateway } = await signedIn(t);
  mock.timers.reset();
  mock.timers.enable({ apis: ["Date"], now: 1_700_000_000_000 });

  assert.ok(await auth.accessToken());
  assert.ok(await auth.accessToken());

  // Once, because nobody knows how long the token was good; its answer is dated by the new clock.
  assert.equal(gateway.count("POST /refresh"), 1);
});

test("a clock that is set back ends no wait too late", async (t) => {
  const { auth, gateway } = await signedIn(t);
  mock.timers.tick(HOUR_MS);
  gateway.next("/refresh", gateway.problem(503, "busy", {}, { "Retry-After": "30" }));
  await assert.rejects(auth.accessToken(), { code: "busy" });
  mock.timers.reset();
  mock.timers.enable({ apis: ["Date"], now: 1_700_000_000_000 });

  assert.ok(await auth.accessToken());
});

test("a refused token is refreshed, and the call sent once more", async (t) => {
  const { auth, gateway, events } = await signedIn(t);
  gateway.next("/me", gateway.problem(401, "token_expired"));
  const me = await auth.me();

  assert.equal(me.authorization, `Bearer ${await auth.accessToken()}`);
  assert.deepEqual(gateway.asked.slice(1), ["GET /me", "POST /refresh", "GET /me"]);
  assert.deepEqual(events, ["signed-in", "refreshed"]);
});

test("a token that is refused again ends nothing", async (t) => {
  const { auth, gateway } = await signedIn(t);
  gateway.next("/me", gateway.problem(401, "token_invalid"), gateway.problem(401, "token_invalid"));

  await assert.rejects(auth.me(), { code: "token_invalid" });

  assert.ok(await auth.session());
});

test("a session that ended elsewhere is noticed with the next call", async (t) => {
  const { auth, gateway, events } = await signedIn(t);
  gateway.next("/me", gateway.problem(401, "token_invalid"));
  gateway.next("/refresh", gateway.problem(401, "session_expired"));

  await assert.rejects(auth.me(), { code: "session_expired" });

  assert.deepEqual(events, ["signed-in", "signed-out"]);
});

test("a refresh that another tab won is not an end", async (t) => {
  const { auth, gateway, storage, events } = await signedIn(t);
  mock.timers.tick(HOUR_MS);
  // The other tab had no lock to wait for; it wrote while this one asked.
  gateway.next("/refresh", () => {
    const session = { ...gateway.session(), received_at: Date.now() };
    storage.setItem("velro-auth:auth.example.com", JSON.stringify(session));
    return gateway.problem(401, "session_expired");
  });

  assert.equal(await auth.accessToken(), kept(storage).access_token);
  assert.deepEqual(events, ["signed-in", "refreshed"]);
});

test("a logout in another tab counts more than a refresh that was on its way", async (t) => {
  const { auth, gateway, storage, events } = await signedIn(t);
  mock.timers.tick(HOUR_MS);
  gateway.next("/refresh", () => {
    storage.removeItem("velro-auth:auth.example.com");
    return [200, gateway.session()];
  });

  await assert.rejects(auth.accessToken(), { code: "signed_out" });

  assert.equal(await auth.session(), null);
  assert.deepEqual(events, ["signed-in", "signed-out"]);
});

test("a login in another tab counts more than a refresh that was on its way", async (t) => {
  const { auth, gateway, storage } = await signedIn(t);
  mock.timers.tick(HOUR_MS);
  gateway.next("/refresh", () => {
    const refreshed = gateway.session();
    storage.setItem("velro-auth:auth.example.com", JSON.stringify({ ...gateway.session(), received_at: Date.now() }));
    return [200, refreshed];
  });

  await auth.accessToken();

  assert.equal(kept(storage).refresh_token, "refresh-3");
});

test("a logout waits for the refresh, and its session stays out", async (t) => {
  const { auth, gateway, storage } = await signedIn(t);
  mock.timers.tick(HOUR_MS);
  const refresh = auth.accessToken();
  await auth.logout({ scope: "local" });
  await refresh;

  assert.deepEqual(gateway.asked.slice(1), ["POST /refresh", "POST /logout?scope=local"]);
  assert.equal(gateway.requests.at(-1).body.refresh_token, "refresh-2");
  assert.equal(storage.getItem("velro-auth:auth.example.com"), null);
});

test("a logout that could not be done leaves the session", async (t) => {
  const { auth, gateway, events } = await signedIn(t);
  gateway.next("/logout", gateway.problem(503, "resting", {}, { "Retry-After": "5" }));
  await assert.rejects(auth.logout(), { code: "resting" });
  assert.ok(await auth.session());

  gateway.next("/logout?scope=others", [200, { message: "Logged out" }]);
  await auth.logout({ scope: "others" });
  assert.ok(await auth.session());

  gateway.next("/logout", gateway.problem(401, "token_invalid"));
  await auth.logout();
  assert.equal(await auth.session(), null);
  assert.deepEqual(events, ["signed-in", "signed-out"]);
});

test("a session can be forgotten without the gateway", async (t) => {
  const { auth, gateway, events } = await signedIn(t);
  await auth.forget();

  assert.deepEqual(gateway.asked, ["POST /login"]);
  assert.deepEqual(events, ["signed-in", "signed-out"]);
});

test("an aborted call does not take the refresh from the others", async (t) => {
  const { auth, gateway } = await signedIn(t);
  mock.timers.tick(HOUR_MS);
  gateway.delay = settled;
  const controller = new AbortController();

  const aborted = auth.accessToken({ signal: controller.signal });
  const other = auth.accessToken();
  controller.abort(new Error("the person left"));

  await assert.rejects(aborted, { message: "the person left" });
  assert.ok(await other);
});

test("another user in the same browser is a sign-in", async (t) => {
  const { auth, gateway, events } = await signedIn(t);
  gateway.sessionId = "session-2";
  await auth.login(WHO);

  assert.deepEqual(events, ["signed-in", "signed-in"]);
});

test("a storage that refuses is no reason to lose the session", async (t) => {
  const refuses = () => {
    throw new DOMException("full", "QuotaExceededError");
  };
  const { auth, gateway } = await signedIn(t, { storage: { getItem: () => null, setItem: refuses, removeItem: refuses } });
  mock.timers.tick(HOUR_MS);

  assert.ok(await auth.accessToken());
  assert.equal(gateway.count("POST /refresh"), 1);
});

test("what stands in the storage may be anything", async () => {
  for (const text of ["", "{", "null", "[]", '"x"', '{"refresh_token": "a"}']) {
    const storage = new MemoryStorage();
    storage.setItem("velro-auth:auth.example.com", text);
    assert.equal(await tab(new Gateway(), storage).auth.session(), null, text);
  }
});

test("a storage may be asynchronous", async (t) => {
  const memory = new MemoryStorage();
  const later = (name) => async (...values) => memory[name](...values);
  const storage = { getItem: later("getItem"), setItem: later("setItem"), removeItem: later("removeItem") };
  const { auth } = await signedIn(t, { storage });

  assert.ok(await auth.accessToken());
  assert.ok(kept(memory).refresh_token);
});

test("a listener that fails ends no refresh", async (t) => {
  const { auth } = await signedIn(t);
  const reported = [];
  // As browsers have it.
  globalThis.reportError = (error) => reported.push(error.message);
  t.after(() => delete globalThis.reportError);
  auth.on("refreshed", () => {
    throw new Error("a defect of the page");
  });

  assert.ok(await auth.refresh());
  assert.deepEqual(reported, ["a defect of the page"]);
});

test("a listener can be taken off", async (t) => {
  const { auth } = await signedIn(t);
  const events = [];
  const stop = auth.on("refreshed", (session) => events.push(session.user.id));
  await auth.refresh();
  stop();
  await auth.refresh();

  assert.deepEqual(events, ["user-1"]);
});
