// Optional conveniences: the pages show the same content without scripts.
"use strict";
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
