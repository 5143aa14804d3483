// Shows where a span begins and ends while its number has the pointer or the focus; spans may overlap.
for (const link of document.querySelectorAll(".traced a[data-span]")) {
  const marks = [...document.querySelectorAll(".traced mark")].filter((each) => each.dataset.spans.split(" ").includes(link.dataset.span));
  const show = (shown) => marks.forEach((each) => each.classList.toggle("whole-span", shown));
  for (const name of ["pointerenter", "focus"]) link.addEventListener(name, () => show(true));
  for (const name of ["pointerleave", "blur"]) link.addEventListener(name, () => show(false));
}
