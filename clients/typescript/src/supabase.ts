/**
 * Returns a `fetch` for `createClient(project, key, { global: { fetch } })` of supabase-js. It sends calls of the
 * authentication server to the gateway, and everything else (data, storage, functions) to the project itself.
 *
 * @param project The project's address, as given to `createClient`.
 * @param gateway The gateway's address.
 * @param send What sends the requests.
 */
export function authByGateway(
  project: string | URL,
  gateway: string | URL,
  send: typeof fetch = (...request) => fetch(...request),
): typeof fetch {
  const prefix = new URL("/auth/v1/", project).href;
  return (input, init) => {
    const url = input instanceof Request ? input.url : String(input);
    if (!url.startsWith(prefix)) return send(input, init);
    const moved = new URL("/auth/v1/" + url.slice(prefix.length), gateway);
    return send(input instanceof Request ? new Request(moved, input) : moved, init);
  };
}
