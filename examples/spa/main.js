import { AuthError, createAuth } from "velro-auth";

// serve.mjs says where the gateway is, and which mode it is in.
const auth = createAuth(await (await fetch("/config.json")).json());
const element = (id) => document.getElementById(id);
const say = (text) => (element("status").textContent = text);

/** Shows what fits the session: a login, the second factor, or the account. */
async function show(session) {
  element("login").hidden = session !== null;
  element("factor").hidden = !session?.mfa;
  element("account").hidden = session === null || Boolean(session.mfa);
  say(session ? `You are ${session.user.email}.` : "You are not logged in.");
  if (element("account").hidden) return;
  // They need the migrations of the gateway; the page works without.
  const sessions = await auth.sessions.list().catch(() => []);
  element("sessions").replaceChildren(
    ...sessions.map((one) => {
      const item = document.createElement("li");
      item.textContent = `since ${new Date(one.created_at).toLocaleString()}${one.is_current ? ", this one" : ""}`;
      return item;
    }),
  );
}

/** Runs what a click asks for, and shows what went wrong. */
function when(id, event, work) {
  element(id).addEventListener(event, async (fired) => {
    fired.preventDefault();
    try {
      await work(Object.fromEntries(new FormData(event === "submit" ? fired.target : undefined)));
    } catch (error) {
      if (!(error instanceof AuthError)) throw error;
      const wait = error.retryAfter ? ` Try again in ${error.retryAfter} s.` : "";
      say(error.message + wait);
    }
  });
}

when("login", "submit", async (fields) => show(await auth.login(fields)));
when("factor", "submit", async (fields) => {
  const { mfa } = await auth.session();
  await show(await auth.factors.verify(mfa.factors[0].id, fields));
});
when("logout", "click", () => auth.logout());
when("ask", "click", async () => {
  const answer = await auth.fetch("/backend/me");
  say(answer.ok ? `The backend knows you as ${(await answer.json()).email}.` : `The backend answered ${answer.status}.`);
});

// Also when another tab does it, or the session ends.
auth.on("signed-in", show);
auth.on("signed-out", show);
await show((await auth.finishLogin()) ?? (await auth.session()));
