// The life of a user, as a page or a program calls it. It runs in node and in a browser, in both modes.

/** Steps that a life has taken. A step that goes wrong ends it with its name. */
class Steps {
  told = [];

  async run(name, work) {
    try {
      this.told.push([name, await work()]);
    } catch (error) {
      throw new Error(`${name}: ${error.code ?? ""} ${error.stack ?? error}`, { cause: error });
    }
  }

  /** Expects an error and tells its code. */
  async refused(name, work) {
    await this.run(name, async () => {
      try {
        await work();
      } catch (error) {
        if (error.name === "AuthError") return error.code;
        throw error;
      }
      throw new Error("there was no error");
    });
  }
}

/**
 * Lives a life and returns what each step told.
 *
 * @param auth A client of velro-auth.
 * @param {{ email: string, newEmail: string, page: string,
 *   mail: (to: string, kind: string) => Promise<{ token_hash: string, token: string }>,
 *   elsewhere: (email: string, password: string) => Promise<string> }} world
 *   Addresses that nobody has, the page that mails lead to, the mailbox, and a login on another device, which returns
 *   the id of its session.
 */
export async function live(auth, { email, newEmail, page, mail, elsewhere }) {
  const steps = new Steps();
  const events = [];
  for (const name of ["signed-in", "refreshed", "signed-out"]) auth.on(name, () => events.push(name));
  let password = "a first password 1!";
  const login = () => auth.login({ email, password });

  await steps.run("nobody is there", () => auth.session());
  await steps.run("sign up", async () => {
    return (await auth.signUp({ email, password, display_name: "Ada", redirect_to: page })).status;
  });
  await steps.run("have the mail again", async () => (await auth.resendSignUp({ email })).status);
  await steps.refused("log in too early", login);
  await steps.refused("confirm with a wrong code", () => auth.confirm({ email, token: "000000", type: "signup" }));
  await steps.run("confirm", async () => {
    const { token_hash } = await mail(email, "signup");
    return (await auth.confirm({ token_hash, type: "signup", password })).user.email === email;
  });
  await steps.run("log out", () => auth.logout());
  await steps.refused("a wrong password", () => auth.login({ email, password: "wrong" }));
  await steps.run("log in", async () => (await login()).user.email === email);
  await steps.run("who am I", async () => (await auth.me()).full_name);
  await steps.run("another name", async () => (await auth.updateMe({ display_name: "Ada L." })).display_name);

  await steps.run("forget the password", async () => (await auth.forgotPassword({ email, redirect_to: page })).status);
  await steps.run("set another one", async () => {
    const { token_hash } = await mail(email, "recovery");
    let proof = { token_hash };
    try {
      await auth.resetPassword({ ...proof, password: "a" });
    } catch (error) {
      // The link is spent: the ticket takes its place.
      proof = { ticket: error.ticket };
      if (error.code !== "weak_password" || !error.ticket) throw error;
    }
    password = "a second password 2!";
    return (await auth.resetPassword({ ...proof, password })).user.email === email;
  });

  let factor;
  await steps.run("add a factor", async () => {
    factor = await auth.factors.enrol({ friendly_name: "phone" });
    const session = await auth.factors.verify(factor.id, { code: await totp(factor.totp.secret) });
    const [{ status }] = await auth.factors.list();
    return [session.mfa ?? null, status];
  });
  await steps.run("log in with it", async () => {
    await auth.logout();
    const { mfa } = await login();
    return mfa.required && mfa.factors[0].id === factor.id;
  });
  await steps.refused("a wrong code of it", () => auth.factors.verify(factor.id, { code: "000000" }));
  await steps.run("a right code of it", async () => {
    const { id } = await auth.factors.challenge(factor.id);
    const code = await totp(factor.totp.secret);
    await auth.factors.verify(factor.id, { code, challenge_id: id });
    return (await auth.me()).aal;
  });
  await steps.run("change the password", async () => {
    const current_password = password;
    password = "a third password 3!";
    await auth.changePassword({ password, current_password });
    return (await auth.me()).aal;
  });
  await steps.refused("the same again", () => auth.changePassword({ password, current_password: password }));
  await steps.run("refresh", async () => (await auth.refresh()).user.email === email);

  await steps.run("list the sessions, end one", async () => {
    const other = await elsewhere(email, password);
    const before = (await auth.sessions.list()).map((session) => session.id);
    await auth.sessions.end(other);
    const after = (await auth.sessions.list()).map((session) => session.id);
    return before.includes(other) && !after.includes(other) && after.length === before.length - 1;
  });

  await steps.run("another address", async () => {
    await auth.updateMe({ email: newEmail, redirect_to: page });
    const first = await auth.confirm({ token_hash: (await mail(email, "email_change")).token_hash, type: "email_change" });
    const second = await auth.confirm({
      token_hash: (await mail(newEmail, "email_change")).token_hash,
      type: "email_change",
    });
    return [first.status, second.user.email === newEmail];
  });
  await steps.run("remove the factor", async () => {
    await auth.logout();
    await auth.login({ email: newEmail, password });
    await auth.factors.verify(factor.id, { code: await totp(factor.totp.secret) });
    await auth.factors.remove(factor.id, { current_password: password });
    return (await auth.factors.list()).length;
  });
  await steps.run("sign in by mail", async () => {
    await auth.logout();
    await auth.sendCode({ email: newEmail, redirect_to: page });
    const { token } = await mail(newEmail, "magiclink");
    return (await auth.confirm({ email: newEmail, token, type: "email" })).user.email === newEmail;
  });
  await steps.run("log out for good", async () => {
    await auth.logout({ scope: "global" });
    return await auth.session();
  });
  await steps.refused("nothing is left", () => auth.me());
  return { steps: steps.told, events };
}

/** Returns the code that an authenticator shows now (RFC 6238). */
export async function totp(secret) {
  const alphabet = "ABCDEFGHIJKLMNOPQRSTUVWXYZ234567";
  const bits = [...secret.replaceAll("=", "")].map((letter) => alphabet.indexOf(letter).toString(2).padStart(5, "0")).join("");
  const bytes = Uint8Array.from(bits.match(/.{8}/g), (byte) => parseInt(byte, 2));
  const key = await crypto.subtle.importKey("raw", bytes, { name: "HMAC", hash: "SHA-1" }, false, ["sign"]);
  const counter = new DataView(new ArrayBuffer(8));
  counter.setBigUint64(0, BigInt(Math.floor(Date.now() / 30_000)));
  const mac = new DataView(await crypto.subtle.sign("HMAC", key, counter));
  const start = mac.getUint8(19) & 15;
  return String((mac.getUint32(start) & 0x7fffffff) % 1_000_000).padStart(6, "0");
}
