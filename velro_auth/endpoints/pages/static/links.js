// What the pages of mailed links share. A link is used after a click, because mail scanners open links too.

const query = new URLSearchParams(location.search)
const fragment = new URLSearchParams(location.hash.slice(1))

/** What the address says: the hash of a link, or the code of a default template. */
export const link = { token_hash: query.get("token_hash"), code: query.get("code") }

/** Whether Supabase refused a link of its own default template. */
export const isRefused = query.has("error") || fragment.has("error") || fragment.has("error_code")

/** Remove what the link holds from the address and the history. */
export function forget() {
  const kept = [...query].filter(([name]) => ["type", "lang", "rd"].includes(name))
  const rest = new URLSearchParams(kept).toString()
  link.token_hash = link.code = null
  history.replaceState(null, "", location.pathname + (rest ? `?${rest}` : ""))
}

/** Show the fields for a code in place of the link, which is of no use any more. */
export function askForCode(form) {
  forget()
  const part = form.querySelector("[data-proof=code]")
  part.hidden = false
  part.querySelector("[name=token]").required = true
}
