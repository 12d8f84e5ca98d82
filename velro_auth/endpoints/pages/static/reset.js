import { ask, go, onSubmit, remembered, show } from "./core.js"
import { askForCode, forget, isRefused, link } from "./links.js"

const form = document.querySelector("main form")
const factor = form.querySelector("[data-proof=factor]")
const fields = form.elements
/** The sealed proof for another attempt: the first one spends the link. Kept in this page only. */
let ticket = null

fields.email.value = remembered.get()
// A hidden field must not keep the form from being sent.
fields.email.required = !link.token_hash && !link.code
if (isRefused) {
  askForCode(form)
  fields.email.required = true
  show(form, { code: "link_invalid", data: {} })
}

onSubmit(form, async ({ email, token, password, code }, onSolving) => {
  if (link.code && !ticket) return exchanged(password)
  const proof = ticket ? { ticket } : link.token_hash ? { token_hash: link.token_hash } : { email, token: digits(token) }
  const body = { ...proof, password, ...(!factor.hidden && code && { code: digits(code) }) }
  const answer = await ask("POST", "password/reset", body, { onSolving })
  await proceed(answer)
})

/** A link of Supabase's default template: its code is exchanged first, and then the session sets the password. */
async function exchanged(password) {
  const begun = await ask("POST", "exchange", { code: link.code })
  if (!begun.ok) return proceed(begun)
  forget()
  const answer = await ask("PUT", "password", { password })
  if (!answer.ok) {
    location.replace("/account")
    return
  }
  go(begun)
}

async function proceed(answer) {
  if (answer.ok) {
    forget()
    remembered.clear()
    return go(answer)
  }
  if (answer.data.ticket) {
    ticket = answer.data.ticket
    forget()
    form.querySelector("[data-proof=code]").hidden = true
    fields.email.required = fields.token.required = false
    if (answer.code === "insufficient_aal" || answer.code === "code_invalid") {
      factor.hidden = false
      fields.code.required = true
      if (answer.code === "insufficient_aal") return fields.code.focus()
    }
  } else if (answer.code === "link_invalid") {
    ticket = null
    askForCode(form)
    fields.email.required = true
  }
  show(form, answer)
}

function digits(text) {
  return text.replace(/\s/g, "")
}
