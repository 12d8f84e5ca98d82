// Serves the page: node examples/spa/serve.mjs. Settings: PORT, GATEWAY, BACKEND, MODE ("token" or "cookie").
//
// What stands below /backend goes to the backend, so that the page needs no CORS for it.
import { createReadStream, existsSync } from "node:fs";
import { createServer, request as ask } from "node:http";
import { extname, join, normalize } from "node:path";
import { fileURLToPath } from "node:url";

const { PORT = "5173", GATEWAY = "http://localhost:8000", BACKEND = "http://localhost:5001", MODE = "token" } = process.env;
const HERE = fileURLToPath(new URL(".", import.meta.url));
// `npm run build` in clients/typescript makes it.
const CLIENT = process.env.CLIENT ?? fileURLToPath(new URL("../../clients/typescript/dist/", import.meta.url));
const TYPES = { ".html": "text/html; charset=utf-8", ".js": "text/javascript" };

createServer((request, response) => {
  const path = normalize(new URL(request.url, "http://page").pathname);
  if (path.startsWith("/backend/")) return relay(request, response, path.slice("/backend".length));
  if (path === "/config.json") {
    response.setHeader("Content-Type", "application/json");
    return response.end(JSON.stringify({ url: GATEWAY, mode: MODE }));
  }
  const file = path.startsWith("/velro-auth/") ? join(CLIENT, path.slice(12)) : join(HERE, path);
  const found = extname(file) in TYPES && existsSync(file) ? file : join(HERE, "index.html");
  response.setHeader("Content-Type", TYPES[extname(found)]);
  createReadStream(found).pipe(response);
}).listen(Number(PORT), "127.0.0.1", () => console.log(`The page is at http://localhost:${PORT}`));

function relay(request, response, path) {
  const { authorization } = request.headers;
  const asked = ask(new URL(path, BACKEND), { method: request.method, headers: { ...(authorization && { authorization }) } });
  asked.on("response", (answer) => {
    response.writeHead(answer.statusCode, { "Content-Type": answer.headers["content-type"] ?? "text/plain" });
    answer.pipe(response);
  });
  asked.on("error", () => response.writeHead(502).end());
  request.pipe(asked);
}
