"use strict";
// The pipeline's panel in JupyterLab. Written by hand and loaded as it is: what JupyterLab shares with its extensions
// (module federation) is taken from the scope that it hands over, and nothing has to be built.
(() => {
  const NAME = "pokeml", HERE = document.currentScript.src;
  let scope = null;

  async function shared(name) {
    const offers = Object.values(scope[name] ?? {});
    // Each of them is the only one of its kind in the page: take what is in use, else JupyterLab's own.
    const offer = offers.find(one => one.loaded) ?? offers.find(one => /CORE/.test(one.from)) ?? offers[0];
    if (!offer) throw new Error(`This JupyterLab does not share ${name}.`);
    const factory = offer.lib ?? await offer.get();
    offer.loaded = offer.loaded || 1;
    return factory();
  }

  const ICON = `<svg xmlns="http://www.w3.org/2000/svg" width="16" viewBox="0 0 16 16"><g class="jp-icon3" fill="#616161">
<rect x="5" y="1" width="6" height="3.6" rx="1"/><rect x="1" y="11.4" width="6" height="3.6" rx="1"/>
<rect x="9" y="11.4" width="6" height="3.6" rx="1"/>
<path d="M7.5 4.6h1v2.7h4v4.1h-1V8.3h-7v3.1h-1V7.3h4z"/></g></svg>`;
  const MARKS = { completed: "✓", unchanged: "↺", skipped: "–", failed: "✗", interrupted: "■", killed: "✗", running: "…", waiting: " " };

  async function extension() {
    const [application, apputils, coreutils, launcher, notebook, services, ui, widgets] = await Promise.all(
      ["@jupyterlab/application", "@jupyterlab/apputils", "@jupyterlab/coreutils", "@jupyterlab/launcher", "@jupyterlab/notebook",
        "@jupyterlab/services", "@jupyterlab/ui-components", "@lumino/widgets"].map(shared));
    const { ICommandPalette, IThemeManager, Notification } = apputils;
    const { ServerConnection } = services;
    const icon = new ui.LabIcon({ name: "pokeml:pipeline", svgstr: ICON });

    const style = document.createElement("link");
    Object.assign(style, { rel: "stylesheet", href: new URL("style.css", HERE).href });
    document.head.append(style);

    function element(tag, text, given = {}) {
      const made = document.createElement(tag);
      if (text !== undefined && text !== null) made.textContent = text;
      for (const [key, value] of Object.entries(given)) {
        if (key.startsWith("on")) made.addEventListener(key.slice(2), value);
        else made.setAttribute(key, value);
      }
      return made;
    }
    const button = (text, onclick, given = {}) => element("button", text, { type: "button", onclick, ...given });

    // What the server tells.
    class Server {
      constructor(settings) {
        this.settings = settings;
        this.base = coreutils.URLExt.join(settings.baseUrl, "pokeml");
      }
      async ask(path, body) {
        const init = body === undefined ? {} : { method: "POST", body: JSON.stringify(body) };
        const answer = await ServerConnection.makeRequest(coreutils.URLExt.join(this.base, path), init, this.settings);
        const told = await answer.json();
        return answer.ok ? told : { message: told.message ?? answer.statusText };
      }
    }

    // Notebooks of the lab.
    class Notebooks {
      constructor(app, tracker) { Object.assign(this, { app, tracker }); }
      async open(path, cell) {
        const panel = await this.app.commands.execute("docmanager:open", { path });
        if (!panel?.context) return;
        await panel.context.ready;
        const content = panel.content, index = cell ? content.widgets?.findIndex(one => one.model.id === cell) ?? -1 : -1;
        if (index < 0) return;
        content.deselectAll();
        content.activeCellIndex = index;
        await content.scrollToItem(index, "center");
      }
      // Below the cell whose execution has asked for them, else below the active one.
      insert(panel, cells, request) {
        const content = panel.content;
        const asking = content.widgets.findIndex(one => one.outputArea?.future?.msg?.header?.msg_id === request);
        const at = (asking < 0 ? content.activeCellIndex : asking) + 1;
        panel.model.sharedModel.insertCells(at, cells.map(one => ({ metadata: {}, ...one })));
        content.deselectAll();
        content.activeCellIndex = at;
        content.scrollToItem(at, "smart");
      }
      // The name under the cursor: a word, or a text in quotes, that `is_known`.
      under_cursor(is_known) {
        const editor = this.tracker.activeCell?.editor;
        if (!editor) return null;
        const { line, column } = editor.getCursorPosition(), text = editor.getLine(line) ?? "";
        for (const pattern of [/(["'])(.*?)\1/g, /[\w.@]+/g, /\w+/g]) {
          for (const match of text.matchAll(pattern)) {
            const name = match[2] ?? match[0];
            if (match.index <= column && column <= match.index + match[0].length && is_known(name)) return name;
          }
        }
        return null;
      }
    }

    class Panel extends widgets.Widget {
      constructor(server, notebooks) {
        super();
        Object.assign(this, { server, notebooks, state: {}, items: {}, chosen: null, named: null, is_light: true, drawn: null });
        this.id = "pokeml-panel";
        this.addClass("pokeml-Panel");
        this.node.style.minWidth = "360px";  // the lab lays out before the sheet of styles is there
        this.title.icon = icon;
        this.title.caption = "Pipeline";
        this.node.setAttribute("role", "region");
        this.node.setAttribute("aria-label", "Pipeline");
        this.build();
      }

      build() {
        const bar = element("div", null, { class: "pokeml-bar", role: "toolbar", "aria-label": "Run" });
        this.buttons = {
          all: button("Run all", () => this.run({})),
          stage: button("Run stage", () => this.run({ pipelines: [this.stage()] })),
          node: button("Run node", () => this.run({ nodes: [this.node_name()] })),
          stop: button("Stop", () => this.stop()),
        };
        bar.append(...Object.values(this.buttons));
        this.selected = element("p", null, { class: "pokeml-selected" });
        this.status = element("p", "…", { class: "pokeml-status", role: "status" });
        this.problem = element("div", null, { class: "pokeml-problem", role: "alert" });
        this.problem.hidden = true;
        this.unexported = element("div", null, { class: "pokeml-problem" });  // that it failed was told by a notification
        this.unexported.hidden = true;
        this.frame = element("iframe", null, { class: "pokeml-picture", title: "Picture of the pipelines", onload: () => this.frame_loaded() });
        this.about = element("details", null, { class: "pokeml-dataset", open: "" });
        this.about.append(element("summary", "Dataset under the cursor"), element("p", "Put the cursor on a dataset's name in a cell.", { class: "pokeml-quiet" }));
        this.runs = element("details", null, { class: "pokeml-runs", ontoggle: () => this.show_runs() });
        this.runs.append(element("summary", "Runs"), element("ul"));
        const below = element("div", null, { class: "pokeml-below" });
        below.append(this.about, this.runs);
        this.body = [this.selected, this.frame, below];
        this.node.append(bar, this.status, this.problem, this.unexported, ...this.body);
        this.show_state();
      }

      // While the panel can be seen it asks how things stand; the picture asks for itself.
      onAfterShow() { this.frame.src = `${this.server.base}/viz`; this.refresh(); }
      onAfterHide() { clearTimeout(this.timer); this.frame.src = "about:blank"; this.drawn = null; }

      async refresh() {
        clearTimeout(this.timer);
        this.asked = (this.asked ?? 0) + 1;
        const asked = this.asked;
        let told;
        try { told = await this.server.ask("api/state"); } catch { told = { ...this.state, unreachable: true }; }
        if (asked !== this.asked || this.isDisposed) return;
        const was = this.state;
        this.state = told;
        if (told.page && told.page !== this.drawn) await this.redraw(told.page);
        if (was.run?.id !== told.run?.id || was.run?.status !== told.run?.status) this.show_runs();
        this.show_state();
        if (this.isVisible) this.timer = setTimeout(() => this.refresh(), this.is_running() ? 700 : 3000);
      }
      async redraw(page) {
        const is_first = this.drawn === null;
        this.drawn = page;
        if (!is_first && this.frame.contentWindow) this.frame.contentWindow.location.reload();  // it keeps what is chosen
        const told = await this.server.ask("api/items");
        this.items = told.items ?? {};
        this.choose_of_cell();
      }

      is_running() { return Boolean(this.state.running) || this.state.run?.status === "running"; }
      node_name() { return this.chosen?.startsWith("node:") ? this.chosen.slice(5) : null; }
      stage() {
        if (this.chosen?.startsWith("pipeline:")) return this.chosen.slice(9);
        const found = this.items[this.chosen], maker = found?.written_by?.[0];
        return found?.pipeline ?? this.items[`node:${maker}`]?.pipeline ?? null;
      }

      async run(selection) {
        const told = await this.server.ask("api/run", selection);
        if (told.message) this.show_problem([told.message]);
        else this.state = { ...this.state, ...told };
        this.show_state();
        this.refresh();
      }
      async stop() {
        this.buttons.stop.disabled = true;
        await this.server.ask("api/stop", {});
        this.refresh();
      }

      show_state() {
        const { state } = this, running = this.is_running(), { all, stage, node, stop } = this.buttons;
        const has_project = Boolean(state.project);
        for (const part of this.body) part.hidden = !has_project;
        all.disabled = running || !has_project;
        stage.disabled = running || !this.stage();
        node.disabled = running || !this.node_name();
        stop.disabled = !state.running;
        stage.title = this.stage() ? `Run the stage ${this.stage()}` : "Choose a stage or a node in the picture";
        node.title = this.node_name() ? `Run the node ${this.node_name()}` : "Choose a node in the picture";
        this.selected.replaceChildren();
        const item = this.items[this.chosen];
        if (item) {
          this.selected.append(element("span", `${item.kind} `, { class: "pokeml-quiet" }), element("b", item.name));
          if (item.pipeline) this.selected.append(element("span", ` of ${item.pipeline} `, { class: "pokeml-quiet" }));
          if (item.path) this.selected.append(button("source", () => this.notebooks.open(item.path, item.cell), { class: "pokeml-link" }));
        } else this.selected.append(element("span", "Nothing is chosen in the picture.", { class: "pokeml-quiet" }));
        if (state.unreachable) { this.status.textContent = "The server does not answer."; return; }
        if (!has_project) { this.status.textContent = state.message ?? "…"; return; }
        const run = state.run, begun = state.running && run?.status !== "running";
        const scores = !running && run?.scores?.length ? ` ${run.scores.join("; ")}` : "";
        const took = !running && run?.duration != null ? ` after ${run.duration.toFixed(1)} s.` : "";
        const waits = state.export?.does === "waiting for a run to end" ? ` ${state.export.current} is exported when the run has ended.` : "";
        this.status.textContent = (begun ? "A run begins …" : `${state.title ?? ""}${took}${scores}`) + waits;
        this.status.dataset.state = begun ? "running" : run?.status ?? "";
        if (running) this.show_problem(null);
        else if (state.refused) this.show_problem(state.lines);  // it ended before there was a run
        else if (run?.error && run.status === "failed") {
          const { error } = run, where = [error.stage, error.node && `node ${error.node}`].filter(Boolean).join(", ");
          this.show_problem([where, `${error.kind}: ${error.message}`, error.hint], [["failing cell", error.executed], ["source cell", error.source]]);
        } else this.show_problem(null);
      }
      show_problem(lines, links = []) {
        const key = JSON.stringify([lines, links]);
        if (key === this.told) return;  // an alert is read aloud once
        this.told = key;
        this.problem.hidden = !lines;
        this.problem.replaceChildren(...(lines ?? []).filter(Boolean).map(line => element("p", line)));
        const row = element("p");
        for (const [text, place] of links.filter(([, place]) => place))
          row.append(button(text, () => this.notebooks.open(place.path, place.cell), { class: "pokeml-link" }), " ");
        if (row.children.length) this.problem.append(row);
      }

      show_unexported(results) {
        this.unexported.hidden = !results.length;
        this.unexported.replaceChildren(...results.map(result => {
          const line = element("p", `Not exported: ${result.text} `);
          if (result.path) line.append(button("open", () => this.notebooks.open(result.path, result.cell), { class: "pokeml-link", "aria-label": `open ${result.notebook}` }));
          return line;
        }));
      }

      async show_runs() {
        if (!this.runs.open) return;
        const told = await this.server.ask("api/runs"), list = this.runs.querySelector("ul");
        list.replaceChildren(...(told.runs ?? []).map(run => {
          const line = element("li"), took = run.duration == null ? "" : `${run.duration.toFixed(1)} s`;
          const name = [run.label && `“${run.label}”`, run.id.replace("T", " ").replace(/\.\d+Z$/, "").replace(/(\d\d)\.(\d\d)\.(\d\d)$/, "$1:$2:$3")].filter(Boolean).join(" ");
          const head = element("div");
          head.append(element("span", MARKS[run.status] ?? "", { class: `pokeml-mark ${run.status}`, title: run.status, role: "img", "aria-label": run.status }), ` ${name} `,
            element("span", [took, ...run.scores].filter(Boolean).join(", "), { class: "pokeml-quiet" }));
          line.append(head);
          if (run.error) {
            const failed = element("div", `${run.error.kind}: ${run.error.message} `, { class: "pokeml-bad" });
            if (run.error.executed) failed.append(button("failing cell", () => this.notebooks.open(run.error.executed.path, run.error.executed.cell), { class: "pokeml-link", "aria-label": `failing cell of run ${name}` }));
            line.append(failed);
          }
          const stages = run.stages.filter(one => one.path);
          if (stages.length) {
            const row = element("div", null, { class: "pokeml-stages" });
            for (const one of stages) row.append(button(one.name, () => this.notebooks.open(one.path), { class: "pokeml-link", "aria-label": `executed notebook of ${one.name}, run ${name}` }));
            line.append(row);
          }
          return line;
        }));
        if (!told.runs?.length) list.append(element("li", told.message ?? "There are no runs yet.", { class: "pokeml-quiet" }));
      }

      // The picture is a page of its own: it tells what is chosen there, and takes what is chosen elsewhere.
      frame_loaded() {
        const page = this.frame.contentDocument;
        if (!page || page.URL === "about:blank") return;
        page.documentElement.dataset.embedded = "";
        this.show_theme();
        if (!page.querySelector("#facts") || page.documentElement.dataset.ready) return this.page_ready(page);  // or it is but a message
        const watch = new MutationObserver(() => {
          if (!page.documentElement.dataset.ready) return;
          watch.disconnect();
          this.page_ready(page);
        });
        watch.observe(page.documentElement, { attributeFilter: ["data-ready"] });
      }
      page_ready(page) {
        page.addEventListener("chosen", event => this.set_chosen(event.detail));
        const now = this.frame.contentWindow.location.hash.slice(1);
        this.set_chosen(now ? decodeURIComponent(now) : this.chosen);
        if (!now && this.chosen) this.choose(this.chosen);
        const overview = page.querySelector("#overview");  // here is no room for all of a large picture
        if (!this.chosen && overview?.hidden === false && overview.getAttribute("aria-pressed") === "false" && page.querySelectorAll("#full .node").length > 10) overview.click();
        this.frame.classList.add("pokeml-ready");
      }
      set_chosen(key) {
        this.chosen = key || null;
        if (this.chosen?.startsWith("dataset:")) this.show_dataset(this.chosen.slice(8));
        this.show_state();
      }
      choose(key) {
        this.set_chosen(key);
        const page = this.frame.contentWindow;
        if (page && page.location.href !== "about:blank") page.location.hash = encodeURIComponent(key);
      }
      show_theme() {
        const root = this.frame.contentDocument?.documentElement;
        if (root) root.dataset.theme = this.is_light ? "light" : "dark";
      }

      // What the notebook that is worked on says: the node of a cell, the dataset under the cursor.
      choose_of_cell() {
        const { tracker } = this.notebooks, cell = tracker.activeCell, path = tracker.currentWidget?.context.path;
        if (!cell || !this.isVisible) return;
        const called = cell.model.sharedModel.getSource().match(/stage\.run\(\s*["']([^"']+)["']/);
        const key = called ? `node:${called[1]}` : Object.keys(this.items).find(one => this.items[one].path === path && this.items[one].cell === cell.model.id);
        if (key && key in this.items && key !== this.chosen) this.choose(key);
      }
      follow_cursor() {
        if (!this.isVisible) return;
        const name = this.notebooks.under_cursor(one => `dataset:${one}` in this.items);
        if (name && name !== this.named) this.show_dataset(name);
      }
      async show_dataset(name) {
        this.named = name;
        const told = await this.server.ask(`api/dataset?name=${encodeURIComponent(name)}`);
        if (this.named !== name) return;
        const shape = told.rows === undefined ? null : `${told.rows.toLocaleString("en")} × ${told.columns}`;
        const list = element("dl");
        const nodes = names => {
          if (!names?.length) return null;
          const row = element("span");
          for (const one of names) row.append(button(one, () => this.choose(`node:${one}`), { class: "pokeml-link" }), " ");
          return row;
        };
        const bytes = told.size === undefined ? null : told.size < 1e3 ? `${told.size} B` : told.size < 1e6 ? `${(told.size / 1e3).toFixed(1)} kB` : `${(told.size / 1e6).toFixed(1)} MB`;
        for (const [title, value] of [["what is wrong", told.message], ["layer", told.layer], ["type", told.type], ["file", told.file], ["there", told.there === false ? "not yet" : null], ["shape", shape],
          ["size", bytes], ["written by", nodes(told.written_by)], ["read by", nodes(told.read_by)], ["last run", told.last_run], ["defined in", told.defined]]) {
          if (value === null || value === undefined || value === "") continue;
          const given = element("dd");
          given.append(value);
          list.append(element("dt", title), given);
        }
        this.about.replaceChildren(element("summary", `Dataset ${name}`), list);
      }
    }

    // A kernel in which pokeml's extension is loaded speaks through a comm.
    function wire(panel, notebooks, view) {
      let kernel = null;
      const heard = message => {
        const told = message.content.data, from = message.parent_header?.msg_id;
        if (told.event === "cells") notebooks.insert(panel, told.cells, from);
        if (told.event === "changed") view.refresh();
        if (told.event === "open") { const path = view.path_of(told.path); if (path) notebooks.open(path, told.cell); }
      };
      const attach = comm => {
        comm.onMsg = heard;
        comm.send({ event: "hello" });
      };
      const connect = async () => {
        const now = panel.sessionContext.session?.kernel ?? null;
        if (!now || now === kernel) return;
        kernel = now;
        now.registerCommTarget(NAME, attach);
        try {
          const told = await now.requestCommInfo({ target_name: NAME });  // one that was opened before this page was there
          for (const id of Object.keys(told.content.comms ?? {})) if (!now.hasComm(id)) attach(now.createComm(NAME, id));
        } catch { /* the kernel is gone */ }
      };
      panel.sessionContext.kernelChanged.connect(connect);
      panel.sessionContext.statusChanged.connect((_, status) => { if (status === "restarting") kernel = null; });
      panel.sessionContext.ready.then(connect);
    }

    // A failed export is told where it was saved, and in the panel; one that is mended takes the message away.
    class Exports {
      constructor(server, notebooks, panel) {
        Object.assign(this, { server, notebooks, panel, known: null, failed: new Map() });
        this.begun = this.ask().catch(() => {});
      }
      async ask() {
        const first = this.known === null;
        const told = await this.server.ask(`api/exports?since=${first ? 0 : this.known}`);
        for (const result of told.exports ?? []) this.show(result, !first);
        this.known = told.count ?? this.known ?? 0;
        this.panel.show_unexported([...this.failed.values()].map(one => one.result));
      }
      async saved() {
        try { await this.begun; await this.ask(); } catch { /* the server is gone, which the lab tells */ }
      }
      show(result, is_new) {
        const before = this.failed.get(result.notebook);
        if (before?.note) Notification.dismiss(before.note);
        this.failed.delete(result.notebook);
        if (result.status === "written" && is_new) this.panel.refresh();
        if (result.status !== "failed") return;
        const about = { result };
        if (is_new) {
          const place = result.cell ? `, cell ${result.cell}, line ${result.line}` : "";  // the lab cuts at 140 letters
          const text = `${coreutils.PathExt.basename(result.notebook)}${place}: ${result.message}`;
          const label = result.cell ? "Open the cell" : "Open the notebook";
          const actions = result.path ? [{ label, callback: () => { this.notebooks.open(result.path, result.cell); } }] : [];
          about.note = Notification.error(text, { autoClose: false, actions });
        }
        this.failed.set(result.notebook, about);
      }
    }

    // What JupyterLab notes of the kernel when a notebook is opened is no change of the notebook: nobody has to save it, and
    // nothing of it goes into git.
    function watch_changes(context) {
      const content = () => {
        const { metadata: { language_info, kernelspec, ...metadata }, ...rest } = context.model.toJSON();
        return JSON.stringify({ ...rest, metadata, kernel: kernelspec?.name });
      };
      let kept = null;
      const keep = () => { kept = content(); };
      const undo = () => { if (context.model.dirty && content() === kept) context.model.dirty = false; };
      context.ready.then(() => {
        keep();
        undo();
        context.model.stateChanged.connect((_, change) => { if (change.name === "dirty" && change.newValue) undo(); });
        context.saveState.connect((_, how) => { if (how === "completed") keep(); });
        context.fileChanged.connect(keep);
      });
    }

    const plugin = {
      id: "pokeml:pipeline",
      description: "The pipeline of a pokeml project beside its notebooks.",
      autoStart: true,
      requires: [notebook.INotebookTracker],
      optional: [ICommandPalette, launcher.ILauncher, IThemeManager, application.ILayoutRestorer],
      activate: (app, tracker, palette, cards, themes, restorer) => {
        const server = new Server(app.serviceManager.serverSettings), notebooks = new Notebooks(app, tracker);
        const panel = new Panel(server, notebooks);
        panel.path_of = path => {
          const { root, inside } = panel.state;
          if (root !== null && root !== undefined) return coreutils.PathExt.join(root, path);
          return inside && path.startsWith(`${inside}/`) ? path.slice(inside.length + 1) : null;
        };
        app.shell.add(panel, "right", { rank: 900 });
        restorer?.add(panel, panel.id);
        const theme = () => { panel.is_light = !themes?.theme || themes.isLight(themes.theme); panel.show_theme(); };
        themes?.themeChanged.connect(theme);
        theme();

        const exports = new Exports(server, notebooks, panel);
        tracker.widgetAdded.connect((_, one) => {
          wire(one, notebooks, panel);
          watch_changes(one.context);
          one.context.saveState.connect((_, how) => { if (how === "completed") exports.saved(); });
          let timer = 0;
          const soon = () => { clearTimeout(timer); timer = setTimeout(() => panel.follow_cursor(), 150); };
          one.node.addEventListener("keyup", soon);
          one.node.addEventListener("click", soon);
        });
        tracker.activeCellChanged.connect(() => panel.choose_of_cell());

        const show = () => app.shell.activateById(panel.id);
        const command = (name, label, execute, isEnabled = () => true) => {
          app.commands.addCommand(`pokeml:${name}`, {
            label: given => given.isLauncher ? "Pipeline" : label,
            caption: label,
            icon: given => given.isPalette ? undefined : icon,
            isEnabled,
            execute,
            describedBy: { args: { type: "object", properties: {} } },
          });
          palette?.addItem({ command: `pokeml:${name}`, category: "Pipeline", args: { isPalette: true } });
        };
        command("show", "Show the Pipeline", show);
        const run = selection => async () => { show(); await panel.refresh(); await panel.run(selection()); };
        command("run-all", "Run All Stages of the Pipeline", run(() => ({})));
        command("run-stage", "Run the Chosen Stage of the Pipeline", run(() => ({ pipelines: [panel.stage()] })), () => Boolean(panel.stage()));
        command("run-node", "Run the Chosen Node of the Pipeline", run(() => ({ nodes: [panel.node_name()] })), () => Boolean(panel.node_name()));
        command("stop", "Stop the Run of the Pipeline", () => panel.stop(), () => Boolean(panel.state.running));
        cards?.add({ command: "pokeml:show", category: "Pipeline", args: { isLauncher: true }, rank: 0 });
      },
    };
    return { __esModule: true, default: plugin };
  }

  window._JUPYTERLAB = window._JUPYTERLAB ?? {};
  window._JUPYTERLAB[NAME] = {
    init(given) { scope = given; },
    async get(module) {
      if (module !== "./extension") throw new Error(`${NAME} has no module ${module}.`);
      const made = await extension();
      return () => made;
    },
  };
})();
