import { ask, onSubmit, publicUrl, remembered, show, step } from "./core.js"

const form = document.querySelector("main form")
const email = form.elements.email

onSubmit(form, async (fields, onSolving) => {
  const body = { email: fields.email, redirect_to: `${publicUrl}/reset` }
  const answer = await ask("POST", "password/forgot", body, { onSolving })
  if (!answer.ok) return show(form, answer)
  remembered.set(fields.email)
  step("sent")
})

document.querySelector("[data-action=again]").addEventListener("click", () => {
  step("form")
  email.value = ""
  email.focus()
})
