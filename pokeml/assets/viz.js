"use strict";
(async () => {
  const find = (query, from = document) => from.querySelector(query);
  const all = (query, from = document) => [...from.querySelectorAll(query)];
  const packed = Uint8Array.from(atob(find("#facts").textContent), letter => letter.charCodeAt(0));
  const facts = await new Response(new Blob([packed]).stream().pipeThrough(new DecompressionStream("deflate"))).json();
  if (facts.full) find("#full").innerHTML = facts.full;  // the SVG of a large graph, made and escaped by picture.svg
  const main = find("main"), view = find("#view"), panel = find("#panel"), list = find("#list");
  const root = document.documentElement;
  const SIGNS = facts.signs, MEANINGS = facts.meanings;
  let about = facts.items;

  // Light or dark.
  try { if (localStorage.getItem("theme")) root.dataset.theme = localStorage.getItem("theme"); } catch { /* no storage */ }
  find("#theme").addEventListener("click", () => {
    const dark = root.dataset.theme ? root.dataset.theme === "dark" : matchMedia("(prefers-color-scheme: dark)").matches;
    root.dataset.theme = dark ? "light" : "dark";
    try { localStorage.setItem("theme", root.dataset.theme); } catch { /* no storage */ }
  });

  // The two pictures: everything, and a box for each pipeline.
  const pictures = { full: find("#full svg"), folded: find("#folded svg") };
  const NS = "http://www.w3.org/2000/svg";
  let current = pictures.full;

  function arms(picture) {
    const down = new Map(), up = new Map();
    for (const line of all(".line", picture)) {
      const { from, to } = line.dataset;
      down.set(from, [...down.get(from) ?? [], to]);
      up.set(to, [...up.get(to) ?? [], from]);
    }
    return { down, up };
  }
  const joined = new Map(Object.values(pictures).filter(Boolean).map(picture => [picture, arms(picture)]));

  // Zoom and pan move the picture's viewBox.
  const whole = new Map(), shown = new Map();
  for (const picture of joined.keys()) {
    const [x, y, w, h] = picture.getAttribute("viewBox").split(" ").map(Number);
    picture.removeAttribute("width"); picture.removeAttribute("height");
    whole.set(picture, { x, y, w, h });
    shown.set(picture, { x, y, w, h });
    picture.setAttribute("role", "group");
  }
  function show(box) {
    shown.set(current, box);
    current.setAttribute("viewBox", `${box.x} ${box.y} ${box.w} ${box.h}`);
  }
  function zoom(factor, at) {
    const box = shown.get(current), size = view.getBoundingClientRect();
    const scale = Math.min(size.width / box.w, size.height / box.h);
    const width = size.width / scale, height = size.height / scale;
    const left = box.x - (width - box.w) / 2, top = box.y - (height - box.h) / 2;
    const [px, py] = at ? [(at.x - size.left) / size.width, (at.y - size.top) / size.height] : [.5, .5];
    const w = Math.min(Math.max(width * factor, 80), whole.get(current).w * 6 + 2000), h = height * w / width;
    show({ x: left + (width - w) * px, y: top + (height - h) * py, w, h });
  }
  const fit = () => show({ ...whole.get(current) });
  const begun = new Set();
  let kept = null;  // how it was before it is printed
  let seen = null;  // how large the view was
  function begin() {  // a picture too large to be read as a whole begins at its top: in full width, if that can be read
    if (begun.has(current)) return;
    begun.add(current);
    const box = whole.get(current), size = seen = view.getBoundingClientRect(), readable = .85;
    if (!size.width || Math.min(size.width / box.w, size.height / box.h) > readable) return;
    const scale = size.width / box.w > readable ? size.width / box.w : .95, w = size.width / scale, h = size.height / scale;
    const [top] = [...items.get(current).values()].map(place).sort((a, b) => a.y - b.y || a.x - b.x);
    show({ x: Math.max(0, Math.min(top.x + top.w / 2 - w / 2, box.w - w)), y: 0, w, h });
  }
  function resized() {  // the picture keeps its scale and its upper left corner when there is more or less room for it
    const size = view.getBoundingClientRect(), before = seen;
    if (kept || !size.width || before.width === size.width && before.height === size.height) return;
    seen = size;
    if (!before.width) return;
    const box = shown.get(current), scale = Math.min(before.width / box.w, before.height / box.h);
    const x = box.x - (before.width / scale - box.w) / 2, y = box.y - (before.height / scale - box.h) / 2;
    show({ x, y, w: size.width / scale, h: size.height / scale });
  }
  function centre(keys, room = 500) {
    const places = keys.map(key => item(key)).filter(Boolean).map(place);
    if (!places.length) return;
    const x = Math.min(...places.map(p => p.x)), y = Math.min(...places.map(p => p.y));
    const w = Math.max(...places.map(p => p.x + p.w)) - x, h = Math.max(...places.map(p => p.y + p.h)) - y;
    const size = view.getBoundingClientRect();
    const box = shown.get(current), all = whole.get(current), small = Math.min(size.width / box.w, size.height / box.h) < .45;
    const holds = (x, y, w, h, edge) => x >= box.x + edge * box.w && y >= box.y + edge * box.h && x + w <= box.x + (1 - edge) * box.w && y + h <= box.y + (1 - edge) * box.h;
    const inside = holds(x, y, w, h, holds(all.x, all.y, all.w, all.h, 0) ? 0 : .15);  // with what it is joined to, if it can be
    if (small && keys.length === 1) show({ x: x + w / 2 - size.width * .6, y: y - size.height * .5, w: size.width * 1.2, h: size.height * 1.2 });
    else if (keys.length === 1 && !inside) show({ ...box, x: x + (w - box.w) / 2, y: y + (h - box.h) / 2 });
    else if (!inside || room < 500) show({ x: x - room / 2, y: y - room / 3, w: w + room, h: h + room / 1.5 });
  }
  view.addEventListener("wheel", event => { event.preventDefault(); zoom(event.deltaY > 0 ? 1.15 : 1 / 1.15, event); }, { passive: false });
  const fingers = new Map();
  let moved = 0;
  view.addEventListener("pointerdown", event => {
    if (event.target.closest("#zoom")) return;
    fingers.set(event.pointerId, { x: event.clientX, y: event.clientY });
    moved = 0;
  });
  view.addEventListener("pointermove", event => {
    const before = fingers.get(event.pointerId);
    if (!before) return;
    const others = [...fingers].filter(([id]) => id !== event.pointerId).map(([, p]) => p);
    if (others.length) {
      const far = p => Math.hypot(p.x - others[0].x, p.y - others[0].y) || 1;
      zoom(far(before) / far({ x: event.clientX, y: event.clientY }), others[0]);
    } else {
      const box = shown.get(current), size = view.getBoundingClientRect();
      const scale = Math.min(size.width / box.w, size.height / box.h);
      show({ ...box, x: box.x - (event.clientX - before.x) / scale, y: box.y - (event.clientY - before.y) / scale });
    }
    moved += Math.abs(event.clientX - before.x) + Math.abs(event.clientY - before.y);
    if (moved > 4) view.classList.add("moving");
    fingers.set(event.pointerId, { x: event.clientX, y: event.clientY });
  });
  for (const end of ["pointerup", "pointercancel", "pointerleave"])
    view.addEventListener(end, event => { fingers.delete(event.pointerId); view.classList.remove("moving"); });
  find("#in").addEventListener("click", () => zoom(1 / 1.3));
  find("#out").addEventListener("click", () => zoom(1.3));
  find("#fit").addEventListener("click", fit);

  const items = new Map([...joined.keys()].map(p => [p, new Map(all(".item", p).map(g => [g.dataset.key, g]))]));
  const item = key => items.get(current).get(key);
  function place(g) {
    const [x, y] = g.getAttribute("transform").match(/-?[\d.]+/g).map(Number), box = find(".box", g);
    return { x, y, w: Number(box.getAttribute("width")), h: Number(box.getAttribute("height")) };
  }

  // Folding one pipeline: a box where its nodes were; the rest stays where it is.
  const folded = new Set();
  function draw() {
    const picture = pictures.full;
    all(".made", picture).forEach(made => made.remove());
    for (const key of [...items.get(picture).keys()].filter(key => key.startsWith("pipeline:"))) items.get(picture).delete(key);
    const { down, up } = joined.get(picture);
    const stands = new Map();  // what an item is part of
    const homeOf = key => about[key]?.kind === "node" && folded.has(about[key].pipeline) ? `pipeline:${about[key].pipeline}` : null;
    for (const [key, g] of items.get(picture)) {
      let home = homeOf(key);
      if (!home && about[key]?.kind !== "node") {
        const users = [...up.get(key) ?? [], ...down.get(key) ?? []].map(homeOf);
        if (users.length && users.every(user => user && user === users[0])) home = users[0];
      }
      if (home) stands.set(key, home);
      g.classList.toggle("gone", Boolean(home));
    }
    for (const name of folded) {
      const places = [...stands].filter(([, home]) => home === `pipeline:${name}`).map(([key]) => place(items.get(picture).get(key)));
      if (!places.length) continue;
      const x = places.reduce((sum, p) => sum + p.x + p.w / 2, 0) / places.length, y = places.reduce((sum, p) => sum + p.y, 0) / places.length;
      const w = name.length * 7.25 + 60, g = document.createElementNS(NS, "g");
      g.setAttribute("class", "item pipeline folded-box made");
      g.setAttribute("transform", `translate(${Math.round(x - w / 2)} ${Math.round(y)})`);
      Object.assign(g.dataset, { key: `pipeline:${name}`, group: name });
      for (const [tag, given, text] of [["title", {}, `pipeline ${name}, folded`], ["rect", { class: "box", width: w, height: 30, rx: 4 }], ["text", { x: 14, y: 19.5 }, `${name} ▸`]]) {
        const part = document.createElementNS(NS, tag);
        for (const [k, v] of Object.entries(given)) part.setAttribute(k, v);
        if (text) part.textContent = text;
        g.append(part);
      }
      const member = all(".item.node", picture).find(one => one.dataset.group === name), strip = member && find("path", member);
      if (strip) g.append(strip.cloneNode());  // the pipeline's colour
      picture.append(g);
      items.get(picture).set(g.dataset.key, g);
      prepare(g);
    }
    const drawn = new Set();
    for (const line of all(".line:not(.made)", picture)) {
      const from = stands.get(line.dataset.from) ?? line.dataset.from, to = stands.get(line.dataset.to) ?? line.dataset.to;
      const same = from === line.dataset.from && to === line.dataset.to;
      line.classList.toggle("gone", !same);
      const back = about[from]?.written_by?.some(name => `pipeline:${about[`node:${name}`]?.pipeline}` === to);  // it made it itself
      if (same || from === to || back || drawn.has(`${from} ${to}`)) continue;
      drawn.add(`${from} ${to}`);
      const a = place(items.get(picture).get(from)), b = place(items.get(picture).get(to));
      const [x1, y1, x2, y2] = [a.x + a.w / 2, a.y + a.h, b.x + b.w / 2, b.y], half = (y1 + y2) / 2;
      const g = document.createElementNS(NS, "g"), path = document.createElementNS(NS, "path");
      g.setAttribute("class", "line made");
      Object.assign(g.dataset, { from, to });
      path.setAttribute("class", "edge");
      path.setAttribute("d", `M${x1} ${y1}C${x1} ${half} ${x2} ${half} ${x2} ${y2}`);
      g.append(path);
      find(".edges", picture).append(g);
    }
    all("[data-fold]").forEach(button => {
      button.textContent = folded.has(button.dataset.fold) ? "unfold" : "fold";
      button.setAttribute("aria-label", `${button.textContent} ${button.dataset.fold}`);
      button.setAttribute("aria-expanded", !folded.has(button.dataset.fold));
    });
    light();
  }
  function use(name) {
    current = pictures[name] ?? pictures.full;
    find("#full").hidden = current !== pictures.full;
    find("#folded").hidden = current !== pictures.folded;
    find("#overview").setAttribute("aria-pressed", current === pictures.folded);
    begin();
    light();
  }
  find("#overview").addEventListener("click", () => use(current === pictures.full ? "folded" : "full"));
  if (!pictures.folded) find("#overview").hidden = true;

  // Choosing an item lights up what it needs and what needs it.
  let chosen = null;
  function reach(key, arms) {
    const found = new Set([key]), left = [key];
    while (left.length) for (const next of arms.get(left.pop()) ?? []) if (!found.has(next)) { found.add(next); left.push(next); }
    return found;
  }
  function light() {
    for (const picture of joined.keys()) {
      const { up, down } = arms(picture), g = items.get(picture).get(chosen);
      picture.classList.toggle("lit", Boolean(g));
      const above = g ? reach(chosen, up) : new Set(), below = g ? reach(chosen, down) : new Set();
      for (const [key, one] of items.get(picture)) {
        one.classList.toggle("on", above.has(key) || below.has(key));
        one.classList.toggle("chosen", key === chosen);
        one.setAttribute("aria-pressed", key === chosen);
      }
      for (const line of all(".line", picture))
        line.classList.toggle("on", above.has(line.dataset.from) && above.has(line.dataset.to) || below.has(line.dataset.from) && below.has(line.dataset.to));
    }
    all("#list [data-key]").forEach(button => button.setAttribute("aria-current", button.dataset.key === chosen));
  }
  function choose(key, focus = false) {
    if (key && key.startsWith("pipeline:")) {
      const name = key.slice(9);
      folded.delete(name);
      use("full");
      draw();
      centre(about[key].nodes.map(node => `node:${node}`), 200);
      document.dispatchEvent(new CustomEvent("chosen", { detail: key }));
      return;
    }
    chosen = key && Object.hasOwn(about, key) ? key : null;
    const fold = about[chosen]?.pipeline;
    if (fold && folded.delete(fold)) draw();
    if (chosen && !item(chosen) && pictures.full && items.get(pictures.full).has(chosen)) use("full");
    light();
    details();
    resized();
    if (chosen) { history.replaceState(null, "", `#${encodeURIComponent(chosen)}`); centre([chosen]); }
    else history.replaceState(null, "", location.pathname + location.search);
    if (focus && chosen) item(chosen)?.focus();
    document.dispatchEvent(new CustomEvent("chosen", { detail: chosen }));  // for a page that this one is framed by
  }

  function element(tag, text, given = {}) {
    const made = document.createElement(tag);
    if (text !== undefined && text !== null) made.textContent = text;
    for (const [key, value] of Object.entries(given)) made.setAttribute(key, value);
    return made;
  }
  const value_of = value => {
    const short = JSON.stringify(value) ?? "";
    return short.length <= 60 ? element("code", short) : element("pre", JSON.stringify(value, null, 1), { tabindex: 0 });
  };
  const size = bytes => bytes < 1000 ? `${bytes} B` : bytes < 1e6 ? `${(bytes / 1e3).toFixed(1)} kB` : `${(bytes / 1e6).toFixed(1)} MB`;
  function names(title, keys) {
    if (!keys.length) return;
    const row = element("div", null, { class: "names" });
    for (const key of keys) {
      const button = element("button", key.slice(key.indexOf(":") + 1), { type: "button" });
      button.addEventListener("click", () => choose(key, true));
      row.append(button);
    }
    panel.append(element("h3", title), row);
  }
  function pairs(entries, given = {}) {
    const made = element("dl", null, given);
    for (const [name, value] of entries) {
      if (value === undefined || value === null || value === "") continue;
      const told = element("dd");
      told.append(value instanceof Node ? value : String(value));
      made.append(element("dt", name), told);
    }
    if (made.children.length) panel.append(made);
  }
  const status = state => state ? element("span", `${SIGNS[state] ?? ""} ${MEANINGS[state] ?? state}`, { class: `status ${state}` }) : null;
  const link = (text, href) => href ? element("a", text, { href }) : element("span", text);
  // A file of the project; the server of a live page gives none, and what lies elsewhere has no way from here.
  const way = path => facts.live || /^(\/|\w+:)/.test(path) ? null : facts.root + path.split("/").map(encodeURIComponent).join("/");

  function details() {
    panel.replaceChildren();
    const it = about[chosen];
    main.classList.toggle("closed", !it);
    if (!it) return;
    const close = element("button", "close", { type: "button", id: "close" });
    close.addEventListener("click", () => choose(null));
    panel.append(close, element("h2", it.name));
    const shape = it.rows === undefined ? "" : `${it.rows.toLocaleString("en")} × ${it.columns}`;
    if (it.kind === "node") {
      const cell = it.cell && !facts.live ? link("its cell in the executed notebook", it.cell) : null;
      const source = it.place?.notebook ? link(`${it.place.notebook}, cell ${it.place.cell}`, way(it.place.notebook)) : it.function;
      pairs([["pipeline", it.pipeline], ["status", status(it.state)], ["time", it.time && it.state !== "unchanged" ? `${it.time.toFixed(2)} s` : ""],
        ["tags", it.tags.join(", ")], ["run", cell], ["source", source]]);
      if (it.stale?.length) { panel.append(element("h3", "Why it would run now"), list_of(it.stale)); }
      if (it.why?.length) { panel.append(element("h3", "Why it ran"), list_of(it.why)); }
      names("Reads", it.inputs.map(name => `dataset:${name}`));
      names("Writes", it.outputs.map(name => `dataset:${name}`));
      if (it.parameters.length) {
        panel.append(element("h3", "Parameters"));
        pairs(it.parameters.map(name => {
          const row = element("div"), p = about[`params:${name}`];
          row.append(value_of(p.value), element("div", p.place, { class: "quiet" }));
          return [name, row];
        }), { class: "below" });
      }
      if (it.doc) panel.append(element("h3", "Documentation"), element("pre", it.doc, { class: "doc", tabindex: 0 }));
      if (it.source) {
        const code = element("pre", null, { class: "highlight", tabindex: 0 });
        code.innerHTML = it.source;  // spans that Pygments made of escaped text
        panel.append(element("h3", "Source"), code);
      }
    } else if (it.kind === "dataset") {
      pairs([["layer", it.layer], ["type", it.type], ["file", it.file && it.there ? link(it.file, way(it.file)) : it.file], ["exists", it.there === false ? "not yet" : ""],
        ["shape", shape], ["size", it.size ? size(it.size) : ""], ["last written by", it.written ? `run ${it.written}` : ""], ["defined in", it.defined]]);
      names("Written by", it.written_by.map(name => `node:${name}`));
      names("Read by", it.read_by.map(name => `node:${name}`));
      if (it.all_columns || it.schema) {
        panel.append(element("h3", "Columns"));
        if (it.all_columns) pairs(it.all_columns.map(column => [column.name, column.type]));
        else panel.append(list_of(it.schema));
      }
      if (it.preview) {
        const box = element("div", null, { class: "preview", tabindex: 0 });
        box.innerHTML = it.preview;  // sanitised where it was made
        panel.append(element("h3", "First rows"), box);
      }
      if (it.entry) panel.append(element("h3", "Catalog entry"), element("pre", JSON.stringify(it.entry, null, 1), { tabindex: 0 }));
    } else {
      pairs([["value", value_of(it.value)], ["set in", it.place]]);
      names("Used by", it.nodes.map(name => `node:${name}`));
    }
  }
  function list_of(texts) {
    const made = element("ul");
    for (const text of texts) made.append(element("li", text));
    return made;
  }

  // Every item can be reached by the keyboard: Tab to the picture, arrows along the lines, Enter to choose.
  function prepare(g) {
    g.setAttribute("role", "button");
    g.setAttribute("tabindex", "-1");
    g.setAttribute("aria-label", find("title", g).textContent);
  }
  for (const picture of joined.keys()) {
    const known = [...items.get(picture).values()];
    known.forEach(prepare);
    known[0]?.setAttribute("tabindex", "0");
    picture.addEventListener("click", event => {
      const g = event.target.closest(".item");
      if (moved > 4) return;
      choose(g ? g.dataset.key : null);
    });
    picture.addEventListener("focusin", event => {
      const g = event.target.closest(".item");
      if (!g) return;
      for (const one of items.get(picture).values()) one.setAttribute("tabindex", one === g ? "0" : "-1");
    });
    picture.addEventListener("keydown", event => {
      const g = event.target.closest(".item");
      if (!g) return;
      const { up, down } = arms(picture), key = g.dataset.key, seen = k => items.get(picture).get(k) && !items.get(picture).get(k).classList.contains("gone");
      const steps = { ArrowDown: () => (down.get(key) ?? []).find(seen), ArrowUp: () => (up.get(key) ?? []).find(seen) };
      const side = way => {
        const here = place(g), row = [...items.get(picture)].filter(([k, one]) => seen(k) && Math.abs(place(one).y - here.y) < 2);
        row.sort(([, a], [, b]) => place(a).x - place(b).x);
        return row[row.findIndex(([k]) => k === key) + way]?.[0];
      };
      steps.ArrowLeft = () => side(-1);
      steps.ArrowRight = () => side(1);
      if (event.key in steps) {
        event.preventDefault();
        const next = steps[event.key]();
        if (next) { items.get(picture).get(next).focus(); centre([next]); }
      } else if (event.key === "Enter" || event.key === " ") { event.preventDefault(); choose(key); }
    });
  }
  document.addEventListener("keydown", event => {
    if (event.target.closest("input, select, textarea")) {
      if (event.key === "Escape") event.target.blur();
      return;
    }
    const keys = { "/": () => find("#search").focus(), "+": () => zoom(1 / 1.3), "=": () => zoom(1 / 1.3), "-": () => zoom(1.3), "0": fit, Escape: () => choose(null) };
    if (event.key in keys && !event.ctrlKey && !event.metaKey) { event.preventDefault(); keys[event.key](); }
  });

  // The list, search and filters.
  const search = find("#search"), selects = { pipeline: find("#pipeline"), tag: find("#tag"), kind: find("#kind") };
  function fits(key) {
    const it = about[key], words = search.value.toLowerCase().split(/\s+/).filter(Boolean);
    const text = `${it.name} ${it.kind} ${it.pipeline ?? ""} ${(it.tags ?? []).join(" ")} ${it.type ?? ""} ${it.layer ?? ""} ${it.doc ?? ""}`.toLowerCase();
    if (!words.every(word => text.includes(word))) return false;
    if (selects.kind.value && it.kind !== selects.kind.value) return false;
    const nodes = it.kind === "node" ? [it] : [...it.written_by ?? [], ...it.read_by ?? [], ...it.nodes ?? []].map(name => about[`node:${name}`]).filter(Boolean);
    const { pipeline, tag } = selects;
    return (!pipeline.value || nodes.some(n => n.pipeline === pipeline.value)) && (!tag.value || nodes.some(n => n.tags.includes(tag.value)));
  }
  function narrow() {
    const is_all = !search.value && Object.values(selects).every(select => !select.value);
    let count = 0;
    for (const button of all("#list [data-key]")) {
      const fit = fits(button.dataset.key);
      button.parentElement.hidden = !fit;
      count += fit;
    }
    for (const group of all("#list section")) group.hidden = !all("li", group).some(line => !line.hidden);
    for (const [key, g] of items.get(pictures.full)) if (key in about && about[key].kind !== "pipeline") g.classList.toggle("out", !is_all && !fits(key));
    for (const line of all(".line", pictures.full)) line.classList.toggle("out", !is_all && !(about[line.dataset.from] && about[line.dataset.to] && fits(line.dataset.from) && fits(line.dataset.to)));
    find("#count").textContent = is_all ? "" : `${count} found`;
  }
  search.addEventListener("input", narrow);
  search.addEventListener("keydown", event => {
    const first = all("#list [data-key]").find(button => !button.parentElement.hidden);
    if (event.key === "Enter" && first) choose(first.dataset.key, true);
  });
  Object.values(selects).forEach(select => select.addEventListener("input", narrow));
  list.addEventListener("click", event => {
    const button = event.target.closest("button");
    if (button?.dataset.key) choose(button.dataset.key);
    if (button?.dataset.fold) {
      folded.delete(button.dataset.fold) || folded.add(button.dataset.fold);
      use("full");
      draw();
    }
  });

  // What a run says of them.
  function states() {
    for (const picture of joined.keys()) for (const [key, g] of items.get(picture)) {
      const state = about[key]?.state;
      if (about[key]?.kind !== "node") continue;
      Object.keys(SIGNS).forEach(other => g.classList.toggle(other, other === state));
      const sign = find(".sign", g);
      if (sign) sign.textContent = SIGNS[state] ?? "";
      const why = [...about[key].stale ?? [], ...about[key].why ?? []].join("; ");
      const told = `node ${about[key].name}${state ? ` (${MEANINGS[state] ?? state})` : ""}${why ? `: ${why}` : ""}`;
      find("title", g).textContent = told;
      g.setAttribute("aria-label", told);
    }
    const states = new Set();
    for (const button of all("#list [data-key^='node:']")) {
      const state = about[button.dataset.key]?.state, mark = find(".mark", button);
      mark.textContent = SIGNS[state] ?? "";
      mark.title = MEANINGS[state] ?? "";
      mark.className = `mark status ${state ?? ""}`;
      states.add(state);
    }
    for (const line of all("ul.legend li")) line.hidden = !states.has(line.dataset.state);
  }
  states();
  if (facts.live) {
    let before = "", misses = 0;
    const timer = setInterval(async () => {
      try {
        const text = await (await fetch("state.json", { cache: "no-store" })).text();
        misses = 0;
        if (text === before) return;
        before = text;
        const told = JSON.parse(text);
        for (const key of Object.keys(about)) if (about[key].kind === "node") Object.assign(about[key], { state: undefined, time: undefined, why: [], stale: [], cell: undefined });
        for (const [key, more] of Object.entries(told.items)) if (key in about) Object.assign(about[key], more);
        find("#run").textContent = told.title;
        states();
        if (chosen) details();
      } catch {
        if (++misses > 2) { clearInterval(timer); find("#run").textContent += " (no longer watched)"; }
      }
    }, 500);
  }

  // Paper is white, and shows the whole.
  addEventListener("beforeprint", () => {
    kept = { theme: root.dataset.theme, box: shown.get(current) };
    root.dataset.theme = "light";
    fit();
  });
  addEventListener("afterprint", () => {
    if (kept.theme) root.dataset.theme = kept.theme; else delete root.dataset.theme;
    show(kept.box);
    kept = null;
  });

  function follow() {
    try { choose(decodeURIComponent(location.hash.slice(1))); } catch { choose(null); }  // no such text in a URL
  }
  addEventListener("hashchange", follow);
  use(facts.begin_folded && pictures.folded ? "folded" : "full");
  new ResizeObserver(resized).observe(view);
  follow();
  root.dataset.ready = "yes";
})();
