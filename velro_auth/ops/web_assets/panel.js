"use strict";

/* The index page of velro-auth dev: asks for the state each second, and sends what the buttons say. */
(() => {
  const { email, password, addressHeader } = document.body.dataset;
  const LOGIN = "/api/v1/auth/login";
  const EVERY_MS = 1000;
  /* Seconds that the plots show. */
  const SHOWN = 120;
  const MOST_GUESSES = 20;
  const TOKEN_SHOWN = 24;

  const by = (selector) => document.querySelector(selector);
  const { element } = Waterfall;

  /* What an answer means: error code → sentence. */
  const MEANINGS = {
    invalid_credentials: "Refused, like an unknown or banned account: same answer, same time (AUTH_FAILURE_FLOOR_MS).",
    too_many_attempts: "The throttle refused it: Supabase was not asked.",
    challenge_required: "Others used up a shared limit: a solved challenge would go through.",
    upstream_unavailable: "Supabase cannot be reached. No one is told that the password is wrong.",
    upstream_timeout: "Supabase took too long.",
    upstream_error: "Supabase failed. No one is told that the password is wrong.",
    upstream_throttled: "Supabase's own rate limit.",
    resting: "The breaker is open: Supabase is not asked until the time in Retry-After is over.",
    busy: "All permits are in use.",
  };
  const FAULTS = { down: "Supabase is down", slow: "Supabase is slow", failing: "Supabase fails" };

  /* Requests */

  async function send(body, headers = {}) {
    const request = { method: "POST", headers: { "Content-Type": "application/json", ...headers }, body };
    const startedMs = performance.now();
    const answer = await fetch(LOGIN, { ...request, body: JSON.stringify(body), cache: "no-store" });
    const headersMs = performance.now() - startedMs;
    const text = await answer.text();
    const bodyMs = performance.now() - startedMs;
    return { request, status: answer.status, headers: answer.headers, text, headersMs, bodyMs, startedMs };
  }

  const right = () => send({ email, password });
  const wrong = () => send({ email, password: "not-the-password" });

  /* An account and a network of its own (198.18.0.0/15 is for tests), so that no other login has to wait. */
  async function* guesses() {
    const byte = () => Math.floor(Math.random() * 256);
    const headers = { [addressHeader]: `198.${18 + (byte() % 2)}.${byte()}.1` };
    const account = `guessed-${crypto.randomUUID().slice(0, 8)}@example.com`;
    for (let count = 1; count <= MOST_GUESSES; count += 1) {
      const sent = await send({ email: account, password: `guess-${count}` }, headers);
      yield sent;
      if (sent.status === 429) return;
    }
  }

  async function switchFault(fault) {
    const answer = await fetch("/dev/fault", {
      method: "POST",
      headers: { "Content-Type": "application/json" },
      body: JSON.stringify({ fault }),
    });
    if (!answer.ok) throw new Error(`the switch of the local Supabase answers ${answer.status}`);
  }

  /* What happened */

  const shortened = (key, value) =>
    /_token$/.test(key) && typeof value === "string" && value.length > TOKEN_SHOWN
      ? `${value.slice(0, TOKEN_SHOWN)}… (${value.length} characters)`
      : value;

  function pretty(text) {
    try {
      return JSON.stringify(JSON.parse(text), shortened, 2);
    } catch {
      return text;
    }
  }

  const lines = (headers) => [...headers].map(([name, value]) => `${name}: ${value}`).join("\n");

  function told(sent) {
    let body = {};
    try {
      body = JSON.parse(sent.text);
    } catch {
      /* not JSON */
    }
    const { code, access_token: token } = body;
    const retry = sent.headers.get("retry-after");
    const wait = retry ? ` Try again after ${retry} s.` : "";
    const session = token ? "A session." : "A session, in a cookie that no script can read.";
    const meaning = sent.status === 200 ? session : (MEANINGS[code] ?? "");
    return [`${sent.status}${code ? ` ${code}` : ""}`, `${meaning}${wait} ${Math.round(sent.bodyMs)} ms.`];
  }

  /** Show the last of *all* requests, and where the time of all went. */
  function show(all) {
    const sent = all.at(-1);
    const [answer, meaning] = told(sent);
    const after = all.length > 1 ? ` after ${all.length - 1} guesses` : "";
    by("#summary").replaceChildren(
      element("strong", { className: sent.status < 400 ? "good" : sent.status < 500 ? "warning" : "critical" }, answer),
      `${after}. ${meaning}`
    );
    by("#request").textContent =
      `POST ${LOGIN}\n${lines(Object.entries(sent.request.headers))}\n\n${JSON.stringify(sent.request.body, null, 2)}`;
    by("#body").textContent = `${sent.status}\n\n${pretty(sent.text)}`;
    by("#headers").textContent = lines(sent.headers);
    by("#outcome").hidden = false;
    const earlier = all.slice(0, -1).map(({ startedMs, bodyMs, status }, index) => {
      const from = startedMs - all[0].startedMs;
      return { name: `guess ${index + 1}: ${status}`, colour: "c6", from, to: from + bodyMs };
    });
    const shift = sent.startedMs - all[0].startedMs;
    const last = Waterfall.barsOf(sent).map((bar) => ({ ...bar, from: bar.from + shift, to: bar.to + shift }));
    shown = [...earlier, ...last];
    Waterfall.draw(by(".waterfall"), shown);
  }

  let shown = [];
  let shownWidth = 0;
  new ResizeObserver(([{ contentRect }]) => {
    if (contentRect.width === shownWidth) return;
    shownWidth = contentRect.width;
    if (shown.length) Waterfall.draw(by(".waterfall"), shown);
  }).observe(by("#outcome"));

  const TRIES = {
    right: async () => [await right()],
    wrong: async () => [await wrong()],
    throttled: async () => {
      const all = [];
      for await (const sent of guesses()) all.push(sent);
      return all;
    },
  };
  for (const fault of Object.keys(FAULTS)) {
    TRIES[fault] = async () => {
      await switchFault(fault);
      await refresh();
      return [await right()];
    };
  }

  async function press(button, action) {
    const buttons = document.querySelectorAll("button[data-try], #undo");
    for (const one of buttons) one.disabled = true;
    button.setAttribute("aria-busy", "true");
    try {
      await action();
    } catch (error) {
      by("#summary").textContent = `Nothing came back: ${error.message}.`;
      by("#outcome").hidden = true;
    } finally {
      button.removeAttribute("aria-busy");
      for (const one of buttons) one.disabled = false;
      button.focus({ preventScroll: true });
      await refresh();
    }
  }

  for (const button of document.querySelectorAll("button[data-try]")) {
    button.addEventListener("click", () => press(button, async () => show(await TRIES[button.dataset.try]())));
  }
  by("#undo").addEventListener("click", () => press(by("#undo"), () => switchFault(null)));

  by("#copy").addEventListener("click", async () => {
    await navigator.clipboard.writeText(by("#curl").textContent);
    by("#copy").textContent = "Copied";
  });

  /* The live panel */

  const plot = (label, series, more) => ({
    x: { label: "seconds from now", start: -SHOWN, end: 0 },
    y: { label, ...more },
    series,
    height: 170,
    data: [[], ...series.map(() => [])],
  });
  const PLOTS = {
    rate: plot(
      "logins in a second",
      [
        { label: "good", colour: "c4", as: "steps" },
        { label: "refused", colour: "c2", as: "steps" },
        { label: "failed", colour: "c5", as: "steps" },
      ],
      { whole: true }
    ),
    latency: plot("p50 and p95 of the last 5 minutes, ms", [
      { label: "p50", colour: "c1", as: "line" },
      { label: "p95", colour: "c2", as: "line" },
    ]),
  };
  for (const [id, one] of Object.entries(PLOTS)) Plots.keep(by(`#${id}`), one);

  const samples = [];

  function plotSamples() {
    const xs = samples.map((_, index) => index - samples.length + 1);
    const rate = (kind) =>
      samples.map(({ logins }, at) => (at ? Math.max(0, logins[kind] - samples[at - 1].logins[kind]) : null));
    const time = (name) => samples.map(({ window }) => (window.logins ? window[name] : null));
    by("#rate").plot.setData([xs, rate("good"), rate("refused"), rate("failed")]);
    by("#latency").plot.setData([xs, time("p50_ms"), time("p95_ms")]);
  }

  function figure(name, text, grade = "") {
    const place = by(`[data-figure="${name}"]`);
    place.textContent = text;
    place.className = grade;
  }

  function showState({ window, logins, breaker, bulkhead, throttle, mails_withheld: withheld, supabase }) {
    const ms = (value) => (window.logins ? `${Math.round(value)} ms` : "–");
    const open = Object.keys(breaker).filter((state) => breaker[state] && state !== "closed");
    figure("logins", window.logins);
    figure("p50", ms(window.p50_ms));
    figure("p95", ms(window.p95_ms));
    figure("refused", logins.refused);
    figure("throttled", Object.entries(throttle).map(([limit, count]) => `${count} ${limit}`).join(", ") || "0");
    figure("mails", `every mail sent${withheld ? `; ${withheld} withheld by a limit` : ""}`);
    figure("failed", logins.failed, logins.failed ? "critical" : "");
    figure("breaker", open.length ? open.join(", ") : "closed", open.length ? "critical" : "good");
    figure("permits", `${bulkhead.taken} / ${bulkhead.slots}`);
    const { fault } = supabase;
    by("#fault").hidden = !fault && supabase.answers;
    by("#undo").hidden = !fault;
    const met = fault?.met === 1 ? "1 request" : `${fault?.met} requests`;
    by("#fault span").textContent = fault
      ? `${FAULTS[fault.name] ?? fault.name}, on purpose: ${met} met it.`
      : "The local Supabase does not answer: see the terminal.";
  }

  async function refresh() {
    try {
      const answer = await fetch("/dev/state", { cache: "no-store" });
      const state = await answer.json();
      showState(state);
      by("#pulse").hidden = true;
      return state;
    } catch {
      by("#pulse").hidden = false;
      return null;
    }
  }

  async function poll() {
    if (!document.hidden) {
      const state = await refresh();
      if (state) {
        samples.push(state);
        samples.splice(0, Math.max(0, samples.length - SHOWN - 1));
        plotSamples();
      }
    }
    setTimeout(poll, EVERY_MS);
  }

  poll();
})();
