/**
 * Returns a `fetch` for `createClient(project, key, { global: { fetch } })` that sends calls of the authentication
 * server to the gateway, and everything else (data, storage, functions) to the project itself.
 *
 * @param {string} project The project's address, as given to `createClient`.
 * @param {string} gateway The gateway's address.
 * @param {typeof fetch} send What sends the requests.
 * @returns {typeof fetch}
 */
export function authByGateway(project, gateway, send = (...request) => fetch(...request)) {
  const prefix = new URL("/auth/v1/", project).href;
  return (input, init) => {
    const url = input instanceof Request ? input.url : String(input);
    if (!url.startsWith(prefix)) return send(input, init);
    const moved = new URL("/auth/v1/" + url.slice(prefix.length), gateway);
    return send(input instanceof Request ? new Request(moved, input) : moved, init);
  };
}
