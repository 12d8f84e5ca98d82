/**
 * Returns a `fetch` for `createClient(project, key, { global: { fetch } })` that sends calls of the authentication
 * server to the gateway, and everything else (data, storage, functions) to the project itself.
 *
 * @param {string} project The project's address, as given to `createClient`.
 * @param {string} gateway The gateway's address.
 * @param {typeof fetch} send What sends the requests.
 * @returns {typeof fetch}
 */
export function authByGateway(project: string, gateway: string, send?: typeof fetch): typeof fetch;
