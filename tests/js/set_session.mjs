// Goes on with the tokens of the gateway, as a frontend does: node set_session.mjs URL KEY ACCESS_TOKEN REFRESH_TOKEN
import { createClient } from "@supabase/supabase-js";
import WebSocket from "ws";

const [url, key, access_token, refresh_token] = process.argv.slice(2);
const options = {
  auth: { persistSession: false, autoRefreshToken: false },
  // Node before 22 has no WebSocket of its own, and the client insists on one.
  realtime: { transport: WebSocket },
};
const supabase = createClient(url, key, options);

const set = await supabase.auth.setSession({ access_token, refresh_token });
if (set.error) throw set.error;
const user = await supabase.auth.getUser();
if (user.error) throw user.error;
const refreshed = await supabase.auth.refreshSession();
if (refreshed.error) throw refreshed.error;
console.log(
  JSON.stringify({ id: user.data.user.id, refreshed: refreshed.data.session.refresh_token !== refresh_token }),
);
