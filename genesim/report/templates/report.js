// Sorting and searching. The page is whole without this script: it adds the buttons and the fields that it serves.
"use strict";
(() => {
  const make = (tag, properties = {}, ...children) => {
    const element = Object.assign(document.createElement(tag), properties);
    element.append(...children);
    return element;
  };

  // --- sorting -------------------------------------------------------------------------------------------------
  const MISSING = new Set(["", "–", "nan"]);
  const NUMBER = /^[-+]?(\d+(\.\d*)?|\.\d+)(e[-+]?\d+)?$/i;

  // What a cell is sorted by: data-sort where the page gives it (full precision), else the words that are read.
  const keyOf = (row, column) => {
    const cell = row.cells[column];
    const words = (cell?.dataset.sort ?? cell?.textContent ?? "").trim();
    if (MISSING.has(words.toLowerCase())) return null;
    const plain = words.replace(/,(?=\d{3})/g, "").replace(/%$/, "");
    return NUMBER.test(plain) ? Number(plain) : words;
  };

  const compare = (a, b) => {
    if (typeof a === "number" && typeof b === "number") return a - b;
    if (typeof a !== typeof b) return typeof a === "number" ? -1 : 1;
    return a.localeCompare(b, undefined, { numeric: true, sensitivity: "base" });
  };

  const sortBy = (table, column, direction) => {
    const body = table.tBodies[0];
    const keyed = [...body.rows].map((row) => [keyOf(row, column), row]);
    keyed.sort(([a], [b]) => {
      if (a === null || b === null) return (a === null) - (b === null); // missing last, either way
      return direction * compare(a, b);
    });
    body.append(...keyed.map(([, row]) => row));
  };

  for (const table of document.querySelectorAll("table.sortable")) {
    if (table.tBodies[0].rows.length < 2) continue;
    table.classList.add("live");
    const heads = [...table.tHead.rows[0].cells];
    heads.forEach((head, column) => {
      const button = make("button", { type: "button" }, ...head.childNodes);
      head.append(button);
      head.setAttribute("aria-sort", "none");
      button.addEventListener("click", () => {
        const ascending = head.getAttribute("aria-sort") !== "ascending";
        heads.forEach((other) => other.setAttribute("aria-sort", "none"));
        head.setAttribute("aria-sort", ascending ? "ascending" : "descending");
        sortBy(table, column, ascending ? 1 : -1);
      });
    });
  }

  // --- searching -----------------------------------------------------------------------------------------------
  document.querySelectorAll("[data-search]").forEach((section, i) => {
    const groups = [...section.querySelectorAll(".group")].map((group) => ({
      group,
      wasOpen: group.open,
      rows: [...group.querySelectorAll("tbody tr")].map((row) => ({ row, words: row.textContent.toLowerCase() })),
      name: (group.querySelector("h3, summary")?.textContent ?? "").toLowerCase(),
    }));
    const total = groups.reduce((sum, { rows }) => sum + rows.length, 0);
    if (total < 2) return;
    const field = make("input", { type: "search", id: `search-${i}`, autocomplete: "off", spellcheck: false });
    const count = make("output", { htmlFor: field.id, ariaLive: "polite" });
    const search = () => {
      const wanted = field.value.toLowerCase().split(/\s+/).filter(Boolean);
      let shown = 0;
      for (const { group, rows, name, wasOpen } of groups) {
        let here = 0;
        for (const { row, words } of rows) {
          row.hidden = !wanted.every((word) => words.includes(word) || name.includes(word));
          here += !row.hidden;
        }
        group.hidden = here === 0;
        if (group.tagName === "DETAILS") group.open = wanted.length ? here > 0 : wasOpen;
        shown += here;
      }
      count.textContent = wanted.length ? `${shown} of ${total} rows` : `${total} rows`;
    };
    field.addEventListener("input", search);
    const label = make("label", { htmlFor: field.id }, section.dataset.search);
    section.querySelector("h2").after(make("div", { className: "search" }, label, field, count));
    search();
  });

  // --- copying a command, and printing what is folded ----------------------------------------------------------
  for (const block of document.querySelectorAll("pre.command")) {
    const button = make("button", { type: "button", className: "copy" }, "Copy");
    const said = make("span", { className: "soft", role: "status" });
    button.addEventListener("click", async () => {
      try {
        await navigator.clipboard.writeText(block.textContent);
        said.textContent = "Copied.";
      } catch {
        getSelection().selectAllChildren(block); // no clipboard here: the text is selected instead
        said.textContent = "Selected: press Ctrl+C or ⌘C.";
      }
    });
    block.after(make("p", { className: "small" }, button, " ", said));
  }
  let folded = [];
  addEventListener("beforeprint", () => {
    folded = [...document.querySelectorAll("details:not([open])")];
    folded.forEach((part) => (part.open = true));
  });
  addEventListener("afterprint", () => folded.forEach((part) => (part.open = false)));
})();
