"use strict";
// tables of class "sortable": a click on a heading sorts by its column, a second one turns the order round
for (const table of document.querySelectorAll("table.sortable")) {
  const body = table.tBodies[0];
  [...table.tHead.rows[0].cells].forEach((head, column) => {
    const button = document.createElement("button");
    button.type = "button";
    button.textContent = head.textContent;
    const word = head.querySelector(".word");
    if (word) {
      button.className = "word";
      button.dataset.means = word.dataset.means;
      button.setAttribute("aria-describedby", word.getAttribute("aria-describedby"));
    }
    head.replaceChildren(button);
    const numeric = head.classList.contains("number");
    const value = (row) => row.cells[column].dataset.value ?? row.cells[column].textContent;
    button.addEventListener("click", () => {
      const before = head.getAttribute("aria-sort");
      // numbers first from the highest
      const way = before ? (before === "ascending" ? -1 : 1) : numeric ? -1 : 1;
      for (const other of head.parentNode.cells) other.removeAttribute("aria-sort");
      head.setAttribute("aria-sort", way > 0 ? "ascending" : "descending");
      const rows = [...body.rows].sort((a, b) => {
        const [x, y] = [value(a), value(b)];
        if (numeric && (x === "" || y === "")) return (x === "") - (y === "");
        return way * (numeric ? x - y : x.localeCompare(y));
      });
      body.append(...rows);
    });
  });
}
// a filter shows the rows that have all of the words, and what is chosen in each list
for (const box of document.querySelectorAll(".filter[data-table]")) {
  const table = document.getElementById(box.dataset.table);
  const rows = [...table.tBodies[0].rows];
  const texts = new Map(rows.map((row) => [row, row.textContent.toLowerCase()]));
  const words = box.querySelector("input");
  const shown = box.querySelector("[role=status]");
  const heads = [...table.tHead.rows[0].cells].map((head) => head.textContent);
  const lists = (box.dataset.columns ?? "").split(",").filter(Boolean).map((name) => {
    const column = heads.indexOf(name);
    const values = [...new Set(rows.map((row) => row.cells[column].textContent))].sort();
    if (values.length < 2) return null;
    const label = document.createElement("label");
    const list = document.createElement("select");
    list.append(new Option("all", ""), ...values.map((value) => new Option(value)));
    label.append(name, list);
    words.parentNode.before(label);
    return { column, list };
  }).filter(Boolean);
  const filter = () => {
    const asked = words.value.toLowerCase().split(/\s+/).filter(Boolean);
    for (const row of rows) {
      const listed = lists.every(({ column, list }) => !list.value || row.cells[column].textContent === list.value);
      row.hidden = !listed || !asked.every((word) => texts.get(row).includes(word));
    }
    shown.textContent = rows.filter((row) => !row.hidden).length + " of " + rows.length + " rows";
  };
  box.addEventListener("input", filter);
  filter();
}
// a link to something folded opens it
const unfold = () => {
  const aim = location.hash.length > 1 && document.getElementById(decodeURIComponent(location.hash.slice(1)));
  const folded = aim && aim.closest("details");
  if (folded && !folded.open) {
    folded.open = true;
    aim.scrollIntoView();
  }
};
addEventListener("hashchange", unfold);
unfold();
// what can be saved: a packed table is unpacked first, and a figure's SVG is the picture on the page
const give = (href, name) => {
  const link = document.createElement("a");
  link.href = href;
  link.download = name;
  link.click();
};
const save = async (link, name) => {
  if (link.hash.startsWith("#figure-")) {
    give(document.querySelector(link.hash).src, name);
  } else if (link.href.startsWith("data:application/gzip")) {
    const packed = Uint8Array.from(atob(link.href.split(",")[1]), (letter) => letter.charCodeAt(0));
    const data = new Blob([packed]).stream().pipeThrough(new DecompressionStream("gzip"));
    const file = URL.createObjectURL(await new Response(data).blob());
    give(file, name);
    setTimeout(() => URL.revokeObjectURL(file), 60000);
  } else {
    give(link.href, name);
  }
};
for (const link of document.querySelectorAll("a[data-file], #files a[id^=file-]")) {
  link.addEventListener("click", (event) => {
    const name = link.dataset.file ?? link.id.slice("file-".length);
    event.preventDefault();
    save(document.getElementById("file-" + name), name);
  });
}
