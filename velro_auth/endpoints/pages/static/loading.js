// Loads what a page shows, also where that works only later: the network is away, or the device slept.

import { clear, show } from "./core.js"

/** How often a page looks whether there is something to do. */
const LOOK_MS = 5_000
/** When a load that failed for now is repeated, unless the answer says later. */
const AGAIN_MS = 15_000
/** A device was asleep, or a tab hidden for long, if nobody looked for so long. */
const ASLEEP_MS = 300_000

const loaders = []

/**
 * Return a function that loads a part of the page. It is called again by itself: while it fails for now, when the
 * network comes back, and after a sleep. Then an error is shown only where nothing is shown yet.
 *
 * @param box Where errors are shown.
 * @param ask Asks for the data, and returns the answer.
 * @param display Shows the data.
 */
export function loader(box, ask, display) {
  let number = 0
  let isShown = false
  let failedWith = null
  let again = Infinity
  const load = async () => {
    number += 1
    const mine = number
    again = Infinity
    const answer = await ask()
    // A later call has asked too, and its answer is newer.
    if (mine !== number) return
    if (answer.ok) {
      if (failedWith) clear(box)
      failedWith = null
      isShown = true
      return display(answer.data)
    }
    const isTemporary = answer.status === 0 || answer.status === 429 || answer.status >= 500
    if (isTemporary) again = performance.now() + Math.max(AGAIN_MS, answer.retryAfter * 1000)
    // What is read out already is not read out again.
    if (isTemporary && (isShown || failedWith === answer.code)) return
    failedWith = answer.code
    show(box, answer)
  }
  loaders.push({ load, isDue: () => performance.now() >= again })
  return load
}

/** Load every part of the page. */
export function loadAll() {
  return Promise.all(loaders.map(({ load }) => load()))
}

let lookedAt = Date.now()

function look() {
  // A hidden page has time until somebody sees it.
  if (document.hidden) return
  const wasAway = Date.now() - lookedAt > ASLEEP_MS
  lookedAt = Date.now()
  if (wasAway) loadAll()
  else loaders.filter(({ isDue }) => isDue()).forEach(({ load }) => load())
}

setInterval(look, LOOK_MS)
document.addEventListener("visibilitychange", look)
addEventListener("online", () => {
  lookedAt = 0
  look()
})
