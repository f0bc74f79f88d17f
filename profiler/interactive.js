(() => {
  "use strict";
  const ROLE_NAMES = {
    parameter: "parameters", optimizer_state: "optimizer state", buffer: "buffers", input: "inputs",
    workspace: "what libraries keep",
    parameter_gradient: "weight gradients", activation: "activations",
    gradient: "gradients of activations", temporary: "temporaries",
  };
  const ORDER = Object.keys(ROLE_NAMES);
  const LEFT = 62, TOP = 14, STRIP = 8, MOST_ROWS = 15;
  // Updates are many small ops: they get a quarter of the width of the rest at most.
  const OPTIMIZER_SHARE = 0.25;

  const bytes = (count) => {
    const units = ["B", "KiB", "MiB", "GiB", "TiB"];
    let power = 0, value = count;
    while (value >= 1024 && power < units.length - 1) { value /= 1024; power += 1; }
    const digits = Number.isInteger(value) || value >= 100 ? 0 : value < 10 ? 2 : 1;
    return `${value.toLocaleString("en", { minimumFractionDigits: digits, maximumFractionDigits: digits })} ${units[power]}`;
  };
  const element = (kind, content = "", kindOf = "") => {
    const made = document.createElement(kind);
    if (kindOf) made.className = kindOf;
    made.textContent = content;
    return made;
  };
  const shape = (kind, attributes, content = "") => {
    const made = document.createElementNS("http://www.w3.org/2000/svg", kind);
    for (const [name, value] of Object.entries(attributes)) made.setAttribute(name, value);
    if (content) made.textContent = content;
    return made;
  };

  const prepared = (panel) => {
    const count = panel.steps.length;
    const total = new Float64Array(count);
    const roles = ORDER.filter((role) => panel.live[role]);
    for (const role of roles) panel.live[role].forEach((value, step) => { total[step] += value; });
    let peak = 0;
    total.forEach((value, step) => { if (value > total[peak]) peak = step; });
    const isUpdate = panel.phase.map((phase) => panel.phases[phase] === "optimizer");
    const updates = isUpdate.filter(Boolean).length, others = count - updates;
    const width = updates && others ? Math.min(1, (OPTIMIZER_SHARE * others) / updates) : 1;
    const edge = new Float64Array(count + 1);
    for (let step = 0; step < count; step += 1) edge[step + 1] = edge[step] + (isUpdate[step] ? width : 1);
    return { ...panel, count, total, roles, peak, edge, from: 0, to: count, at: peak };
  };

  const stepAt = (panel, fraction) => {
    const { edge, from, to } = panel;
    const wanted = edge[from] + fraction * (edge[to] - edge[from]);
    let low = from, high = to - 1;
    while (low < high) {
      const middle = (low + high + 1) >> 1;
      if (edge[middle] <= wanted) low = middle; else high = middle - 1;
    }
    return low;
  };

  // Of the steps that share a column of pixels, the highest is drawn: no peak disappears.
  const columnsOf = (panel, width) => {
    const columns = [];
    const span = panel.edge[panel.to] - panel.edge[panel.from];
    for (let step = panel.from; step < panel.to; step += 1) {
      const start = ((panel.edge[step] - panel.edge[panel.from]) / span) * width;
      const last = columns[columns.length - 1];
      if (last && Math.floor(last.start) === Math.floor(start)) {
        if (panel.total[step] > panel.total[last.step]) last.step = step;
      } else columns.push({ start, step });
    }
    return columns;
  };

  const area = (columns, width, low, high) => {
    const top = [], bottom = [];
    columns.forEach(({ start }, index) => {
      const end = index + 1 < columns.length ? columns[index + 1].start : width;
      top.push(`${(LEFT + start).toFixed(1)},${high[index].toFixed(1)}`, `${(LEFT + end).toFixed(1)},${high[index].toFixed(1)}`);
      bottom.push(`${(LEFT + start).toFixed(1)},${low[index].toFixed(1)}`, `${(LEFT + end).toFixed(1)},${low[index].toFixed(1)}`);
    });
    return `M${top.join("L")}L${bottom.reverse().join("L")}Z`;
  };

  const ticks = (highest) => {
    const unit = 1024 ** Math.floor(Math.log(Math.max(1, highest)) / Math.log(1024));
    const rough = highest / unit / 4, power = 10 ** Math.floor(Math.log10(rough));
    const step = [1, 2, 5, 10].map((size) => size * power).find((size) => size >= rough) * unit;
    const found = [];
    for (let value = 0; value <= highest; value += step) found.push(value);
    return found;
  };

  const plot = (panel, highest, svg, isChosen) => {
    const height = Number(svg.getAttribute("height"));
    const width = Math.max(80, svg.clientWidth - LEFT - 4), bottom = height - STRIP - 6;
    const y = (value) => bottom - (value / highest) * (bottom - TOP);
    const x = (step) => LEFT + ((panel.edge[step] - panel.edge[panel.from]) / (panel.edge[panel.to] - panel.edge[panel.from])) * width;
    svg.replaceChildren();
    svg.setAttribute("viewBox", `0 0 ${LEFT + width + 4} ${height}`);
    for (const value of ticks(highest)) {
      svg.append(shape("line", { class: "grid", x1: LEFT, x2: LEFT + width, y1: y(value), y2: y(value) }));
      svg.append(shape("text", { x: LEFT - 5, y: y(value) + 4, "text-anchor": "end" }, bytes(value)));
    }
    const columns = columnsOf(panel, width);
    let low = columns.map(() => bottom), sum = columns.map(() => 0);
    for (const role of panel.roles) {
      sum = sum.map((value, index) => value + panel.live[role][columns[index].step]);
      const high = sum.map(y);
      svg.append(shape("path", { d: area(columns, width, low, high), style: `fill: var(--tm-${role})` }));
      low = high;
    }
    let start = panel.from;
    for (let step = panel.from + 1; step <= panel.to; step += 1) {
      if (step < panel.to && panel.phase[step] === panel.phase[start]) continue;
      svg.append(shape("rect", { class: panel.phases[panel.phase[start]], x: x(start), y: height - STRIP, width: Math.max(0.5, x(step) - x(start)), height: STRIP }));
      start = step;
    }
    const centre = (step) => (x(step) + x(step + 1)) / 2;
    if (panel.peak >= panel.from && panel.peak < panel.to) {
      const [px, py] = [centre(panel.peak), y(panel.total[panel.peak]) - 2];
      svg.append(shape("path", { class: "peak", d: `M${px},${py}l-5,-9h10z` }));
    }
    if (isChosen && panel.at >= panel.from && panel.at < panel.to) {
      svg.append(shape("line", { class: "cursor", x1: centre(panel.at), x2: centre(panel.at), y1: TOP, y2: height - STRIP }));
    }
    return width;
  };

  const describe = (panel, step) => {
    const parts = panel.roles.filter((role) => panel.live[role][step])
      .map((role) => `${ROLE_NAMES[role]} ${bytes(panel.live[role][step])}`);
    return `step ${(step + 1).toLocaleString("en")} of ${panel.count.toLocaleString("en")}, ${panel.phases[panel.phase[step]]}: ${panel.steps[step]} · `
      + `${bytes(panel.total[step])} live${step === panel.peak ? " (the peak)" : ""}${parts.length ? ` · ${parts.join(", ")}` : ""}`;
  };

  const list = (panel, into) => {
    const alive = panel.buffers.filter(([, , , born, dies]) => born <= panel.at && (dies < 0 || dies >= panel.at));
    const shown = alive.slice(0, MOST_ROWS);
    into.replaceChildren(element("summary", `Alive at this moment in “${panel.label}”: ${alive.length.toLocaleString("en")} buffers`
      + `${panel.given ? `, and ${bytes(panel.given)} from before the step` : ""}.`));
    if (!shown.length) return;
    const table = document.createElement("table"), head = table.createTHead().insertRow();
    for (const [name, kind] of [["buffer", ""], ["bytes", "bytes"], ["role", ""], ["computed by", ""], ["alive until", ""]]) head.append(element("th", name, kind));
    const body = table.createTBody();
    for (const [name, size, role, born, dies] of shown) {
      const row = body.insertRow();
      row.append(element("td", name), element("td", size.toLocaleString("en"), "bytes"), element("td", ROLE_NAMES[role]),
        element("td", `step ${born + 1}, ${panel.phases[panel.phase[born]]}`),
        element("td", dies < 0 ? "the end: it outlives the step" : `step ${dies + 1}: ${panel.steps[dies]} is the last to need it`));
    }
    into.append(table);
    if (alive.length > shown.length) {
      const rest = alive.slice(MOST_ROWS).reduce((sum, buffer) => sum + buffer[1], 0);
      into.append(element("p", `… and ${(alive.length - shown.length).toLocaleString("en")} more, ${bytes(rest)} together`, "muted"));
    }
  };

  const start = (root) => {
    const panels = JSON.parse(root.querySelector('script[type="application/json"]').textContent)
      .filter((panel) => panel.steps.length).map(prepared);
    if (!panels.length) return;
    const highest = 1.08 * Math.max(...panels.map((panel) => panel.total[panel.peak]), 1);
    const height = panels.length > 1 ? 190 : 300;
    let chosen = panels.reduce((best, panel) => (panel.total[panel.peak] > best.total[best.peak] ? panel : best));
    const legend = element("div", "", "legend");
    for (const role of ORDER.filter((name) => panels.some((panel) => panel.live[name]))) {
      const entry = element("span"), mark = element("i");
      mark.style.background = `var(--tm-${role})`;
      entry.append(mark, ROLE_NAMES[role]);
      legend.append(entry);
    }
    const grid = element("div", "", "panels"), readout = element("p", "", "readout"), details = element("details");
    const slider = element("input"), peakButton = element("button", "go to the peak"), wholeButton = element("button", "show the whole step");
    slider.type = "range"; slider.min = 0; slider.setAttribute("aria-label", "moment of the step");
    for (const button of [peakButton, wholeButton]) button.type = "button";
    const help = element("span", "Hover or tap a step; drag across steps to zoom in; the strip below a picture is its phase (forward, recompute, backward, update).", "muted");

    const refresh = () => {
      for (const panel of panels) {
        panel.box.classList.toggle("chosen", panel === chosen && panels.length > 1);
        panel.width = plot(panel, highest, panel.svg, panel === chosen);
      }
      slider.max = chosen.count - 1; slider.value = chosen.at;
      slider.setAttribute("aria-valuetext", describe(chosen, chosen.at));
      readout.textContent = describe(chosen, chosen.at);
      list(chosen, details);
    };
    const choose = (panel, step) => { chosen = panel; panel.at = step; details.open = true; refresh(); };

    for (const panel of panels) {
      panel.box = element("div", "", "panel");
      panel.svg = shape("svg", { height, role: "img", "aria-label": `live bytes through ${panel.label}: at most ${bytes(panel.total[panel.peak])}, at ${panel.steps[panel.peak]}` });
      panel.box.append(element("div", panel.label, "name"), element("div", `peak ${bytes(panel.total[panel.peak])}`, "muted"), panel.svg);
      grid.append(panel.box);
      let pressed = null;
      const fraction = (event) => {
        const box = panel.svg.getBoundingClientRect();
        return Math.min(0.999999, Math.max(0, (event.clientX - box.left - LEFT) / panel.width));
      };
      panel.svg.addEventListener("pointerdown", (event) => { pressed = fraction(event); });
      panel.svg.addEventListener("pointermove", (event) => {
        const here = fraction(event);
        readout.textContent = `${panel.label}: ${describe(panel, stepAt(panel, here))}`;
        panel.svg.querySelector(".zoom")?.remove();
        if (pressed !== null && event.buttons) {
          const [low, high] = [Math.min(pressed, here), Math.max(pressed, here)];
          panel.svg.append(shape("rect", { class: "zoom", x: LEFT + low * panel.width, width: (high - low) * panel.width, y: TOP, height: height - TOP - STRIP }));
        }
      });
      panel.svg.addEventListener("pointerup", (event) => {
        if (pressed === null) return;
        const ends = [stepAt(panel, pressed), stepAt(panel, fraction(event))].sort((a, b) => a - b);
        if (Math.abs(fraction(event) - pressed) * panel.width > 8 && ends[1] > ends[0]) {
          [panel.from, panel.to] = [ends[0], ends[1] + 1];
          if (panel.at < panel.from || panel.at >= panel.to) panel.at = panel.from;
          chosen = panel; refresh();
        } else choose(panel, ends[1]);
        pressed = null;
      });
      panel.svg.addEventListener("pointerleave", () => { pressed = null; readout.textContent = describe(chosen, chosen.at); });
    }
    slider.addEventListener("input", () => {
      const step = Number(slider.value);
      if (step < chosen.from || step >= chosen.to) [chosen.from, chosen.to] = [0, chosen.count];
      choose(chosen, step);
    });
    peakButton.addEventListener("click", () => { [chosen.from, chosen.to] = [0, chosen.count]; choose(chosen, chosen.peak); });
    wholeButton.addEventListener("click", () => { for (const panel of panels) [panel.from, panel.to] = [0, panel.count]; refresh(); });
    const controls = element("div");
    controls.append(peakButton, wholeButton, help);
    root.append(legend, grid, slider, readout, controls, details);
    root.dataset.drawn = "yes";
    document.documentElement.classList.add("has-timeline");
    refresh();
    let before = root.clientWidth;
    new ResizeObserver(() => { if (root.clientWidth !== before) { before = root.clientWidth; refresh(); } }).observe(root);
  };
  for (const root of document.querySelectorAll(".timeline:not([data-drawn])")) start(root);
})();
