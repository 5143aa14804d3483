// Completes names from the words of the chosen index: a combobox with a list, by keyboard or pointer.
const reasons = [...document.querySelectorAll("[data-uncompleted]")];
const reason = (index) => reasons.find((each) => each.dataset.uncompleted === index);
document.getElementById("index").addEventListener("change", (event) => {
  for (const each of reasons) each.hidden = each !== reason(event.target.value);
});
for (const input of document.querySelectorAll("input[data-completes]")) {
  const list = document.getElementById(`${input.id}-list`);
  const told = document.getElementById("completing");
  let asked = null;
  let chosen = -1;
  for (const [name, value] of [["role", "combobox"], ["aria-autocomplete", "list"], ["aria-expanded", "false"], ["aria-controls", list.id]]) {
    input.setAttribute(name, value);
  }
  const choose = (place) => {
    chosen = place;
    [...list.children].forEach((option, at) => option.setAttribute("aria-selected", String(at === place)));
    if (place < 0) return input.removeAttribute("aria-activedescendant");
    input.setAttribute("aria-activedescendant", list.children[place].id);
    list.children[place].scrollIntoView({ block: "nearest" });
  };
  const close = () => {
    asked?.abort();
    list.hidden = true;
    input.setAttribute("aria-expanded", "false");
    choose(-1);
  };
  const take = (option) => {
    input.value = option.dataset.text;
    close();
  };
  const show = (completions) => {
    list.replaceChildren(
      ...completions.map(({ text, documents }, place) => {
        const option = document.createElement("li");
        const number = document.createElement("span");
        option.id = `${list.id}-${place}`;
        option.setAttribute("role", "option");
        option.dataset.text = text;
        option.textContent = `${text} `;
        number.textContent = `${documents.toLocaleString("en")} document${documents === 1 ? "" : "s"}`;
        option.append(number);
        option.addEventListener("pointerdown", (event) => event.preventDefault());
        option.addEventListener("click", () => take(option));
        return option;
      }),
    );
    choose(-1);
    list.hidden = completions.length === 0;
    input.setAttribute("aria-expanded", String(!list.hidden));
    told.textContent = list.hidden ? "" : `${completions.length} names; choose with the arrow keys`;
  };
  input.addEventListener("input", async () => {
    asked?.abort();
    const mine = (asked = new AbortController());
    const text = input.value;
    const index = document.getElementById("index").value;
    if (text.trim().length < 2 || reason(index)) return close();
    const address = `v1/indexes/${encodeURIComponent(index)}/complete?limit=8&text=${encodeURIComponent(text)}`;
    try {
      const answer = await fetch(address, { headers: { Accept: "application/json" }, signal: mine.signal });
      const { completions } = answer.ok ? await answer.json() : { completions: [] };
      if (!mine.signal.aborted && document.activeElement === input) show(completions.filter((each) => each.text !== text));
    } catch {
      // Without completions, the name can be typed.
    }
  });
  input.addEventListener("blur", close);
  input.addEventListener("keydown", (event) => {
    const number = list.children.length;
    if (event.key === "Escape" && !list.hidden) {
      close();
    } else if (["ArrowDown", "ArrowUp"].includes(event.key) && !list.hidden) {
      asked?.abort(); // a later answer would replace the list from which a name is being chosen
      const step = event.key === "ArrowDown" ? 1 : -1;
      choose(chosen < 0 && step < 0 ? number - 1 : (chosen + step + number) % number);
    } else if (event.key === "Enter" && chosen >= 0) {
      take(list.children[chosen]);
    } else {
      return;
    }
    event.preventDefault();
  });
}
