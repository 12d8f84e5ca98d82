// Lives the life of a user in node: node live.mjs GATEWAY MAILBOX EMAIL NEW_EMAIL PAGE
import { createAuth, MemoryStorage } from "../dist/index.js";
import { live } from "./life.mjs";

const [url, mailbox, email, newEmail, page] = process.argv.slice(2);

async function mail(to, kind) {
  const mails = await (await fetch(`${mailbox}?to=${encodeURIComponent(to)}`)).json();
  return mails.find((found) => found.type === kind);
}

async function elsewhere(address, password) {
  const other = createAuth({ url, mode: "token", storage: new MemoryStorage() });
  await other.login({ email: address, password });
  return (await other.me()).session_id;
}

const auth = createAuth({ url, mode: "token" });
console.log(JSON.stringify(await live(auth, { email, newEmail, page, mail, elsewhere })));
