"use strict";
(() => {
  const $ = (selector, root = document) => [...root.querySelectorAll(selector)];
  const box = document.getElementById("q");
  const found = document.getElementById("found");
  const nothing = document.getElementById("nothing");
  const plain = (element) => element.textContent.toLowerCase();
  const cards = $("[data-item]").map((card) => ({
    card,
    kind: card.dataset.item,
    text: plain(card),
    words: $(".w", card),
    folds: $("details.more", card),
    lines: $(`tr[data-of="${card.id}"]`),
  }));
  const kinds = [...new Set(cards.map((item) => item.kind))];

  function search(query) {
    const terms = query.toLowerCase().split(/\s+/).filter(Boolean);
    const counts = {};
    for (const item of cards) {
      const shown = terms.every((term) => item.text.includes(term));
      counts[item.kind] = (counts[item.kind] || 0) + shown;
      item.card.hidden = !shown;
      for (const line of item.lines) line.hidden = !shown;
      for (const word of item.words) {
        word.classList.toggle("hit", shown && terms.some((term) => plain(word).includes(term)));
      }
      for (const fold of item.folds) {
        const hit = shown && terms.length > 0 && fold.querySelector(".hit") !== null;
        if (hit && !fold.open) fold.dataset.opened = "";
        if (hit) fold.open = true;
        else if ("opened" in fold.dataset) fold.open = false;
        if (!hit) delete fold.dataset.opened;
      }
    }
    for (const table of $("tbody")) {
      table.closest(".wide").hidden = terms.length > 0 && $("tr:not([hidden])", table).length === 0;
    }
    for (const section of $("main > section")) {
      const items = $("[data-item], tbody tr", section);
      const always = section.querySelector("figure, dl") !== null;
      section.hidden = terms.length > 0 && !always && items.every((item) => item.hidden);
    }
    const total = (kind) => cards.filter((item) => item.kind === kind).length;
    found.textContent = terms.length ? kinds.map((kind) => `${counts[kind]} of ${total(kind)} ${kind}`).join(", ") : "";
    nothing.hidden = !terms.length || kinds.some((kind) => counts[kind] > 0);
  }

  // The search is in the address, so that a page can be passed on as it is seen: report.html#q=orbit
  function remember(query) {
    const address = query ? "#q=" + encodeURIComponent(query) : location.pathname + location.search;
    try {
      history.replaceState(null, "", address);
    } catch {
      // a browser that does not allow it for files; the search works all the same
    }
  }

  function set(query) {
    box.value = query;
    search(query);
    remember(query);
  }

  function read() {
    const match = /^#q=(.*)$/.exec(location.hash);
    if (match) {
      try {
        box.value = decodeURIComponent(match[1]);
      } catch {
        box.value = match[1];
      }
      search(box.value);
      return;
    }
    // A link to a card that the search has taken away brings it back.
    const target = location.hash.length > 1 && document.getElementById(location.hash.slice(1));
    if (target && target.hidden) {
      box.value = "";
      search("");
      target.scrollIntoView();
    }
  }

  function sort(button) {
    const head = button.closest("th");
    const index = [...head.parentElement.children].indexOf(head);
    const body = head.closest("table").tBodies[0];
    const value = (line) => {
      const cell = line.children[index];
      if (!("v" in cell.dataset)) return cell.textContent;
      return cell.dataset.v === "" ? NaN : Number(cell.dataset.v);
    };
    const lines = [...body.rows].map((line) => [value(line), line]);
    const isNumber = lines.every(([v]) => typeof v === "number");
    // Numbers begin with the largest, text at A; a second press turns the order round.
    const before = head.getAttribute("aria-sort");
    const down = before ? before === "ascending" : isNumber && index > 0;
    const sign = down ? -1 : 1;
    lines.sort(([a], [b]) => {
      if (!isNumber) return sign * String(a).localeCompare(String(b), undefined, { numeric: true });
      if (Number.isNaN(a) || Number.isNaN(b)) return Number.isNaN(a) - Number.isNaN(b);
      return sign * (a - b);
    });
    for (const other of head.parentElement.children) other.removeAttribute("aria-sort");
    head.setAttribute("aria-sort", down ? "descending" : "ascending");
    body.append(...lines.map(([, line]) => line));
  }

  for (const button of $("table.sortable thead button")) button.addEventListener("click", () => sort(button));
  document.getElementById("search").hidden = false;
  document.getElementById("search").addEventListener("submit", (event) => event.preventDefault());
  document.getElementById("clear").addEventListener("click", () => {
    set("");
    box.focus();
  });
  box.addEventListener("input", () => set(box.value));
  addEventListener("keydown", (event) => {
    if (event.key === "Escape" && box.value) set("");
    const typing = /^(INPUT|TEXTAREA|SELECT)$/.test(event.target.tagName || "");
    if (event.key === "/" && !typing && !event.ctrlKey && !event.metaKey && !event.altKey) {
      event.preventDefault();
      box.focus();
      box.select();
    }
  });
  addEventListener("hashchange", read);
  // On paper nothing is folded away.
  let folded = [];
  addEventListener("beforeprint", () => {
    folded = $("details:not([open])");
    for (const fold of folded) fold.open = true;
  });
  addEventListener("afterprint", () => {
    for (const fold of folded) fold.open = false;
  });
  read();
})();
