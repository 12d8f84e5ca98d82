// What the pages of mailed links share. A link is used after a click, because mail scanners open links too.

import { ask, onSubmit, remembered, show } from "./core.js"

const query = new URLSearchParams(location.search)
const fragment = new URLSearchParams(location.hash.slice(1))

/** What the address says: the hash of a link, or the code of a default template. */
const link = { token_hash: query.get("token_hash"), code: query.get("code") }

/** Whether Supabase refused a link of its own default template. */
const isRefused = query.has("error") || fragment.has("error") || fragment.has("error_code")

/**
 * Let *form* use the link, the code of a default link, or the code that is typed in.
 *
 * The first attempt may spend the link, and fail at the password all the same. Then its answer has a ticket, which the
 * next attempt sends. So the form stays until a password is set.
 *
 * @param path Where links and typed codes are sent.
 * @param more What goes with them.
 * @param takesPassword Whether the form asks for a new password.
 * @param done Called with the answer of the attempt that worked.
 */
export function useLink(form, { path, more = {}, takesPassword, done }) {
  const fields = form.elements
  const part = (name) => form.querySelector(`[data-proof=${name}]`)
  /** Kept in this page only. */
  let ticket = null
  let isUnproven = false

  fields.email.value = remembered.get()
  // Hidden fields must not keep the form from being sent.
  fields.email.required = !link.token_hash && !link.code
  fields.password.required = takesPassword
  if (isRefused) {
    askForCode()
    show(form, { code: "link_invalid", data: {} })
  }

  onSubmit(form, async ({ email, token, password, code }, onSolving) => {
    const answer = await ask(...attempt({ email, token, password, code }), { onSolving })
    if (answer.ok) {
      forget()
      remembered.clear()
      return answer.data.password_unproven ? prove() : done(answer)
    }
    if (answer.data.ticket) return retry(answer)
    if (answer.code === "link_invalid") askForCode()
    show(form, answer)
  })

  function attempt({ email, token, password, code }) {
    if (ticket) return ["POST", "password/reset", { ticket, password, ...(code && { code: digits(code) }) }]
    if (isUnproven) return ["PUT", "password", { password }]
    const both = takesPassword && { password }
    if (link.code) return ["POST", "exchange", { code: link.code, ...both }]
    const proof = link.token_hash ? { token_hash: link.token_hash } : { email, token: digits(token) }
    return ["POST", path, { ...proof, ...more, ...both }]
  }

  /** Ask for a password in place of one that may be somebody else's. The session of the link sets it. */
  function prove() {
    isUnproven = true
    part("code").hidden = true
    part("password").hidden = false
    fields.email.required = fields.token.required = false
    fields.password.required = true
    show(form, { code: "password_unproven", data: {} })
    fields.password.focus()
  }

  function retry(answer) {
    ticket = answer.data.ticket
    forget()
    part("code").hidden = true
    fields.email.required = fields.token.required = false
    if (answer.code === "insufficient_aal" || answer.code === "code_invalid") {
      part("factor").hidden = false
      fields.code.required = true
      if (answer.code === "insufficient_aal") return fields.code.focus()
    }
    show(form, answer)
  }

  /** Show the fields for a code in place of the link, which is of no use any more. */
  function askForCode() {
    ticket = null
    forget()
    part("code").hidden = false
    part("factor").hidden = true
    fields.email.required = fields.token.required = true
    fields.code.required = false
    fields.code.value = ""
  }
}

/** Remove what the link holds from the address and the history. */
function forget() {
  const kept = [...query].filter(([name]) => ["type", "lang", "rd"].includes(name))
  const rest = new URLSearchParams(kept).toString()
  link.token_hash = link.code = null
  history.replaceState(null, "", location.pathname + (rest ? `?${rest}` : ""))
}

function digits(text) {
  return text.replace(/\s/g, "")
}
