import type { Challenge } from "./generated.js";

/** Counters tried at once: enough to keep the threads of the browser's cryptography busy. */
const BATCH = 16;

/**
 * Returns the solution of a proof-of-work challenge (ALTCHA, version 2) as the gateway wants it.
 *
 * The work is 256 to 4,096 keys by PBKDF2 on average, which takes from a tenth of a second to some seconds. It is done
 * outside of the page's own thread.
 *
 * @throws the signal's reason, when it is aborted.
 */
export async function solve(challenge: Challenge, signal?: AbortSignal): Promise<string> {
  const { nonce, salt, cost, keyLength, keyPrefix } = challenge.parameters;
  const start = fromHex(nonce);
  const derive = async (counter: number): Promise<string> => {
    const password = new Uint8Array(start.length + 4);
    password.set(start);
    new DataView(password.buffer).setUint32(start.length, counter);
    const key = await crypto.subtle.importKey("raw", password, "PBKDF2", false, ["deriveBits"]);
    const how = { name: "PBKDF2", hash: "SHA-256", salt: fromHex(salt), iterations: cost };
    return toHex(await crypto.subtle.deriveBits(how, key, keyLength * 8));
  };
  for (let first = 0; ; first += BATCH) {
    signal?.throwIfAborted();
    const keys = await Promise.all(Array.from({ length: BATCH }, (_, index) => derive(first + index)));
    const found = keys.findIndex((key) => key.startsWith(keyPrefix));
    if (found >= 0) {
      return btoa(JSON.stringify({ challenge, solution: { counter: first + found, derivedKey: keys[found] } }));
    }
  }
}

function fromHex(text: string): Uint8Array<ArrayBuffer> {
  return Uint8Array.from(text.match(/../g) ?? [], (byte) => parseInt(byte, 16));
}

function toHex(bytes: ArrayBuffer): string {
  return Array.from(new Uint8Array(bytes), (byte) => byte.toString(16).padStart(2, "0")).join("");
}
