addEventListener("beforeprint", () => document.querySelectorAll("details:not(.records)").forEach((each) => { each.open = true; }));
for (const field of document.querySelectorAll("input[data-rows]")) {
  field.closest("p").hidden = false;
  const rows = [...document.querySelectorAll(`#${field.dataset.rows} tbody tr`)];
  field.addEventListener("input", () => {
    const wanted = field.value.toLowerCase();
    let shown = 0;
    for (const row of rows) shown += !(row.hidden = !row.textContent.toLowerCase().includes(wanted));
    field.closest("p").querySelector("[role=status]").textContent = wanted ? `${shown.toLocaleString("en")} of ${rows.length.toLocaleString("en")} row${rows.length === 1 ? "" : "s"}` : "";
  });
}
