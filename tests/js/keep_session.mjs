// Signs in and, for each line on stdin, refreshes the session: node keep_session.mjs URL KEY EMAIL PASSWORD
//
// Prints "ready", then one JSON object for each line: the error's name, and whether the client still has a session.
import { createInterface } from "node:readline";
import { createClient } from "@supabase/supabase-js";
import WebSocket from "ws";

const [url, key, email, password] = process.argv.slice(2);
const kept = new Map();
const storage = {
  getItem: (name) => kept.get(name) ?? null,
  setItem: (name, value) => void kept.set(name, value),
  removeItem: (name) => void kept.delete(name),
};
const options = {
  auth: { persistSession: true, autoRefreshToken: false, storage },
  // Node before 22 has no WebSocket of its own, and the client insists on one.
  realtime: { transport: WebSocket },
};
const supabase = createClient(url, key, options);

const { error } = await supabase.auth.signInWithPassword({ email, password });
if (error) throw error;
console.log("ready");
for await (const _ of createInterface({ input: process.stdin })) {
  const refreshed = await supabase.auth.refreshSession();
  console.log(JSON.stringify({ error: refreshed.error?.name ?? null, kept: kept.size > 0 }));
}
process.exit(0);
