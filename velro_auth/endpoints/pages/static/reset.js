import { go } from "./core.js"
import { useLink } from "./links.js"

useLink(document.querySelector("main form"), { path: "password/reset", takesPassword: true, done: (answer) => go(answer) })
