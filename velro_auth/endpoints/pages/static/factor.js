import { ask, next, onSubmit, pageAt, show } from "./core.js"

const form = document.querySelector("main form")

onSubmit(form, async ({ factor, code }, onSolving) => {
  const answer = await ask("POST", `factors/${factor}/verify`, { code }, { onSolving })
  if (answer.ok) return location.replace(next)
  if (["session_expired", "token_missing", "token_invalid", "token_expired"].includes(answer.code)) {
    return location.replace(pageAt(`/login?rd=${encodeURIComponent(next)}`))
  }
  show(form, answer)
})
