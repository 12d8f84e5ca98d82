import { go, step } from "./core.js"
import { useLink } from "./links.js"

const form = document.querySelector("main form")

useLink(form, {
  path: "confirm",
  more: { type: form.closest("[data-kind]").dataset.kind },
  takesPassword: !form.querySelector("[data-proof=password]").hidden,
  done: (answer) => (answer.status === 202 ? step("done") : go(answer)),
})
