import { ask, go, onSubmit, pageAt, remembered, show, step } from "./core.js"
import { askForCode, forget, isRefused, link } from "./links.js"

const form = document.querySelector("main form")
const fields = form.elements
const type = form.closest("[data-kind]").dataset.kind
const takesPassword = !form.querySelector("[data-proof=password]").hidden

fields.email.value = remembered.get()
// Hidden fields must not keep the form from being sent.
fields.email.required = !link.token_hash && !link.code
fields.password.required = takesPassword
if (isRefused) {
  askForCode(form)
  fields.email.required = true
  show(form, { code: "link_invalid", data: {} })
}

onSubmit(form, async ({ email, token, password }, onSolving) => {
  if (link.code) return exchanged(password)
  const proof = link.token_hash ? { token_hash: link.token_hash } : { email, token: token.replace(/\s/g, "") }
  const body = { ...proof, type, ...(takesPassword && { password }) }
  proceed(await ask("POST", "confirm", body, { onSolving }))
})

/** A link of Supabase's default template: its code is exchanged, and then the session sets the password. */
async function exchanged(password) {
  const answer = await ask("POST", "exchange", { code: link.code })
  if (answer.ok && takesPassword) await ask("PUT", "password", { password })
  proceed(answer)
}

async function proceed(answer) {
  if (answer.ok) {
    forget()
    remembered.clear()
    if (answer.status === 202) return step("done")
    return go(answer)
  }
  if (answer.data.ticket) {
    // The address is confirmed, but the password is not set: the ticket sets another one.
    return again(answer, answer.data.ticket)
  }
  if (answer.code === "link_invalid") {
    askForCode(form)
    fields.email.required = true
  }
  show(form, answer)
}

function again(answer, ticket) {
  forget()
  form.querySelector("[data-proof=code]").hidden = true
  fields.email.required = fields.token.required = false
  form.querySelector("[data-proof=password]").hidden = false
  show(form, answer)
  form.addEventListener(
    "submit",
    async (event) => {
      event.preventDefault()
      event.stopImmediatePropagation()
      const answer = await ask("POST", "password/reset", { ticket, password: fields.password.value })
      if (answer.ok) return go(answer)
      again(answer, answer.data.ticket ?? ticket)
    },
    { capture: true, once: true },
  )
}
