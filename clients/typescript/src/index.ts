export { VelroAuth, createAuth, type AuthOptions, type LogoutScope } from "./client.js";
export { AuthError, type AnyErrorCode, type ClientErrorCode } from "./errors.js";
export type * from "./generated.js";
export { ERROR_CODES } from "./generated.js";
export type { Events, Session } from "./sessions.js";
export { MemoryStorage, type Storage } from "./storage.js";
export type { CallOptions } from "./transport.js";
