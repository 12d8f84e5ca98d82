// Solves a proof of work (ALTCHA 2, PBKDF2): finds the counter whose key begins with the given characters.

const bytes = (hex) => Uint8Array.from(hex.match(/../g) ?? [], (pair) => parseInt(pair, 16))
const hex = (buffer) => Array.from(new Uint8Array(buffer), (byte) => byte.toString(16).padStart(2, "0")).join("")

async function solve({ parameters, signature }) {
  const nonce = bytes(parameters.nonce)
  const salt = bytes(parameters.salt)
  const hash = parameters.algorithm.replace("PBKDF2/", "")
  const password = new Uint8Array(nonce.length + 4)
  password.set(nonce)
  const started = performance.now()
  for (let counter = 0; counter < 2 ** 24; counter += 1) {
    new DataView(password.buffer).setUint32(nonce.length, counter)
    const key = await crypto.subtle.importKey("raw", password, "PBKDF2", false, ["deriveBits"])
    const how = { name: "PBKDF2", hash, salt, iterations: parameters.cost }
    const derivedKey = hex(await crypto.subtle.deriveBits(how, key, parameters.keyLength * 8))
    if (derivedKey.startsWith(parameters.keyPrefix)) {
      const solution = { counter, derivedKey, time: Math.round(performance.now() - started) }
      return btoa(JSON.stringify({ challenge: { parameters, signature }, solution }))
    }
  }
  return null
}

addEventListener("message", async (event) => {
  postMessage(await solve(event.data).catch(() => null))
})
