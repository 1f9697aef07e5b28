"use strict";
(() => {
  const $ = (selector, root = document) => [...root.querySelectorAll(selector)];
  const get = (id) => document.getElementById(id);
  const make = (tag, attributes = {}, ...children) => {
    const element = document.createElement(tag);
    for (const [name, value] of Object.entries(attributes)) element.setAttribute(name, value);
    element.append(...children);
    return element;
  };
  const data = JSON.parse(get("data").textContent);
  const box = get("q");
  const found = get("found");
  const nothing = get("nothing");
  const plain = (element) => element.textContent.toLowerCase();
  const lines = new Map();
  for (const line of $("tr[data-of]")) lines.set(line.dataset.of, [...(lines.get(line.dataset.of) || []), line]);
  const cards = $("[data-item]").map((card) => ({
    card,
    kind: card.dataset.item,
    text: plain(card),
    lines: lines.get(card.id) || [],
  }));
  const kinds = [...new Set(cards.map((item) => item.kind))];
  const title = { topics: plain(get("h-topics")), strata: get("h-strata") ? plain(get("h-strata")) : "groups" };
  let terms = [];

  // ---------------------------------------------------------------- search

  function mark(root, shown) {
    for (const word of $(".w", root)) {
      word.classList.toggle("hit", shown && terms.some((term) => plain(word).includes(term)));
    }
  }

  function search(query) {
    terms = query.toLowerCase().split(/\s+/).filter(Boolean);
    const counts = {};
    for (const item of cards) {
      const shown = terms.every((term) => item.text.includes(term));
      counts[item.kind] = (counts[item.kind] || 0) + shown;
      item.card.hidden = !shown;
      for (const line of item.lines) line.hidden = !shown;
      mark(item.card, shown);
      for (const fold of $("details.more, details.fold", item.card)) {
        const hit = shown && terms.length > 0 && (fold.matches(".fold") || fold.querySelector(".hit") !== null);
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
      if (section.id === "compare") continue;
      const items = $("[data-item], tbody tr", section);
      const always = section.querySelector("figure:not(.factor figure), .three") !== null;
      section.hidden = terms.length > 0 && !always && items.every((item) => item.hidden);
    }
    const total = (kind) => cards.filter((item) => item.kind === kind).length;
    found.textContent = terms.length
      ? kinds.map((kind) => `${counts[kind]} of ${total(kind)} ${title[kind]}`).join(", ")
      : "";
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
    // A link to a card that the search has taken away, or that is folded, brings it back.
    const target = location.hash.length > 1 && get(location.hash.slice(1));
    if (!target) return;
    const fold = target.querySelector("details.fold");
    const moves = target.hidden || (fold && !fold.open);
    if (target.hidden) {
      box.value = "";
      search("");
    }
    if (fold) fold.open = true;
    if (moves) target.scrollIntoView();
  }

  // ---------------------------------------------------------------- tables

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

  function csv(rows) {
    const cell = (value) => (/[",\n\r]/.test(value) ? `"${value.replaceAll('"', '""')}"` : value);
    return rows.map((row) => row.map((value) => cell(String(value))).join(",")).join("\r\n") + "\r\n";
  }

  function cellsOf(table) {
    const value = (cell) => {
      if (cell.tagName === "TD" && "v" in cell.dataset) return cell.dataset.v;
      return cell.textContent.replace(/\s+/g, " ").trim();
    };
    return [...table.rows].map((row) => [...row.cells].map(value));
  }

  // ---------------------------------------------------------------- files

  function save(name, parts, type) {
    const address = URL.createObjectURL(new Blob(parts, { type }));
    const link = make("a", { href: address, download: name });
    link.click();
    setTimeout(() => URL.revokeObjectURL(address), 10000);
  }

  const STYLES = ["fill", "stroke", "stroke-width", "stroke-linejoin", "stroke-dasharray", "fill-opacity", "font-size", "font-family"];

  // Return a figure as text that stands alone, with the colours it has on the page.
  function drawing(svg) {
    const copy = svg.cloneNode(true);
    const from = [svg, ...$("*", svg)];
    for (const [at, element] of [copy, ...$("*", copy)].entries()) {
      const style = getComputedStyle(from[at]);
      for (const name of STYLES) element.style.setProperty(name, style.getPropertyValue(name));
      element.classList.remove("on");
      element.removeAttribute("href");
    }
    const [, , width, height] = svg.getAttribute("viewBox").split(" ").map(Number);
    copy.setAttribute("width", width);
    copy.setAttribute("height", height);
    copy.style.setProperty("background", getComputedStyle(document.body).backgroundColor);
    return { text: new XMLSerializer().serializeToString(copy), width, height };
  }

  function savePicture(svg, name) {
    const { text, width, height } = drawing(svg);
    const picture = new Image();
    picture.onload = () => {
      const canvas = make("canvas", { width: 2 * width, height: 2 * height });
      canvas.getContext("2d").drawImage(picture, 0, 0, 2 * width, 2 * height);
      canvas.toBlob((blob) => save(`${name}.png`, [blob], "image/png"), "image/png");
    };
    picture.src = "data:image/svg+xml;charset=utf-8," + encodeURIComponent(text);
  }

  function button(label, action, describe) {
    const made = make("button", { type: "button", "aria-label": describe }, label);
    made.addEventListener("click", action);
    return made;
  }

  function tools(...buttons) {
    return make("p", { class: "tools made" }, ...buttons);
  }

  function addTools() {
    for (const table of $("table[data-file]")) {
      const name = table.dataset.file;
      const write = () => save(`${name}.csv`, ["\ufeff", csv(cellsOf(table))], "text/csv");
      table.closest(".wide").before(tools(button("CSV", write, `Save the table ${name} as CSV`)));
    }
    for (const figure of $("figure[data-file]")) {
      const name = figure.dataset.file;
      const svg = () => figure.querySelector("svg");
      const write = () => svg() && save(`${name}.svg`, [drawing(svg()).text], "image/svg+xml");
      const paint = () => svg() && savePicture(svg(), name);
      const as = `Save the figure ${name} as`;
      figure.append(tools(button("SVG", write, `${as} SVG`), button("PNG", paint, `${as} PNG`)));
    }
    for (const [key, kind] of [["topics", "topic"], ["strata", "group"]]) {
      const slider = document.querySelector(`#${key} .slider`);
      if (!slider) continue;
      const write = () => save(`words-of-${key}.csv`, ["\ufeff", csv(wordTable(key, kind))], "text/csv");
      slider.append(button("CSV", write, `Save the lists of all ${title[key]} as CSV`));
    }
  }

  function wordTable(key, kind) {
    const lines = [[kind, "name", "rank", "feature", "weight", "lift", "relevance"]];
    for (const { element, part, at, count, card, key: of } of lists) {
      if ((of === "topics") !== (key === "topics") || (of !== "topics" && !card)) continue;
      const own = of === "own" ? `: ${element.previousElementSibling.firstChild.textContent}` : "";
      const name = card.querySelector("h3 bdi").textContent + own;
      ranked(part, order).slice(0, count).forEach(([place, weight, lift, score], rank) => {
        lines.push([at, name, rank + 1, data.words[place], weight, Number(lift.toPrecision(4)), score.toFixed(4)]);
      });
    }
    return lines;
  }

  // ---------------------------------------------------------------- the order of words

  const minus = (text) => text.replace("-", "\u2212");
  function number(value, digits) {
    const size = Math.abs(value);
    if (size >= 100) return minus(Math.round(value).toLocaleString("en-US"));
    if (size < 1e-3 && value !== 0) {
      return minus(value.toExponential(1).replace(/e([+-])(\d)$/, "e$10$2"));
    }
    return minus(value.toPrecision(digits));
  }

  const SHOWN = 10;
  let order = 0.6;
  const lists = $("[data-list]").map((element) => {
    const [key, at] = element.dataset.list.split(".");
    const count = $(".w", element).length;
    return { element, key, at: Number(at), count, part: data[key][Number(at)], card: element.closest(".card") };
  });

  // Return [place of the word, weight, lift, relevance] of all words of a list, by relevance.
  function ranked([total, places, weights], weight) {
    const rows = places.map((place, at) => {
      const share = weights[at] / total;
      const lift = share / data.q[place];
      return [place, weights[at], lift, weight * Math.log(share) + (1 - weight) * Math.log(lift)];
    });
    return rows.sort((a, b) => b[3] - a[3]);
  }

  function word(place, starred) {
    return make("span", { class: starred && starred.includes(place) ? "w star" : "w" }, data.words[place]);
  }

  function write({ element, part, count }) {
    const rows = ranked(part, order).slice(0, count);
    const shown = rows.slice(0, SHOWN);
    const largest = Math.max(...shown.map((row) => row[1]));
    const items = shown.map(([place, weight, lift]) => {
      const item = make(
        "li",
        {},
        word(place, part[3]),
        make("span", { class: "n" }, number(weight, 2)),
        make("span", { class: "x" }, number(lift, 2) + "×"),
      );
      item.style.setProperty("--v", (weight / largest).toFixed(3));
      return item;
    });
    element.querySelector(".bars").replaceChildren(...items);
    const more = element.querySelector(".more p");
    if (more) more.replaceChildren(...rows.slice(SHOWN).flatMap(([place]) => [word(place, part[3]), " "]));
  }

  function slide(value) {
    order = Number(value);
    for (const slider of $(".slider input")) {
      slider.value = value;
      slider.closest(".slider").querySelector("output").textContent = `λ = ${order}`;
    }
    for (const list of lists) write(list);
    if (terms.length) for (const item of cards) mark(item.card, !item.card.hidden);
    if (panel) show(panel.dataset.topic);
  }

  // ---------------------------------------------------------------- the map

  const panel = get("panel");
  function show(topic) {
    if (!panel || !topic) return;
    const list = lists.find((each) => each.key === "topics" && each.at === Number(topic));
    panel.dataset.topic = topic;
    const head = make("h3", {}, make("span", { class: "no" }, topic), " ", nameOf(topic));
    panel.replaceChildren(head, ...(list ? [list.element.querySelector(".bars").cloneNode(true)] : []));
  }

  function light(event) {
    const target = event.target.closest ? event.target.closest("[data-topic]") : null;
    const topic = target && target.id !== "panel" ? target.dataset.topic : null;
    for (const element of $("#map [data-topic].on")) element.classList.remove("on");
    if (!topic) return;
    for (const element of $(`#map [data-topic="${topic}"]`)) element.classList.add("on");
    if (target.closest("#map")) show(topic);
  }

  // ---------------------------------------------------------------- two groups

  function compare() {
    const [left, right] = ["left", "right"].map((id) => Number(get(id).value));
    const names = ["left", "right"].map((id) => get(id).selectedOptions[0].textContent);
    const weights = [left, right].map((at) => {
      const [, places, values] = data.groups[at];
      return new Map(places.map((place, p) => [place, values[p]]));
    });
    const rows = data.compared.map((place) => {
      const [a, b] = weights.map((map) => map.get(place) || 0);
      return [data.words[place], a - b, a, b];
    });
    rows.sort((a, b) => b[1] - a[1]);
    const ahead = rows.filter((row) => row[1] > 0).slice(0, 12);
    const behind = rows.filter((row) => row[1] < 0).slice(-12);
    get("difference").replaceChildren(diverging([...ahead, ...behind], names));
    const caption = document.querySelector("#compare figcaption");
    caption.textContent = `To the right: more in ${names[0]}. To the left: more in ${names[1]}.`;
    if (!ahead.length && !behind.length) caption.textContent = "The shifts of these two do not differ.";
  }

  function diverging(rows, names) {
    const space = get("difference").namespaceURI.replace("1999/xhtml", "2000/svg");
    const draw = (tag, attributes, label) => {
      const element = document.createElementNS(space, tag);
      for (const [name, value] of Object.entries(attributes)) element.setAttribute(name, value);
      if (label !== undefined) element.textContent = label;
      return element;
    };
    const [line, head] = [22, 26];
    const width = Math.max(320, Math.min(640, get("difference").clientWidth || 640));
    const middle = width / 2;
    const largest = Math.max(...rows.map((row) => Math.abs(row[1])), 1e-300);
    const height = head + line * rows.length + 6;
    const label = `${names[0]} against ${names[1]}`;
    const svg = draw("svg", { viewBox: `0 0 ${width} ${height}`, class: "diverging", role: "img", "aria-label": label });
    const short = (name, most) => (name.length > most ? name.slice(0, Math.floor(most) - 1) + "…" : name);
    svg.append(
      draw("text", { x: middle - 8, y: 14, "text-anchor": "end", class: "behind" }, `← ${short(names[1], width / 20)}`),
      draw("text", { x: middle + 8, y: 14, class: "ahead" }, `${short(names[0], width / 20)} →`),
      draw("path", { class: "grid", d: `M${middle} ${head - 4}V${height}` }),
    );
    rows.forEach(([name, difference, a, b], at) => {
      const y = head + line * at;
      const length = (Math.abs(difference) / largest) * (middle - 60);
      const right = difference > 0;
      const bar = draw("rect", {
        x: right ? middle : middle - length, y, width: length, height: line - 6, class: right ? "ahead" : "behind",
      });
      bar.append(draw("title", {}, `${name}: ${number(a, 2)} and ${number(b, 2)}`));
      const end = { y: y + 12, x: right ? middle - 8 : middle + 8, "text-anchor": right ? "end" : "start" };
      const tip = {
        y: y + 12, x: right ? middle + length + 6 : middle - length - 6, "text-anchor": right ? "start" : "end",
      };
      svg.append(bar, draw("text", { ...end, class: "word" }, short(name, width / 17)), draw("text", tip, number(difference, 2)));
    });
    return svg;
  }

  // ---------------------------------------------------------------- names of topics, light and dark

  const nameOf = (topic) => document.querySelector(`#topic-${topic} h3 [data-name]`).textContent;

  function rename(topic, name) {
    for (const element of $(`[data-name="${topic}"]`)) element.textContent = name;
    for (const element of $(`.bubbles [data-topic="${topic}"] title`)) element.textContent = `${topic} ${name}`;
    const item = cards.find(({ card }) => card.id === `topic-${topic}`);
    item.text = plain(item.card);
    item.card.dataset.renamed = "";
    show(panel && panel.dataset.topic);
    const names = $("[data-renamed]").map((card) => {
      const number = card.id.slice("topic-".length);
      return `${number}: ${JSON.stringify(nameOf(number))}`;
    });
    document.querySelector("#renamed code").textContent = `rename_topics(model, {${names.join(", ")}})`;
    get("renamed").hidden = false;
  }

  function edit(opener) {
    const topic = opener.dataset.rename;
    const input = make("input", { type: "text", "aria-label": `Name of ${topic}`, maxlength: 80, class: "name" });
    input.value = nameOf(topic);
    let isOpen = true;
    const close = (keeps) => {
      if (!isOpen) return;
      isOpen = false;
      const name = input.value.trim();
      input.replaceWith(opener);
      if (keeps && name && name !== nameOf(topic)) rename(topic, name);
    };
    input.addEventListener("keydown", (event) => {
      if (event.key === "Enter" || event.key === "Escape") {
        event.stopPropagation();
        close(event.key === "Enter");
        opener.focus();
      }
    });
    input.addEventListener("blur", () => close(true));
    opener.replaceWith(input);
    input.focus();
    input.select();
  }

  const dark = [...document.styleSheets[0].cssRules].find((rule) => rule.media && /dark/.test(rule.media.mediaText));
  const system = matchMedia("(prefers-color-scheme: dark)");
  // The scheme is that of the system until the reader chooses.
  let scheme = null;
  const isDark = () => (scheme === null ? system.matches : scheme);
  function paint() {
    dark.media.mediaText = scheme === null ? "(prefers-color-scheme: dark)" : scheme ? "all" : "not all";
    document.documentElement.style.colorScheme = scheme === null ? "" : scheme ? "dark" : "light";
    get("scheme").textContent = isDark() ? "Light" : "Dark";
  }

  // Write the page with the names of now, as if it had just been loaded.
  function savePage() {
    const copy = document.documentElement.cloneNode(true);
    for (const element of $(".tools.made, .slider button, #panel > *, #difference > *", copy)) element.remove();
    for (const element of $("[data-item], main > section, tbody tr, .wide, [data-renamed]", copy)) element.hidden = false;
    for (const element of $("[data-needs-script], .rename, #search, #nothing", copy)) element.hidden = true;
    for (const element of $(".hit, .on", copy)) element.classList.remove("hit", "on");
    for (const element of $("details.fold", copy)) element.open = true;
    copy.removeAttribute("style");
    const name = (document.title.replace(/[^\p{L}\p{N}]+/gu, "-").replace(/^-|-$/g, "") || "report") + ".html";
    save(name, ["<!doctype html>\n", copy.outerHTML, "\n"], "text/html");
  }

  // ---------------------------------------------------------------- what the reader does

  for (const element of $("[data-needs-script], .rename")) element.hidden = false;
  if (!data.compared.length) for (const element of $('#compare, nav [href="#compare"]')) element.hidden = true;
  get("search").hidden = false;
  addTools();
  for (const head of $("table.sortable thead button")) head.addEventListener("click", () => sort(head));
  get("search").addEventListener("submit", (event) => event.preventDefault());
  get("clear").addEventListener("click", () => {
    set("");
    box.focus();
  });
  box.addEventListener("input", () => set(box.value));
  for (const slider of $(".slider input")) slider.addEventListener("input", () => slide(slider.value));
  for (const opener of $(".rename")) opener.addEventListener("click", () => edit(opener));
  for (const kind of ["mouseover", "focusin"]) document.addEventListener(kind, light);
  get("save").addEventListener("click", savePage);
  get("scheme").addEventListener("click", () => {
    scheme = !isDark();
    paint();
  });
  system.addEventListener("change", paint);
  if (get("pair") && data.compared.length) {
    get("pair").addEventListener("submit", (event) => event.preventDefault());
    get("pair").addEventListener("change", compare);
    get("swap").addEventListener("click", () => {
      const [left, right] = [get("left"), get("right")];
      [left.value, right.value] = [right.value, left.value];
      compare();
    });
    compare();
  }
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
  // A phone shows the heads of the cards; a press opens one.
  if (matchMedia("(max-width: 40rem)").matches) for (const fold of $("details.fold")) fold.open = false;
  // On paper nothing is folded away.
  let folded = [];
  addEventListener("beforeprint", () => {
    folded = $("details:not([open])");
    for (const fold of folded) fold.open = true;
  });
  addEventListener("afterprint", () => {
    for (const fold of folded) fold.open = false;
  });
  const first = document.querySelector("#map .bars [data-topic]");
  if (first) show(first.dataset.topic);
  paint();
  read();
})();
