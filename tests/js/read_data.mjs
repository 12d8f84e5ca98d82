// Signs in with the TypeScript client and reads data with supabase-js: node read_data.mjs CLIENT PROJECT GATEWAY KEY EMAIL PASSWORD
//
// CLIENT is the folder with the built TypeScript client.
import { createClient } from "@supabase/supabase-js";
import WebSocket from "ws";

const [client, PROJECT, gateway, KEY, email, password] = process.argv.slice(2);
const { createAuth } = await import(`${client}/dist/index.js`);
const auth = createAuth({ url: gateway, mode: "token" });
const supabase = createClient(PROJECT, KEY, {
  accessToken: () => auth.accessToken(),
  // Node before 22 has no WebSocket of its own, and the client insists on one.
  realtime: { transport: WebSocket },
});

const before = await supabase.from("users").select("id");
const session = await auth.login({ email, password });
const after = await supabase.from("users").select("id");
if (after.error) throw after.error;
console.log(JSON.stringify({ before: before.data?.length ?? 0, same: after.data[0]?.id === session.user.id }));
