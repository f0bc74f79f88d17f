// Tables sort by a click on a heading; long ones filter by text; printing opens what is folded.
(() => {
  "use strict";
  const LONG = 12;
  const numberIn = (text) => {
    const found = text.replace(/,/g, "").match(/^[^\w-]*(-?\d+(?:\.\d+)?)\s*([KMGT])?i?B?/);
    return found ? Number(found[1]) * 1024 ** " KMGT".indexOf(found[2] || " ") : NaN;
  };
  for (const table of document.querySelectorAll("table.cards")) {
    const body = table.tBodies[0];
    if (!body || body.rows.length < 4 || !table.tHead) continue;
    [...table.tHead.rows[0].cells].forEach((heading, column) => {
      heading.classList.add("sorts");
      heading.tabIndex = 0;
      const sort = () => {
        const isUp = heading.getAttribute("aria-sort") !== "ascending";
        for (const other of table.tHead.rows[0].cells) other.removeAttribute("aria-sort");
        heading.setAttribute("aria-sort", isUp ? "ascending" : "descending");
        const cell = (row) => row.cells[column]?.innerText.trim() ?? "";
        const compare = (one, other) => {
          const [a, b] = [numberIn(cell(one)), numberIn(cell(other))];
          return Number.isNaN(a) || Number.isNaN(b) ? cell(one).localeCompare(cell(other), "en", { numeric: true }) : a - b;
        };
        body.append(...[...body.rows].sort((one, other) => (isUp ? 1 : -1) * compare(one, other)));
      };
      heading.addEventListener("click", sort);
      heading.addEventListener("keydown", (event) => { if (event.key === "Enter") sort(); });
    });
    if (body.rows.length <= LONG) continue;
    const filter = document.createElement("input");
    filter.type = "search"; filter.className = "filter"; filter.placeholder = `show rows that contain … (of ${body.rows.length})`;
    filter.setAttribute("aria-label", "show only the rows of this table that contain a text");
    filter.addEventListener("input", () => {
      const wanted = filter.value.toLowerCase();
      for (const row of body.rows) row.hidden = !row.innerText.toLowerCase().includes(wanted);
    });
    table.parentElement.before(filter);
  }
  // A link into a folded part opens it.
  const reveal = () => {
    let part = location.hash.length > 1 && document.getElementById(decodeURIComponent(location.hash.slice(1)));
    for (; part; part = part.parentElement) if (part.tagName === "DETAILS") part.open = true;
  };
  addEventListener("hashchange", reveal);
  addEventListener("beforeprint", () => { for (const part of document.querySelectorAll("details:not(.bulk)")) part.open = true; });
  reveal();
})();
