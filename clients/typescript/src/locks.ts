import type { Storage } from "./storage.js";

/** Runs *work* while nobody else who asked for the same lock runs theirs. */
export type Lock = <Result>(work: () => Promise<Result>) => Promise<Result>;

/** How often a tab that waits for another one looks at its watch, and how often at most: longer than a request takes. */
const POLL_MS = 100;
const MAX_POLLS = 200;
/** How long a lease is good for when its tab is gone. */
const LEASE_MS = 15_000;
/** How long others may need to see what was just written. Measured in Chromium: 2.3 ms at most. */
const SETTLE_MS = 40;

/**
 * Returns a lock that all tabs of an origin share: a Web Lock where the browser has them, else a lease in *storage*.
 *
 * After about 20 seconds the work is done without the lock: a frozen tab must not hold the others for ever. That is
 * safe, because the gateway gives the same answer to calls with the same refresh token. The time is counted in polls,
 * not by the clock: a computer that slept is not a tab that hangs.
 */
export function lockFor(name: string, storage: Storage): Lock {
  const locks = globalThis.navigator?.locks;
  const shared: Lock = locks ? (work) => withWebLock(locks, name, work) : (work) => withLease(storage, name, work);
  return oneAtATime(shared);
}

async function withWebLock<Result>(locks: LockManager, name: string, work: () => Promise<Result>): Promise<Result> {
  const controller = new AbortController();
  let polls = 0;
  const timer = setInterval(() => {
    if (++polls >= MAX_POLLS) controller.abort();
  }, POLL_MS);
  let hasBegun = false;
  try {
    return await locks.request(name, { signal: controller.signal }, async () => {
      hasBegun = true;
      clearInterval(timer);
      // A lock may reach this tab before what its last holder wrote: localStorage is copied between processes.
      await wait(SETTLE_MS);
      return await work();
    });
  } catch (error) {
    // The lock did not come in time, or the page may not have locks.
    if (hasBegun) throw error;
    return await work();
  } finally {
    clearInterval(timer);
  }
}

async function withLease<Result>(storage: Storage, name: string, work: () => Promise<Result>): Promise<Result> {
  const key = `${name}:lease`;
  const me = Math.random().toString(36).slice(2);
  let isMine = false;
  for (let polls = 0; !isMine && polls < MAX_POLLS; polls += 1) {
    if (isTaken(await storage.getItem(key))) {
      await wait(POLL_MS);
      continue;
    }
    await storage.setItem(key, `${me} ${Date.now() + LEASE_MS}`);
    // Of several who write at once the last one has the lease.
    await wait(SETTLE_MS);
    isMine = ((await storage.getItem(key)) ?? "").startsWith(`${me} `);
  }
  try {
    return await work();
  } finally {
    if (((await storage.getItem(key)) ?? "").startsWith(`${me} `)) await storage.removeItem(key);
  }
}

function isTaken(lease: string | null | undefined): boolean {
  const left = Number(lease?.split(" ")[1]) - Date.now();
  // A lease of longer than that is from before the clock was set back.
  return left > 0 && left <= LEASE_MS;
}

function oneAtATime(lock: Lock): Lock {
  let last: Promise<unknown> = Promise.resolve();
  return (work) => {
    const next = last.then(() => lock(work));
    last = next.catch(() => undefined);
    return next;
  };
}

function wait(ms: number): Promise<void> {
  return new Promise((done) => setTimeout(done, ms));
}
