// What the page at /docs can do with scripts: find operations, copy examples. It reads without.

const find = document.getElementById("find");
const found = document.getElementById("found");
const entries = [...document.querySelectorAll("[data-find]")];
const groups = [...document.querySelectorAll("nav section, main > section")];

function filter() {
  const words = find.value.toLowerCase().split(/\s+/).filter(Boolean);
  let count = 0;
  for (const entry of entries) {
    const fits = words.every((word) => entry.dataset.find.includes(word));
    entry.hidden = !fits;
    if (fits && entry.tagName === "ARTICLE") count += 1;
  }
  for (const group of groups) {
    const own = [...group.querySelectorAll("[data-find]")];
    group.hidden = own.length > 0 && own.every((entry) => entry.hidden);
  }
  found.textContent = words.length ? `${count} of the operations` : "";
}

find.closest("search").hidden = false;
find.addEventListener("input", filter);
document.addEventListener("keydown", (event) => {
  if (event.key === "/" && !event.ctrlKey && !event.metaKey && event.target !== find) {
    event.preventDefault();
    find.focus();
  }
  if (event.key === "Escape" && event.target === find) {
    find.value = "";
    filter();
  }
});

for (const button of document.querySelectorAll("button.copy")) {
  button.hidden = false;
  button.addEventListener("click", async () => {
    const text = button.parentElement.querySelector("pre").textContent;
    try {
      await navigator.clipboard.writeText(text);
      button.textContent = "Copied";
    } catch {
      getSelection().selectAllChildren(button.parentElement.querySelector("pre"));
      button.textContent = "Selected";
    }
    setTimeout(() => { button.textContent = "Copy"; }, 2000);
  });
}
