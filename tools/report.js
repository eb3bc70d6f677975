"use strict";
(() => {
  const data = JSON.parse(document.getElementById("night-data").textContent);
  const trace = data.trace;
  const count = trace.minute.length;
  const first = count ? trace.minute[0] : 960;
  const last = count ? trace.minute[count - 1] + 1 : 1980;
  const limit = data.summary.limit_pct;
  const cars = data.cars.map(([charger, phase, maxA, arrive, depart, start, done, asked, got, met]) =>
    ({ charger, phase, maxA, arrive, depart, start, done, asked, got, met: met === 1 }));
  const view = { lang: "en", at: busiestMinute(), car: 0, ghost: true, phase: true };
  const finished = finishedByMinute();

  const byId = (id) => document.getElementById(id);
  const text = (key) => data.text[view.lang][key];
  const clock = (minute) => {
    const two = (n) => String(n).padStart(2, "0");
    return `${two(Math.floor(minute / 60) % 24)}:${two(Math.floor(minute) % 60)}`;
  };
  const kwh = (wh) => (wh / 1000).toFixed(2);

  // One decimal, unless that would carry the figure to the other side of the limit.
  function percent(value) {
    if (value === null || value === undefined) return "–";
    const side = Math.sign(value - limit);
    const short = value.toFixed(1);
    return `${Math.sign(Number(short) - limit) === side ? short : value.toFixed(2)} %`;
  }

  function busiestMinute() {
    let best = 0;
    trace.loading.forEach((value, i) => { if (value > trace.loading[best]) best = i; });
    return best;
  }

  function finishedByMinute() {
    const times = cars.map((car) => car.done).filter((done) => done !== null).sort((a, b) => a - b);
    let seen = 0;
    return trace.minute.map((minute) => {
      while (seen < times.length && times[seen] <= minute) seen += 1;
      return seen;
    });
  }

  // --- drawing -------------------------------------------------------------------------------------------------

  // The element's own namespace, so that no address of any kind stands in this page.
  function add(parent, name, attributes, content) {
    const node = document.createElementNS(parent.namespaceURI, name);
    Object.entries(attributes || {}).forEach(([key, value]) => node.setAttribute(key, value));
    if (content !== undefined) node.textContent = content;
    parent.appendChild(node);
    return node;
  }

  function niceStep(top, lines) {
    const raw = Math.max(top, 1) / lines;
    const power = 10 ** Math.floor(Math.log10(raw));
    return Math.max(1, [1, 2, 5, 10].map((n) => n * power).find((n) => n >= raw));
  }

  // An empty chart with its time axis; gives the scales and the box of the plot.
  function frame(svg, height, unitKey) {
    const width = Math.max(280, svg.parentNode.clientWidth);
    const box = { left: 38, right: width - 14, top: 26, bottom: height - 24, width, height };
    svg.replaceChildren();
    svg.setAttribute("viewBox", `0 0 ${width} ${height}`);
    box.x = (minute) => box.left + ((Math.min(Math.max(minute, first), last) - first) / (last - first)) * (box.right - box.left);
    box.svg = svg;
    drawValley(box);
    add(svg, "text", { x: 0, y: 14 }, text(unitKey));
    return box;
  }

  function drawValley(box) {
    const [from, to] = data.valley.map(box.x);
    if (to <= from) return;
    add(box.svg, "rect", { class: "band", x: from, y: 0, width: to - from, height: box.bottom });
    const key = to - from > 190 ? "valley" : "valley_short";
    add(box.svg, "text", { x: (from + to) / 2, y: 14, "text-anchor": "middle" }, text(key));
  }

  function drawHours(box) {
    const perHour = ((box.right - box.left) / (last - first)) * 60;
    const every = [60, 120, 180, 240, 360].find((step) => (perHour * step) / 60 >= 46) || 480;
    add(box.svg, "line", { class: "axis", x1: box.left, x2: box.right, y1: box.bottom, y2: box.bottom });
    for (let minute = Math.ceil(first / every) * every; minute <= last; minute += every) {
      const x = box.x(minute);
      add(box.svg, "line", { class: "axis", x1: x, x2: x, y1: box.bottom, y2: box.bottom + 4 });
      add(box.svg, "text", { x, y: box.bottom + 18, "text-anchor": "middle" }, clock(minute));
    }
  }

  function drawLevels(box, top, step) {
    box.y = (value) => box.bottom - (value / top) * (box.bottom - box.top);
    for (let value = 0; value <= top; value += step) {
      const y = box.y(value);
      if (value) add(box.svg, "line", { class: "grid", x1: box.left, x2: box.right, y1: y, y2: y });
      add(box.svg, "text", { x: box.left - 8, y: y + 4, "text-anchor": "end" }, value);
    }
  }

  const points = (box, values) => values.map((value, i) =>
    (value === null ? "" : `${box.x(trace.minute[i] + 0.5).toFixed(1)},${box.y(value).toFixed(1)}`)).filter(Boolean);

  function area(box, lower, upper, name) {
    if (!count) return;
    const path = points(box, upper).concat(points(box, lower).reverse());
    add(box.svg, "path", { class: name, d: `M${path.join("L")}Z` });
  }

  function line(box, values, name) {
    const path = points(box, values);
    if (path.length) add(box.svg, "path", { class: `line ${name}`, d: `M${path.join("L")}` });
  }

  function drawLoading() {
    const narrow = byId("loading-chart").parentNode.clientWidth < 560;
    const box = frame(byId("loading-chart"), narrow ? 280 : 380, "loading_axis");
    const shown = [trace.loading, view.ghost ? trace.ghost : [], view.phase ? trace.phase : []].flat();
    const highest = Math.max(limit, ...shown);
    drawLevels(box, highest * 1.05, highest > 240 ? 50 : 20);
    area(box, trace.base.map(() => 0), trace.base, "residents");
    area(box, trace.base, trace.loading.map((value, i) => Math.max(value, trace.base[i])), "ev");
    if (view.phase) line(box, trace.phase, "phase");
    if (view.ghost) line(box, trace.ghost, "ghost");
    const y = box.y(limit);
    add(box.svg, "line", { class: "limit", x1: box.left, x2: box.right, y1: y, y2: y });
    add(box.svg, "text", { class: "limit-text halo", x: box.right - 4, y: y - 7, "text-anchor": "end" }, text("limit_line"));
    data.events.forEach(([minute]) => {
      const x = box.x(minute);
      add(box.svg, "line", { class: "event", x1: x, x2: x, y1: box.bottom - 5, y2: box.bottom });
    });
    drawHours(box);
    return box;
  }

  function drawCars() {
    const box = frame(byId("cars-chart"), 200, "cars_axis");
    const highest = Math.max(1, cars.length, ...trace.plugged, ...trace.charging);
    drawLevels(box, highest * 1.05, niceStep(highest, 4));
    area(box, trace.charging.map(() => 0), trace.charging, "ev");
    line(box, trace.plugged, "plugged");
    line(box, finished, "finished");
    drawHours(box);
    return box;
  }

  // --- the fleet: one thin row a car ---------------------------------------------------------------------------

  const rowHeight = () => Math.min(13, Math.max(1.25, 640 / Math.max(1, cars.length)));
  const spanEnd = (car) => (car.done === null ? car.depart : car.done);

  function drawFleet() {
    const row = rowHeight();
    const box = frame(byId("fleet-chart"), Math.round(cars.length * row) + 50, "fleet_axis");
    box.row = row;
    // Three paths instead of three nodes a car: 900 cars stay light.
    const thick = row * (row > 4 ? 0.66 : 0.8);
    const bar = (from, to, i) => {
      const x = box.x(from);
      const width = Math.max(box.x(to) - x, 0.8);
      return `M${x.toFixed(1)},${(box.top + i * row + (row - thick) / 2).toFixed(2)}h${width.toFixed(1)}v${thick.toFixed(2)}h${(-width).toFixed(1)}Z`;
    };
    const paths = { stay: "", ev: "", missed: "" };
    cars.forEach((car, i) => {
      paths.stay += bar(car.arrive, car.depart, i);
      if (car.start !== null) paths[car.met ? "ev" : "missed"] += bar(car.start, spanEnd(car), i);
      if (!car.met) paths.missed += missedMark(box.x(car.depart), box.top + (i + 0.5) * row, row);
    });
    Object.entries(paths).forEach(([name, d]) => { if (d) add(box.svg, "path", { class: name, d }); });
    drawRowNumbers(box);
    drawHours(box);
    return box;
  }

  // A triangle that points at the departure: seen without colour, and however thin the row is.
  function missedMark(x, y, row) {
    const size = Math.max(3, row * 0.4);
    return `M${(x + 1).toFixed(1)},${y.toFixed(1)}l${size * 1.6},${-size}v${2 * size}Z`;
  }

  function drawRowNumbers(box) {
    const step = niceStep(cars.length, 8);
    const label = (n) => add(box.svg, "text",
      { x: box.left - 8, y: box.top + (n - 0.5) * box.row + 4, "text-anchor": "end" }, n);
    if (cars.length) label(1);
    for (let n = step; n <= cars.length; n += step) if ((n - 1) * box.row >= 14) label(n);
  }

  // --- the cursors ---------------------------------------------------------------------------------------------

  let boxes = {};

  function fill(id, values) {
    Object.entries(values).forEach(([name, value]) => {
      byId(id).querySelector(`[data-v="${name}"]`).textContent = value;
    });
  }

  function layer(box) {
    const old = box.svg.querySelector(".over");
    if (old) old.remove();
    return add(box.svg, "g", { class: "over" });
  }

  function mark(box, values) {
    const over = layer(box);
    const x = box.x(trace.minute[view.at] + 0.5);
    add(over, "line", { class: "cursor", x1: x, x2: x, y1: box.top, y2: box.bottom });
    values.forEach((value) => {
      if (value !== null) add(over, "circle", { class: "dot", cx: x, cy: box.y(value), r: 3.5 });
    });
  }

  function showMinute() {
    if (!count) return;
    const i = view.at;
    const ev = Math.max(0, trace.loading[i] - trace.base[i]);
    mark(boxes.loading, [trace.loading[i], view.ghost ? trace.ghost[i] : null]);
    mark(boxes.cars, [trace.charging[i]]);
    fill("loading-readout", {
      time: clock(trace.minute[i]), loading: percent(trace.loading[i]), residents: percent(trace.base[i]),
      ev: `${ev.toFixed(1)} %, ${Math.round(trace.ev_kw[i])} kW`, phase: percent(trace.phase[i]),
      ghost: percent(trace.ghost[i]), charging: trace.charging[i],
    });
    fill("cars-readout", {
      time: clock(trace.minute[i]), charging: trace.charging[i], plugged: trace.plugged[i], finished: finished[i],
    });
  }

  function showCar() {
    const car = cars[view.car];
    if (!car) return;
    const box = boxes.fleet;
    const over = layer(box);
    const height = Math.max(box.row, 3);
    const y = box.top + (view.car + 0.5) * box.row - height / 2;
    add(over, "rect", { class: "row", x: box.left, y, width: box.right - box.left, height });
    add(over, "rect", { class: "row-bar", x: box.x(car.arrive), y, width: Math.max(1, box.x(car.depart) - box.x(car.arrive)), height });
    fill("fleet-readout", {
      charger: car.charger, phase: `${car.phase}, ${car.maxA} A`, stay: `${clock(car.arrive)}–${clock(car.depart)}`,
      span: car.start === null ? text("car_never") : `${clock(car.start)}–${clock(spanEnd(car))}`,
      energy: `${kwh(car.got)} / ${kwh(car.asked)} kWh`, verdict: (car.met ? "✓ " : "✗ ") + text(car.met ? "car_met" : "car_missed"),
    });
  }

  const within = (value, top) => Math.min(Math.max(Math.round(value), 0), Math.max(top - 1, 0));

  function moveTo(at) {
    view.at = within(at, count);
    showMinute();
  }

  function moveToCar(car) {
    view.car = within(car, cars.length);
    showCar();
  }

  // Pointer position in the chart's own coordinates: the picture may be scaled, on paper or while resizing.
  function inChart(box, event) {
    const rect = box.svg.getBoundingClientRect();
    const scale = box.width / rect.width;
    return [(event.clientX - rect.left) * scale, (event.clientY - rect.top) * scale];
  }

  function follow(id, onPoint, onStep) {
    const svg = byId(`${id}-chart`);
    const point = (event) => onPoint(boxes[id], ...inChart(boxes[id], event));
    svg.addEventListener("pointermove", point);
    svg.addEventListener("pointerdown", point);
    svg.addEventListener("keydown", (event) => {
      const step = { ArrowLeft: -1, ArrowUp: -1, ArrowRight: 1, ArrowDown: 1 }[event.key];
      if (!step) return;
      event.preventDefault();
      onStep(step * (event.shiftKey ? 15 : 1));
    });
  }

  const pointMinute = (box, x) => moveTo(((x - box.left) / (box.right - box.left)) * count - 0.5);
  const pointCar = (box, _x, y) => moveToCar((y - box.top) / box.row - 0.5);

  // --- the rest of the page ------------------------------------------------------------------------------------

  function listEvents() {
    const list = byId("events");
    list.replaceChildren();
    data.events.forEach(([minute, kind, english, chinese], i) => {
      const item = document.createElement("li");
      const time = document.createElement("time");
      const what = document.createElement("span");
      time.textContent = clock(minute);
      what.textContent = view.lang === "zh" ? chinese : english;
      item.dataset.kind = kind;
      item.className = i < data.events_at_first ? "" : "more";
      item.append(time, what);
      item.addEventListener("pointerenter", () => moveTo(minute - first));
      list.appendChild(item);
    });
    byId("no-events").hidden = data.events.length > 0;
    byId("more-events").hidden = data.events.length <= data.events_at_first || list.classList.contains("all");
  }

  function draw() {
    boxes = { loading: drawLoading(), cars: drawCars(), fleet: drawFleet() };
    showMinute();
    showCar();
  }

  function speak(lang) {
    view.lang = lang;
    document.documentElement.lang = lang === "zh" ? "zh-CN" : "en";
    document.title = `${text("title")} – ${text("headline")}`;
    document.querySelectorAll("[data-t]").forEach((node) => { node.textContent = text(node.dataset.t); });
    document.querySelectorAll("[data-label]").forEach((node) => node.setAttribute("aria-label", text(node.dataset.label)));
    document.querySelectorAll("[data-lang]").forEach((node) =>
      node.setAttribute("aria-pressed", String(node.dataset.lang === lang)));
    listEvents();
    draw();
  }

  function start() {
    document.querySelectorAll(".live, .languages").forEach((node) => { node.hidden = false; });
    byId("fleet").hidden = cars.length === 0;
    document.querySelectorAll("[data-lang]").forEach((node) =>
      node.addEventListener("click", () => speak(node.dataset.lang)));
    ["ghost", "phase"].forEach((name) => byId(`show-${name}`).addEventListener("change", (event) => {
      view[name] = event.target.checked;
      draw();
    }));
    byId("more-events").addEventListener("click", () => {
      byId("events").classList.add("all");
      byId("more-events").hidden = true;
    });
    follow("loading", pointMinute, (step) => moveTo(view.at + step));
    follow("cars", pointMinute, (step) => moveTo(view.at + step));
    follow("fleet", pointCar, (step) => moveToCar(view.car + step));
    new ResizeObserver(draw).observe(document.querySelector("main"));
    // "#zh" or "#en" in the address wins, so that a link can choose; then the reader's browser decides.
    const asked = location.hash.slice(1) || navigator.language;
    speak(asked.toLowerCase().startsWith("zh") ? "zh" : "en");
  }

  start();
})();
