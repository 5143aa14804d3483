// Sends the requests of the reference to this service, and shows the responses.
const SHOWN = 20000;
for (const form of document.querySelectorAll("details.try form")) {
  const status = form.querySelector("[role=status]");
  const shown = form.querySelector("pre");
  form.parentElement.hidden = false;
  form.addEventListener("submit", async (event) => {
    event.preventDefault();
    let path = form.dataset.path.slice(1);
    const query = new URLSearchParams();
    const headers = { Accept: "application/json, text/plain, */*;q=0.5" };
    for (const input of form.querySelectorAll("input")) {
      if (input.dataset.in === "path") path = path.replace(`{${input.name}}`, encodeURIComponent(input.value));
      else if (!input.value) continue;
      else if (input.dataset.in === "query") query.append(input.name, input.value);
      else headers[input.name] = input.value;
    }
    const options = { method: form.dataset.method, headers };
    const body = form.querySelector("textarea");
    if (body) [options.body, headers["Content-Type"]] = [body.value, "application/json"];
    if (form.dataset.page !== undefined) headers.Accept = "text/html";
    status.textContent = "waiting";
    try {
      const answer = await fetch(`./${path}` + (query.size ? `?${query}` : ""), options);
      const kind = answer.headers.get("Content-Type") ?? "";
      let text = await answer.text();
      if (kind.includes("json") && !kind.includes("ndjson")) text = JSON.stringify(JSON.parse(text), null, 2);
      shown.textContent = text.length > SHOWN ? `${text.slice(0, SHOWN)}\n… ${text.length - SHOWN} more characters` : text;
      shown.hidden = !text;
      status.textContent = `${answer.status} ${answer.statusText}, ${kind || "no body"}`;
    } catch (error) {
      shown.hidden = true;
      status.textContent = `the service does not respond (${error.message})`;
    }
  });
}
