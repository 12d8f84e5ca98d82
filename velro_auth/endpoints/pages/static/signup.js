import { ask, busy, go, onSubmit, publicUrl, remembered, say, show, step, texts } from "./core.js"

const form = document.querySelector("main form")
const redirect_to = `${publicUrl}/confirm`

onSubmit(form, async ({ email, password, display_name }, onSolving) => {
  const body = { email, password, redirect_to, ...(display_name.trim() && { display_name: display_name.trim() }) }
  const answer = await ask("POST", "signup", body, { onSolving })
  if (!answer.ok) return show(form, answer)
  if (answer.status !== 202) return go(answer)
  form.reset()
  remembered.set(email)
  step("sent")
})

document.querySelector("[data-action=resend]").addEventListener("click", async ({ currentTarget }) => {
  if (currentTarget.getAttribute("aria-disabled")) return
  const card = currentTarget.closest(".card")
  const restore = busy(currentTarget)
  const answer = await ask("POST", "signup/resend", { email: remembered.get(), redirect_to })
  restore()
  say(card, answer.ok ? texts.script.resent : texts.error[answer.code] ?? texts.error.other)
})
