// What all pages share: calls of the API, errors that help, forms.

export const texts = JSON.parse(document.getElementById("texts").textContent)
export const next = document.body.dataset.next
export const publicUrl = document.body.dataset.publicUrl

const API = "/api/v1/auth/"
const MOST_CHALLENGES = 3
/** Longer than the service ever takes. A connection that died while the device slept may never say so. */
const DEADLINE_MS = 30_000
const keep = new URLSearchParams(location.search).get("lang")

/** Return the address of another page, in the language that was chosen. */
export function pageAt(path) {
  if (!keep) return path
  return `${path}${path.includes("?") ? "&" : "?"}lang=${encodeURIComponent(keep)}`
}

/** Fill in the words in braces. */
export function fill(text, values) {
  return text.replace(/\{(\w+)\}/g, (all, name) => values[name] ?? all)
}

/** Call the API. Solves challenges on the way. Never throws: an answer has ok, status, code, retryAfter and data. */
export async function ask(method, path, body, { onSolving } = {}) {
  let sent = body
  for (let number = 0; ; number += 1) {
    const answer = await once(method, path, sent)
    if (answer.code !== "challenge_required" || number === MOST_CHALLENGES) return answer
    onSolving?.()
    const challenge = await solved(answer.data.challenge)
    if (!challenge) return answer
    sent = { ...body, challenge }
  }
}

async function once(method, path, body) {
  let response, text
  try {
    response = await fetch(API + path, {
      method,
      credentials: "same-origin",
      cache: "no-store",
      headers: body === undefined ? {} : { "Content-Type": "application/json" },
      body: body === undefined ? undefined : JSON.stringify(body),
      signal: AbortSignal.timeout(DEADLINE_MS),
    })
    // The connection may end in the middle of it.
    text = await response.text()
  } catch {
    return { ok: false, status: 0, code: "offline", data: {}, retryAfter: 0 }
  }
  const data = parsed(text)
  const retryAfter = Number(response.headers.get("Retry-After")) || 0
  return { ok: response.ok, status: response.status, code: data.code ?? "other", data, retryAfter }
}

/** Return the object that *text* is; an empty one if it is none, as a proxy's own error page. */
function parsed(text) {
  try {
    return JSON.parse(text) ?? {}
  } catch {
    return {}
  }
}

/** Solve a proof of work beside the page, in a worker; null where that is not possible. */
function solved(challenge) {
  return new Promise((resolve) => {
    const worker = new Worker(new URL("./work.js", import.meta.url), { type: "module" })
    const end = (solution) => {
      worker.terminate()
      resolve(solution)
    }
    worker.onmessage = (event) => end(event.data)
    worker.onerror = () => end(null)
    worker.postMessage(challenge)
  })
}

const countdowns = new WeakMap()

/** Empty the place for errors in *box*, and mark no field as wrong. */
export function clear(box) {
  const alert = box.querySelector(".alert[role=alert]")
  clearInterval(countdowns.get(alert))
  alert?.replaceChildren()
  box.querySelector(".done")?.replaceChildren()
  for (const field of box.querySelectorAll("[aria-invalid]")) field.removeAttribute("aria-invalid")
}

/** Say in *box* that something worked. */
export function say(box, text) {
  clear(box)
  box.querySelector(".done").replaceChildren(paragraph(text))
}

/** Show in *box* what an answer of the API says, and what to do next. *more* are further elements. */
export function show(box, answer, ...more) {
  clear(box)
  const alert = box.querySelector(".alert[role=alert]")
  const line = paragraph(texts.error[answer.code] ?? texts.error.other)
  alert.append(line)
  const reasons = (answer.data.reasons ?? []).map((reason) => texts.script[`weak_${reason}`]).filter(Boolean)
  if (reasons.length) {
    const list = document.createElement("ul")
    list.append(...reasons.map((reason) => Object.assign(document.createElement("li"), { textContent: reason })))
    alert.append(list)
  }
  if (answer.code === "insufficient_aal") {
    const target = pageAt(`/login/factor?rd=${encodeURIComponent(location.pathname)}`)
    alert.append(Object.assign(document.createElement("a"), { href: target, textContent: texts.script.prove_factor }))
  }
  alert.append(...more)
  if ([429, 503].includes(answer.status) && answer.retryAfter) count(alert, line, answer.retryAfter)
  // Once the device is online again, this is no longer true.
  if (answer.code === "offline") addEventListener("online", () => (line.textContent = texts.script.again_now), { once: true })
  focusOn(box, answer)
}

/** Count down to the next attempt. Screen readers hear the beginning and the end, not every second. */
function count(alert, line, seconds) {
  const shown = Object.assign(document.createElement("span"), { className: "count" })
  const heard = Object.assign(document.createElement("span"), { className: "quiet" })
  shown.setAttribute("aria-hidden", "true")
  // The clock may be put back, and the steady one may stand still while the device sleeps.
  const ends = Date.now() + seconds * 1000
  const endsSteady = performance.now() + seconds * 1000
  const update = () => {
    const left = Math.ceil(Math.min(ends - Date.now(), endsSteady - performance.now()) / 1000)
    if (left > 0) {
      shown.textContent = fill(texts.script.again_in, { seconds: left })
      return
    }
    clearInterval(countdowns.get(alert))
    shown.textContent = heard.textContent = texts.script.again_now
  }
  heard.textContent = fill(texts.script.again_in, { seconds })
  line.append(" ", shown, heard)
  update()
  countdowns.set(alert, setInterval(update, 250))
}

function focusOn(box, answer) {
  const named = Object.keys(answer.data.errors ?? {})
  const usual = { invalid_credentials: ["password"], code_invalid: ["code", "factor-code"], link_invalid: ["token"] }
  const names = [...named, ...(usual[answer.code] ?? [])]
  const fields = names.map((name) => box.querySelector(`input[name="${CSS.escape(name)}"]`))
  const field = fields.find((found) => found && found.offsetParent)
  if (!field) return
  if (named.length) field.setAttribute("aria-invalid", "true")
  field.focus()
  field.select()
}

export function paragraph(text) {
  return Object.assign(document.createElement("p"), { textContent: text })
}

export function button(text, action, className = "plain small") {
  const made = Object.assign(document.createElement("button"), { type: "button", textContent: text, className })
  made.addEventListener("click", action)
  return made
}

/** Let *work* answer the form, once at a time. It gets the fields and a function that shows that a challenge is solved. */
export function onSubmit(form, work, box = form) {
  const submit = form.querySelector("[type=submit]")
  form.addEventListener("submit", async (event) => {
    event.preventDefault()
    if (submit.getAttribute("aria-disabled")) return
    const restore = busy(submit)
    clear(box)
    try {
      const solving = () => box.querySelector(".alert[role=alert]").replaceChildren(paragraph(texts.script.solving))
      await work(Object.fromEntries(new FormData(form)), solving)
    } finally {
      restore()
    }
  })
}

/** Show that *button* works; return a function that ends it. The button keeps the focus. */
export function busy(target) {
  const content = [...target.childNodes]
  const sign = Object.assign(document.createElement("span"), { className: "busy" })
  const heard = Object.assign(document.createElement("span"), { className: "quiet", textContent: texts.script.working })
  const height = target.offsetHeight
  target.setAttribute("aria-disabled", "true")
  target.style.minHeight = `${height}px`
  target.prepend(sign)
  target.append(heard)
  return () => {
    target.removeAttribute("aria-disabled")
    target.replaceChildren(...content)
  }
}

/** Show one of the cards that are steps of a page, and have it read out. */
export function step(name) {
  for (const card of document.querySelectorAll("[data-step]")) card.hidden = card.dataset.step !== name
  document.querySelector(`[data-step="${name}"] h1`).focus()
}

/** Go to where a sign-in leads; to the second factor first, where one is due. */
export function go(answer, target = next) {
  const factor = answer.data.mfa?.required
  location.replace(factor ? pageAt(`/login/factor?rd=${encodeURIComponent(target)}`) : target)
}

/** Remember an address for the next page of this tab. Nothing else is ever kept. */
export const remembered = {
  get: () => sessionStorage.getItem("velro.email") ?? "",
  set: (email) => sessionStorage.setItem("velro.email", email),
  clear: () => sessionStorage.removeItem("velro.email"),
}

for (const toggle of document.querySelectorAll("[data-shows]")) {
  const field = document.getElementById(toggle.dataset.shows)
  toggle.hidden = false
  toggle.addEventListener("click", () => {
    const isShown = field.type === "password"
    field.type = isShown ? "text" : "password"
    toggle.setAttribute("aria-pressed", String(isShown))
    toggle.textContent = isShown ? texts.script.hide : texts.script.show
  })
  // A shown password must not be sent as text that the browser remembers.
  field.form.addEventListener("submit", () => field.type === "text" && toggle.click(), { capture: true })
}
