"use strict";
// tables of class "sortable": a click on a heading sorts by its column, a second one turns the order round
for (const table of document.querySelectorAll("table.sortable")) {
  const body = table.tBodies[0];
  [...table.tHead.rows[0].cells].forEach((head, column) => {
    const button = document.createElement("button");
    button.type = "button";
    button.textContent = head.textContent;
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
