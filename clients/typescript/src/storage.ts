/** Where a session is kept. `localStorage`, `sessionStorage` and AsyncStorage of React Native have this shape. */
export interface Storage {
  getItem(key: string): string | null | undefined | Promise<string | null | undefined>;
  setItem(key: string, value: string): unknown;
  removeItem(key: string): unknown;
}

/** Keeps values until the page or the program ends. */
export class MemoryStorage implements Storage {
  readonly #values = new Map<string, string>();

  getItem(key: string): string | null {
    return this.#values.get(key) ?? null;
  }

  setItem(key: string, value: string): void {
    this.#values.set(key, value);
  }

  removeItem(key: string): void {
    this.#values.delete(key);
  }
}

/**
 * A storage that never fails: what cannot be written (full, or forbidden by the browser) is kept in memory, so that a
 * session lives at least as long as the page.
 */
export class SafeStorage implements Storage {
  readonly #storage: Storage;
  readonly #unwritten = new MemoryStorage();

  constructor(storage: Storage) {
    this.#storage = storage;
  }

  async getItem(key: string): Promise<string | null> {
    const unwritten = this.#unwritten.getItem(key);
    if (unwritten !== null) return unwritten;
    try {
      return (await this.#storage.getItem(key)) ?? null;
    } catch {
      return null;
    }
  }

  async setItem(key: string, value: string): Promise<void> {
    try {
      await this.#storage.setItem(key, value);
      this.#unwritten.removeItem(key);
    } catch {
      this.#unwritten.setItem(key, value);
    }
  }

  async removeItem(key: string): Promise<void> {
    this.#unwritten.removeItem(key);
    try {
      await this.#storage.removeItem(key);
    } catch {
      // What cannot be removed could not be written either, or is refused with the next refresh.
    }
  }
}

/** Returns the storage that all tabs share, or one of this page where the browser has or allows none. */
export function defaultStorage(): Storage {
  return browserStorage("localStorage");
}

/** Returns the storage of this tab, which survives a navigation; or one of this page. */
export function tabStorage(): Storage {
  return browserStorage("sessionStorage");
}

function browserStorage(name: "localStorage" | "sessionStorage"): Storage {
  try {
    // Node has `localStorage` too, which warns or throws without a file: only pages use it.
    if (typeof document !== "undefined" && globalThis[name]) return globalThis[name];
  } catch {
    // Forbidden, as in a sandboxed frame.
  }
  return new MemoryStorage();
}
