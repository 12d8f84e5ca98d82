import { ask, button, go, onSubmit, pageAt, publicUrl, remembered, show, texts } from "./core.js"

const form = document.querySelector("main form")

// Beside the right to sign in, an address that is not confirmed needs its mail once more.
const resend = (email) =>
  button(
    texts.script.resend,
    async () => {
      const answer = await ask("POST", "signup/resend", { email, redirect_to: `${publicUrl}/confirm` })
      if (!answer.ok) return show(form, answer)
      remembered.set(email)
      location.assign(pageAt("/confirm?type=signup"))
    },
    "link-button",
  )

onSubmit(form, async ({ email, password }, onSolving) => {
  const answer = await ask("POST", "login", { email, password }, { onSolving })
  if (answer.ok) return go(answer)
  show(form, answer, ...(answer.code === "email_not_confirmed" ? [resend(email)] : []))
})
