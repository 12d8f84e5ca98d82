"use strict";
// Sends the requests of the forms on this page, and shows the answers. Tokens stay in the page: nothing is stored.
{
  const origin = document.documentElement.dataset.server || "";
  const token = document.getElementById("token");
  const quoted = (text) => "'" + text.replaceAll("'", "'\\''") + "'";

  /** Returns what a form asks for: address, method, headers, body. */
  const requestOf = (form) => {
    const given = [...new FormData(form)].filter(([, value]) => value !== "");
    let path = form.dataset.path;
    const query = new URLSearchParams();
    for (const [name, value] of given) {
      const [where, field] = name.split(":");
      if (where === "path") path = path.replace(`{${field}}`, encodeURIComponent(value));
      if (where === "query") query.append(field, value);
    }
    const body = given.find(([name]) => name === "body")?.[1];
    const headers = {};
    if (body !== undefined) headers["Content-Type"] = "application/json";
    if (form.dataset.token && token.value) headers.Authorization = `Bearer ${token.value}`;
    return { url: origin + path + (query.size ? `?${query}` : ""), method: form.dataset.method, headers, body };
  };

  /** Returns the same request for a terminal; the token is not repeated. */
  const curlOf = ({ url, method, headers, body }) =>
    [
      `curl -i -X ${method} ${quoted(new URL(url, location.href).href)}`,
      ...Object.entries(headers).map(([name, value]) =>
        name === "Authorization" ? `-H "Authorization: Bearer $TOKEN"` : `-H ${quoted(`${name}: ${value}`)}`,
      ),
      ...(body === undefined ? [] : [`-d ${quoted(body)}`]),
    ].join(" \\\n  ");

  const readable = (text) => {
    try {
      const read = JSON.parse(text);
      if (typeof read.access_token === "string") token.value = read.access_token;
      return JSON.stringify(read, null, 2);
    } catch {
      return text;
    }
  };

  const show = (output, title, text) => {
    const heading = document.createElement("h3");
    const block = document.createElement("pre");
    heading.textContent = title;
    block.textContent = text;
    output.append(heading, block);
  };

  const send = async (form) => {
    const output = form.querySelector("output");
    const { url, ...options } = requestOf(form);
    output.replaceChildren();
    show(output, "For a terminal", curlOf({ url, ...options }));
    try {
      const began = performance.now();
      // A redirect leads to other servers: it is shown, not followed.
      const answer = await fetch(url, { ...options, redirect: "manual", cache: "no-store" });
      const text = await answer.text();
      const status = answer.type === "opaqueredirect" ? "a redirect" : `${answer.status} ${answer.statusText}`;
      const headers = [...answer.headers].map(([name, value]) => `${name}: ${value}`).join("\n");
      show(output, `${status}, ${Math.round(performance.now() - began)} ms`, headers);
      if (text) show(output, "Body", readable(text));
    } catch (error) {
      show(output, "No answer", String(error));
    }
  };

  for (const form of document.querySelectorAll("form[data-path]")) {
    form.addEventListener("submit", (event) => {
      event.preventDefault();
      send(form);
    });
  }
}
