import { ask, busy, button, clear, fill, onSubmit, pageAt, publicUrl, say, show, texts } from "./core.js"
import { loadAll, loader } from "./loading.js"

const part = (name) => document.querySelector(`[data-part="${name}"], form[data-form="${name}"]`)
const factors = part("factors")
const sessions = part("sessions")
const prove = part("prove-factor")
const tabs = new BroadcastChannel("velro")
const brand = document.querySelector(".brand span").textContent
/** What the app shows; a longer name does not fit into the picture. */
const issuer = encodeURIComponent(brand).length <= 120 ? { issuer: brand } : {}
const ENDED = ["session_expired", "token_missing", "token_invalid", "token_expired"]

let isLeaving = false

/** Leave a page that shows what only its user may see. Several parts may notice the end; a second try stops the first. */
function leave(target = "/login?rd=%2Faccount") {
  if (isLeaving) return
  isLeaving = true
  document.querySelector("main").replaceChildren()
  location.replace(pageAt(target))
}

async function call(method, path, body) {
  const answer = await ask(method, path, body)
  if (!ENDED.includes(answer.code)) return answer
  leave()
  // Nothing may touch the page any more.
  return new Promise(() => {})
}

/** Ask for the password where the last sign-in is too long ago; return whether that is so. */
function asksForPassword(form, answer) {
  const proof = form.querySelector("[data-proof=password]")
  if (answer.code !== "reauthentication_needed" || !proof) return false
  const field = proof.querySelector("input")
  const isWrong = !proof.hidden && field.value
  proof.hidden = false
  field.required = true
  show(form.querySelector(".alert") ? form : factors, isWrong ? { ...answer, code: "wrong_password" } : answer)
  field.focus()
  return true
}

const nameField = part("profile").elements.display_name
/** Whether the field holds what is not saved yet. */
let isTyped = false
nameField.addEventListener("input", () => (isTyped = true))

onSubmit(part("profile"), async ({ display_name }) => {
  const answer = await call("PATCH", "me", { display_name })
  if (!answer.ok) return show(part("profile"), answer)
  if (nameField.value === display_name) isTyped = false
  say(part("profile"), texts.script.saved)
})

loader(part("profile"), () => call("GET", "me"), ({ display_name }) => {
  if (!isTyped) nameField.value = display_name ?? ""
})

onSubmit(part("address"), async (fields) => {
  const form = part("address")
  const password = fields["address-password"]
  const body = { email: fields.email, redirect_to: `${publicUrl}/confirm`, ...(password && { current_password: password }) }
  const answer = await call("PATCH", "me", body)
  if (answer.ok) {
    form.reset()
    return say(form, texts.script.address_pending)
  }
  if (!asksForPassword(form, answer)) show(form, answer)
})

onSubmit(part("password"), async ({ current_password, password, nonce }) => {
  const form = part("password")
  const mailed = form.querySelector("[data-proof=nonce]")
  const code = mailed.hidden ? "" : nonce.replace(/\s/g, "")
  const answer = await call("PUT", "password", { current_password, password, ...(code && { nonce: code }) })
  if (answer.ok) {
    form.reset()
    mailed.hidden = true
    listSessions()
    return say(form, texts.script.password_changed)
  }
  if (answer.code !== "reauthentication_needed") return show(form, answer)
  if (!current_password) return show(form, { ...answer, data: { errors: { current_password: [] } } })
  // The API does not say which of the two it is.
  show(form, { ...answer, code: "wrong_password" }, button(texts.script.mail_code, () => mailCode(form), "link-button"))
})

/** Have a code mailed, which some projects demand with a new password. */
async function mailCode(form) {
  const answer = await call("POST", "reauthenticate")
  if (!answer.ok) return show(form, answer)
  clear(form)
  const mailed = form.querySelector("[data-proof=nonce]")
  mailed.hidden = false
  mailed.querySelector("input").focus()
}

const listFactors = loader(factors, () => call("GET", "factors"), (data) => {
  const list = document.querySelector("[data-list=factors]")
  const verified = data.factors.filter((factor) => factor.status === "verified")
  list.hidden = !verified.length
  list.replaceChildren(
    ...verified.map((factor) => {
      const name = factor.friendly_name || texts.script.unnamed
      const remove = button(texts.script.remove, () => removeFactor(factor, remove), "danger small")
      remove.setAttribute("aria-label", fill(texts.script.remove_named, { name }))
      return item(name, fill(texts.script.since, { time: when(factor.created_at) }), remove)
    }),
  )
})

async function removeFactor(factor, pressed) {
  if (pressed.getAttribute("aria-disabled")) return
  const restore = busy(pressed)
  const form = part("add-factor")
  const password = form.elements["factor-password"].value
  const answer = await call("DELETE", `factors/${factor.id}`, password ? { current_password: password } : undefined)
  restore()
  if (!answer.ok) return asksForPassword(form, answer) || show(factors, answer)
  await listFactors()
  say(factors, texts.script.factor_removed)
  document.getElementById("factors-title").focus()
}

onSubmit(
  part("add-factor"),
  async (fields) => {
    const form = part("add-factor")
    const password = fields["factor-password"]
    const name = fields.friendly_name.trim()
    const body = { type: "totp", ...issuer, ...(name && { friendly_name: name }), ...(password && { current_password: password }) }
    const answer = await call("POST", "factors", body)
    if (!answer.ok) return asksForPassword(form, answer) || show(factors, answer)
    prove.querySelector(".qr").src = `data:image/svg+xml;utf8,${encodeURIComponent(answer.data.totp.qr_code)}`
    prove.querySelector("[data-show=secret]").textContent = answer.data.totp.secret.replace(/(.{4})/g, "$1 ").trim()
    prove.dataset.id = answer.data.id
    form.hidden = true
    prove.hidden = false
    prove.querySelector("h3").focus()
  },
  factors,
)

onSubmit(prove, async (fields) => {
  const answer = await call("POST", `factors/${prove.dataset.id}/verify`, { code: fields["factor-code"] })
  if (!answer.ok) return show(prove, answer)
  closeProof()
  part("add-factor").reset()
  await Promise.all([listFactors(), listSessions()])
  say(factors, texts.script.factor_added)
  document.getElementById("factors-title").focus()
})

/** Forget the key, which is shown once. */
function closeProof() {
  prove.querySelector(".qr").removeAttribute("src")
  prove.querySelector("[data-show=secret]").textContent = ""
  prove.reset()
  clear(prove)
  prove.hidden = true
  part("add-factor").hidden = false
}

document.querySelector("[data-action=cancel-factor]").addEventListener("click", async () => {
  const id = prove.dataset.id
  closeProof()
  part("add-factor").querySelector("input").focus()
  await call("DELETE", `factors/${id}`)
})

const endOthers = document.querySelector("[data-action=end-others]")

const listSessions = loader(sessions, () => call("GET", "sessions"), (data) => {
  const list = document.querySelector("[data-list=sessions]")
  list.hidden = false
  list.replaceChildren(
    ...data.sessions.map((session) => {
      const name = device(session.user_agent) || fill(texts.script.signed_in, { time: when(session.created_at) })
      const used = fill(texts.script.last_used, { time: when(session.last_used_at) })
      const detail = [session.address, used].filter(Boolean).join(" · ")
      if (session.is_current) {
        return item(name, detail, Object.assign(document.createElement("span"), { className: "badge", textContent: texts.script.this_session }))
      }
      const end = button(texts.script.end, () => endSession(session, end))
      end.setAttribute("aria-label", fill(texts.script.end_named, { name: `${name}, ${detail}` }))
      return item(name, detail, end)
    }),
  )
  endOthers.hidden = data.sessions.length < 2
})

async function endSession(session, pressed) {
  if (pressed.getAttribute("aria-disabled")) return
  const restore = busy(pressed)
  const answer = await call("DELETE", `sessions/${session.id}`)
  restore()
  if (!answer.ok && answer.status !== 404) return show(sessions, answer)
  await listSessions()
  say(sessions, texts.script.ended)
  document.getElementById("sessions-title").focus()
}

endOthers.addEventListener("click", async ({ currentTarget }) => {
  if (currentTarget.getAttribute("aria-disabled")) return
  const restore = busy(currentTarget)
  const answer = await call("POST", "logout?scope=others")
  restore()
  if (!answer.ok) return show(sessions, answer)
  await listSessions()
  say(sessions, texts.script.others_ended)
  document.getElementById("sessions-title").focus()
})

part("log-out").addEventListener("submit", async (event) => {
  event.preventDefault()
  const answer = await ask("POST", "logout?scope=local")
  if (!answer.ok && !ENDED.includes(answer.code)) return show(part("profile"), answer)
  tabs.postMessage("signed out")
  leave("/login")
})

// Another tab signed out, or the browser shows the page from its memory after that.
tabs.addEventListener("message", () => leave())
addEventListener("pageshow", (event) => event.persisted && location.reload())

function item(name, detail, control) {
  const entry = document.createElement("li")
  const what = Object.assign(document.createElement("div"), { className: "what" })
  what.append(Object.assign(document.createElement("b"), { textContent: name }))
  what.append(Object.assign(document.createElement("small"), { textContent: detail }))
  entry.append(what, control)
  return entry
}

function when(time) {
  const parsed = new Date(time)
  if (Number.isNaN(parsed.valueOf())) return ""
  return new Intl.DateTimeFormat(document.documentElement.lang, { dateStyle: "medium", timeStyle: "short" }).format(parsed)
}

/** Name the browser and the system, as far as the agent says them. */
function device(agent) {
  const found = (table) => table.find(([, pattern]) => pattern.test(agent ?? ""))?.[0]
  const browser = found([["Edge", /Edg\//], ["Opera", /OPR\//], ["Firefox", /Firefox\//], ["Chrome", /Chrom(e|ium)\//], ["Safari", /Safari\//], ["curl", /^curl\//]])
  const system = found([["iPhone", /iPhone/], ["iPad", /iPad/], ["Android", /Android/], ["Windows", /Windows/], ["macOS", /Mac OS X/], ["Linux", /Linux|X11/]])
  return [browser, system].filter(Boolean).join(" · ")
}

loadAll()
