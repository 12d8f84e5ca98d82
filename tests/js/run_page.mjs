// Runs TypeScript of a page of the documentation: node run_page.mjs FILE PROJECT GATEWAY KEY EMAIL PASSWORD
import { readFileSync, writeFileSync } from "node:fs";
import { pathToFileURL } from "node:url";
import ts from "typescript";
import WebSocket from "ws";

const [file, PROJECT, GATEWAY, KEY, EMAIL, PASSWORD] = process.argv.slice(2);
Object.assign(globalThis, { PROJECT, GATEWAY, KEY, EMAIL, PASSWORD });
// Node before 22 has no WebSocket of its own, and the client insists on one.
globalThis.WebSocket ??= WebSocket;

const compilerOptions = { module: ts.ModuleKind.ESNext, target: ts.ScriptTarget.ES2022 };
const made = file.replace(/\.ts$/, ".mjs");
writeFileSync(made, ts.transpileModule(readFileSync(file, "utf-8"), { compilerOptions }).outputText);
await import(pathToFileURL(made));
process.exit(0);
