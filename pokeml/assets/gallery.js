"use strict";
(() => {
  const find = (query, from = document) => from.querySelector(query);
  const all = (query, from = document) => [...from.querySelectorAll(query)];

  // Light or dark: as the system has it, until the button says otherwise; remembered where the browser allows it.
  const memory = { get: () => { try { return localStorage.getItem("theme"); } catch { return null; } },
    set: value => { try { localStorage.setItem("theme", value); } catch { /* a file without storage */ } } };
  const root = document.documentElement;
  if (memory.get()) root.dataset.theme = memory.get();
  find("#theme")?.addEventListener("click", () => {
    const dark = root.dataset.theme ? root.dataset.theme === "dark" : matchMedia("(prefers-color-scheme: dark)").matches;
    root.dataset.theme = dark ? "light" : "dark";
    memory.set(root.dataset.theme);
  });

  // On a narrow screen the picture begins where its first item is.
  for (const frame of all(".picture-frame")) {
    const first = find(".item", frame)?.getBoundingClientRect();
    if (first) frame.scrollLeft += first.left + first.width / 2 - frame.getBoundingClientRect().left - frame.clientWidth / 2;
  }

  const local = new Intl.DateTimeFormat(undefined, { dateStyle: "medium", timeStyle: "medium" });
  for (const time of all("time")) {
    const when = new Date(time.dateTime);
    if (!isNaN(when)) { time.title = time.textContent; time.textContent = local.format(when); }
  }

  find("#code")?.addEventListener("click", event => {
    const sources = all("details.source"), hide = sources.some(s => s.open);
    for (const source of sources) source.open = !hide;
    event.target.textContent = hide ? "Show code" : "Hide code";
  });

  const table = find("table#runs"); // a notebook may have a heading of that name
  if (!table) return;
  const body = table.tBodies[0], rows = all("tr", body);
  const texts = new Map(rows.map(row => [row, `${row.textContent} ${row.dataset.id}`.toLowerCase()]));

  const filter = find("#filter"), status = find("#status"), count = find("#count");
  function narrow() {
    const words = filter.value.toLowerCase().split(/\s+/).filter(Boolean);
    let shown = 0;
    for (const row of rows) {
      const fits = words.every(word => texts.get(row).includes(word)) && (!status.value || row.dataset.status === status.value);
      row.hidden = !fits;
      shown += fits;
    }
    count.textContent = shown === rows.length ? `${rows.length} runs` : `${shown} of ${rows.length} runs`;
  }
  filter.addEventListener("input", narrow);
  status.addEventListener("input", narrow);

  all("thead th", table).forEach((head, i) => {
    const key = row => {
      const cell = row.cells[i + 1];
      if (i === 0) return row.dataset.id;  // the names are words, the ids begin with the time
      const number = Number(cell.dataset.value);
      return !("value" in cell.dataset) ? cell.textContent.trim() : isNaN(number) ? "" : number; // "nan" is no value
    };
    find("button", head).addEventListener("click", () => {
      const down = head.getAttribute("aria-sort") === "ascending" ? -1 : 1;
      all("thead th", table).forEach(other => other.removeAttribute("aria-sort"));
      head.setAttribute("aria-sort", down === 1 ? "ascending" : "descending");
      const keys = new Map(rows.map(row => [row, key(row)]));
      rows.sort((a, b) => {
        const [x, y] = [keys.get(a), keys.get(b)];
        if (x === "" || y === "") return (x === "") - (y === "");
        return down * (typeof x === "number" && typeof y === "number" ? x - y : String(x).localeCompare(String(y)));
      });
      body.append(...rows);
    });
  });

  // Two ticked runs and more: what the list knows of them side by side, and the command that tells all.
  const panel = find("#compare");
  body.addEventListener("change", () => {
    const ticked = rows.filter(row => find("input", row).checked).sort((a, b) => a.dataset.id.localeCompare(b.dataset.id));
    panel.hidden = ticked.length < 2;
    if (panel.hidden) return;
    find("span", panel).textContent = `${ticked.length} runs side by side. To see all that differs, run:`;
    find("code", panel).textContent = `pokeml runs diff ${ticked.map(row => row.dataset.id).join(" ")} --html`;
    const made = document.createElement("table");
    all("thead th", table).forEach((head, i) => {
      const values = ticked.map(row => row.cells[i + 1].textContent.trim());
      if (i > 0 && values.every(value => value === values[0])) return;
      const line = made.insertRow();
      const name = document.createElement("th");
      name.scope = "row";
      name.textContent = head.textContent;
      line.append(name);
      for (const value of values) line.insertCell().textContent = value;
    });
    find(".scroll", panel).replaceChildren(made);
  });
  find("button", panel).addEventListener("click", async event => {
    try { await navigator.clipboard.writeText(find("code", panel).textContent); event.target.textContent = "Copied"; }
    catch { getSelection().selectAllChildren(find("code", panel)); }
  });
})();
