// Signs in by the gateway and reads data from the project: node two_addresses.mjs CLIENT PROJECT GATEWAY KEY EMAIL PASSWORD
//
// CLIENT is the folder with the built TypeScript client.
import { createClient } from "@supabase/supabase-js";
import WebSocket from "ws";

const [client, project, gateway, key, email, password] = process.argv.slice(2);
const { authByGateway } = await import(`${client}/dist/supabase.js`);
const supabase = createClient(project, key, {
  auth: { persistSession: false, autoRefreshToken: false },
  global: { fetch: authByGateway(project, gateway) },
  // Node before 22 has no WebSocket of its own, and the client insists on one.
  realtime: { transport: WebSocket },
});

const { error } = await supabase.auth.signInWithPassword({ email, password });
if (error) throw error;
const rows = await supabase.from("users").select("id,email");
if (rows.error) throw rows.error;
const user = await supabase.auth.getUser();
if (user.error) throw user.error;
console.log(JSON.stringify({ rows: rows.data.length, same: rows.data[0]?.id === user.data.user.id }));
