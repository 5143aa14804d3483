// Optional conveniences: the pages show the same content without scripts.
"use strict";
// Maximum characters of a text in the address of a page; the server reads addresses of up to 64 KiB.
const MOST_IN_ADDRESS = 60000;
const copy = async (id, status) => {
  try {
    await navigator.clipboard.writeText(document.getElementById(id).textContent);
    status.textContent = "copied";
  } catch {
    status.textContent = "the browser does not allow pages to copy; select the text";
  }
};
for (const button of document.querySelectorAll("[data-copies]")) {
  if (!navigator.clipboard) continue;
  const { copies } = button.dataset;
  const status = document.getElementById(`${copies}-status`);
  button.hidden = false;
  button.addEventListener("click", (event) => {
    if (button.matches("a")) event.preventDefault();
    copy(copies, button.closest("section").querySelector(".tools-status") ?? status);
  });
}
const file = document.querySelector("input[type=file][data-most-bytes]");
file?.form.addEventListener("submit", (event) => {
  const most = Number(file.dataset.mostBytes);
  const size = file.files[0]?.size ?? 0;
  file.setCustomValidity(size > most ? `The file has ${size} bytes; the limit is ${most}.` : "");
  if (!file.reportValidity()) event.preventDefault();
});
file?.addEventListener("change", () => file.setCustomValidity(""));
const area = document.querySelector("textarea[data-most-characters]");
area?.addEventListener("input", () => {
  const most = Number(area.dataset.mostCharacters);
  const sent = area.value.replace(/\n/g, "\r\n"); // as browsers send it
  const number = [...sent].length;
  let message = number > most ? `The text has ${number} characters; the limit is ${most}.` : "";
  if (!message && new URLSearchParams({ text: sent }).toString().length > MOST_IN_ADDRESS) {
    message = "The text is too long for the address of a page. Trace it in parts, or with POST (see Reference).";
  }
  area.setCustomValidity(message);
});
// While a response is awaited, the page offers to stop: the service cancels a count when the browser disconnects.
for (const status of document.querySelectorAll("[data-waiting]")) {
  const { form } = status.parentElement.querySelector("button");
  const stop = status.parentElement.querySelector("[data-stop]");
  const wait = (waiting) => {
    status.textContent = waiting ? status.dataset.waiting : "";
    stop.hidden = !waiting;
  };
  form.addEventListener("submit", (event) => wait(!event.defaultPrevented));
  stop.addEventListener("click", () => {
    window.stop();
    wait(false);
    form.querySelector("button:not([type])").focus();
  });
  window.addEventListener("pageshow", () => wait(false)); // the browser may restore the page as it was left
}
const job = document.querySelector("[data-job]");
if (job) {
  const progress = job.querySelector("progress");
  const status = job.querySelector("[role=status]");
  const look = async () => {
    try {
      const answer = await fetch(job.dataset.job, { headers: { Accept: "application/json" } });
      const state = await answer.json();
      if (!answer.ok || state.state === "done" || state.state === "failed") return location.reload();
      if (progress.value !== state.counted) {
        progress.value = state.counted;
        status.textContent = `${state.counted.toLocaleString("en")} of ${state.facts.toLocaleString("en")} facts counted`;
      }
    } catch {
      status.textContent = "the service does not respond; trying again";
    }
    setTimeout(look, 1000);
  };
  setTimeout(look, 500);
}
