"use strict";
/* Draws the charts and maps of a labctl report from the data within the page. Nothing is loaded from anywhere. */
(async () => {
  const SVG = "http://www.w3.org/2000/svg";
  const NONE = 65535;
  const data = JSON.parse(document.getElementById("page-data").textContent);
  const tip = document.getElementById("tip");

  // ---------------------------------------------------------------- numbers

  const SUPER = { "-": "⁻", 0: "⁰", 1: "¹", 2: "²", 3: "³", 4: "⁴", 5: "⁵", 6: "⁶", 7: "⁷", 8: "⁸", 9: "⁹" };

  function powerOfTen(exponent) {
    return "10" + [...String(exponent)].map((each) => SUPER[each]).join("");
  }

  function shown(value, digits = 4) {
    if (!Number.isFinite(value)) return "none";
    if (value === 0) return "0";
    const size = Math.abs(value);
    if (size >= 1e6 || size < 1e-4) {
      if (Number.isInteger(value) && size < 1e15) return grouped(String(value));
      const exponent = Math.floor(Math.log10(size));
      const mantissa = Number((value / 10 ** exponent).toPrecision(digits));
      return (mantissa === 1 ? "" : minus(String(mantissa)) + " × ") + powerOfTen(exponent);
    }
    return grouped(String(Number.isInteger(value) ? value : Number(value.toPrecision(digits))));
  }

  function minus(text) {
    return text.replace("-", "−");
  }

  function grouped(text) {
    const [whole, rest] = text.split(".");
    return minus(whole.replace(/\B(?=(\d{3})+$)/g, ",") + (rest === undefined ? "" : "." + rest));
  }

  function niceStep(span, wanted) {
    const raw = span / Math.max(wanted, 1);
    const power = 10 ** Math.floor(Math.log10(raw));
    return power * ([1, 2, 5].find((each) => each * power >= raw * 0.999) || 10);
  }

  // ---------------------------------------------------------------- axes

  function linearTicks(low, high, wanted) {
    const step = niceStep(high - low, wanted);
    const found = [];
    for (let k = Math.ceil(low / step - 1e-9); k * step <= high + 1e-9 * step; k++) {
      found.push({ at: k * step, text: grouped(String(Number((k * step).toPrecision(10)))) });
    }
    return found;
  }

  function logTicks(low, high, wanted) {
    const first = Math.ceil(Math.log10(low) - 1e-9), last = Math.floor(Math.log10(high) + 1e-9);
    const every = Math.max(Math.ceil((last - first + 1) / wanted), 1);
    const found = [];
    const write = (value, exponent) =>
      exponent < -3 || exponent > 4 ? powerOfTen(exponent) : grouped(String(Number(value.toPrecision(3))));
    for (let k = first; k <= last; k += every) found.push({ at: 10 ** k, text: write(10 ** k, k) });
    if (found.length < 3) {
      const some = [];
      for (let k = first - 1; k <= last; k++) {
        for (const digit of [1, 2, 5]) {
          const at = digit * 10 ** k;
          if (at >= low * 0.999 && at <= high * 1.001) some.push({ at, text: shown(at, 2) });
        }
      }
      return some.length > found.length ? some : linearTicks(low, high, wanted);
    }
    return found;
  }

  function scaleOf(axis, values, length, reversed, wanted) {
    let usable = values.filter((each) => Number.isFinite(each) && (!axis.log || each > 0));
    if (!usable.length) usable = axis.log ? [1, 10] : [0, 1];
    let low = axis.low ?? usable.reduce((a, b) => Math.min(a, b));
    let high = axis.high ?? usable.reduce((a, b) => Math.max(a, b));
    if (!(high > low)) {
      const pad = axis.log ? low / 2 : Math.abs(low) / 10 || 0.5;
      low -= pad;
      high += pad;
    } else if (axis.log) {
      const pad = (high / low) ** 0.03;
      if (axis.low == null) low /= pad;
      if (axis.high == null) high *= pad;
    } else {
      const pad = (high - low) * 0.04;
      if (axis.low == null && low !== 0) low -= pad;
      if (axis.high == null) high += pad;
    }
    const bend = axis.log ? Math.log10 : (each) => each;
    const span = bend(high) - bend(low);
    const place = (value) => {
      const share = (bend(axis.log ? Math.max(value, low / 1e3) : value) - bend(low)) / span;
      return (reversed ? 1 - share : share) * length;
    };
    return { place, low, high, ticks: (axis.log ? logTicks : linearTicks)(low, high, wanted) };
  }

  // ---------------------------------------------------------------- charts

  function node(name, attributes, parent, text) {
    const made = document.createElementNS(SVG, name);
    for (const [key, value] of Object.entries(attributes)) made.setAttribute(key, value);
    if (text !== undefined) made.textContent = text;
    if (parent) parent.appendChild(made);
    return made;
  }

  function valuesOf(chart, axis) {
    const found = chart.density ? [...chart.density[axis]] : [];
    for (const each of chart.series) {
      for (const value of each[axis]) found.push(value);
      if (axis === "y") {
        for (const name of ["low", "high"]) if (each[name]) for (const value of each[name]) found.push(value);
        if (each.kind === "bars" && !chart.y.log) found.push(0);
      }
    }
    return found;
  }

  function drawChart(holder, chart, width) {
    holder.replaceChildren();
    const height = Math.round(Math.min(Math.max(width * 0.62, 210), 340));
    const probe = scaleOf(chart.y, valuesOf(chart, "y"), 100, true, 5);
    const left = 30 + 7 * Math.max(2, ...probe.ticks.map((each) => each.text.length));
    const inner = { left, top: 10, width: width - left - 20, height: height - 56 };
    const x = scaleOf(chart.x, valuesOf(chart, "x"), inner.width, false, inner.width / 75);
    const y = scaleOf(chart.y, valuesOf(chart, "y"), inner.height, true, inner.height / 45);
    const svg = node("svg", { viewBox: `0 0 ${width} ${height}`, "aria-hidden": "true", focusable: "false" }, holder);
    const clip = "clip-" + holder.dataset.chart;
    node("rect", { width: inner.width, height: inner.height }, node("clipPath", { id: clip }, svg));
    const all = node("g", { transform: `translate(${inner.left} ${inner.top})` }, svg);
    for (const tick of x.ticks) {
      const at = x.place(tick.at);
      node("line", { class: "grid", x1: at, x2: at, y1: 0, y2: inner.height }, all);
      node("text", { x: at, y: inner.height + 17, "text-anchor": "middle" }, all, tick.text);
    }
    for (const tick of y.ticks) {
      const at = y.place(tick.at);
      node("line", { class: "grid", x1: 0, x2: inner.width, y1: at, y2: at }, all);
      node("text", { x: -7, y: at + 4, "text-anchor": "end" }, all, tick.text);
    }
    node("rect", { class: "frame", width: inner.width, height: inner.height }, all);
    node("text", { x: inner.width / 2, y: inner.height + 38, "text-anchor": "middle" }, all, chart.x.label);
    const turned = `translate(${14 - inner.left} ${inner.height / 2}) rotate(-90)`;
    node("text", { transform: turned, "text-anchor": "middle" }, all, chart.y.label);
    const plot = node("g", { "clip-path": `url(#${clip})` }, all);
    if (chart.density) drawDensity(plot, chart.density, x, y);
    for (const each of chart.series) drawSeries(plot, each, x, y, inner);
    const mark = node("circle", { class: "mark", r: 5, visibility: "hidden" }, all);
    svg.addEventListener("pointermove", (event) => point(event, svg, chart, x, y, inner, mark, width));
    svg.addEventListener("pointerleave", () => {
      mark.setAttribute("visibility", "hidden");
      tip.hidden = true;
    });
  }

  function drawDensity(plot, density, x, y) {
    let most = 1;
    for (const row of density.counts) for (const value of row) most = Math.max(most, value);
    density.counts.forEach((row, j) =>
      row.forEach((count, i) => {
        if (!count) return;
        const [x0, x1] = [x.place(density.x[i]), x.place(density.x[i + 1])];
        const [y0, y1] = [y.place(density.y[j + 1]), y.place(density.y[j])];
        const share = most > 1 ? Math.log(count) / Math.log(most) : 1;
        const fill = data.ramps.up[Math.round((1 - share) * 215)];
        node("rect", { x: x0, y: y0, width: x1 - x0 + 0.4, height: y1 - y0 + 0.4, fill }, plot);
      }));
  }

  function path(xs, ys, x, y, stepped) {
    let text = "", before = null;
    for (let k = 0; k < xs.length; k++) {
      if (!Number.isFinite(xs[k]) || !Number.isFinite(ys[k])) {
        before = null;
        continue;
      }
      const [px, py] = [x.place(xs[k]).toFixed(1), y.place(ys[k]).toFixed(1)];
      text += before === null ? `M${px} ${py}` : stepped ? `H${px}V${py}` : `L${px} ${py}`;
      before = k;
    }
    return text;
  }

  function drawSeries(plot, series, x, y, inner) {
    const { kind, colour } = series;
    if (kind === "bars") {
      const zero = Math.min(y.place(y.low), inner.height);
      series.y.forEach((value, k) => {
        const [x0, x1] = [x.place(series.x[k]), x.place(series.x[k + 1])];
        const top = y.place(value);
        if (!value) return;
        node("rect", { x: x0, y: top, width: Math.max(x1 - x0 - 0.6, 0.6), height: Math.max(zero - top, 0), fill: colour,
          "fill-opacity": series.dashed ? 0.45 : 0.85 }, plot);
      });
      return;
    }
    if (kind === "area" && series.low) {
      const there = series.x.map((_, k) => k).filter((k) => Number.isFinite(series.low[k]) && Number.isFinite(series.high[k]));
      const up = there.map((k) => `${x.place(series.x[k]).toFixed(1)} ${y.place(series.high[k]).toFixed(1)}`);
      const down = there.map((k) => `${x.place(series.x[k]).toFixed(1)} ${y.place(series.low[k]).toFixed(1)}`).reverse();
      if (there.length) node("path", { d: `M${up.concat(down).join("L")}Z`, fill: colour, "fill-opacity": 0.18 }, plot);
    } else if (series.low) {
      series.x.forEach((value, k) => {
        const low = series.low[k] ?? series.y[k], high = series.high[k] ?? series.y[k];
        if (!Number.isFinite(low) || !Number.isFinite(high)) return;
        const at = x.place(value);
        node("path", { d: `M${at} ${y.place(low)}V${y.place(high)}m-3 0h6M${at - 3} ${y.place(low)}h6`, stroke: colour,
          fill: "none" }, plot);
      });
    }
    if (kind !== "points") {
      node("path", { d: path(series.x, series.y, x, y, kind === "steps"), stroke: colour, fill: "none",
        "stroke-width": series.dashed ? 1.2 : 1.7, ...(series.dashed ? { "stroke-dasharray": "5 4" } : {}) }, plot);
    }
    if (kind === "points" || (kind === "line" && !series.dashed && series.x.length <= 40)) {
      const r = series.x.length > 300 ? 1.6 : 3;
      series.x.forEach((value, k) => {
        if (Number.isFinite(series.y[k])) node("circle", { cx: x.place(value), cy: y.place(series.y[k]), r, fill: colour,
          "fill-opacity": series.x.length > 300 ? 0.5 : 1 }, plot);
      });
    }
  }

  function point(event, svg, chart, x, y, inner, mark, width) {
    const box = svg.getBoundingClientRect();
    const scale = width / box.width;
    const at = { x: (event.clientX - box.left) * scale - inner.left, y: (event.clientY - box.top) * scale - inner.top };
    let best = null;
    for (const series of chart.series) {
      series.y.forEach((value, k) => {
        if (!Number.isFinite(value)) return;
        const bars = series.kind === "bars";
        const px = bars ? (x.place(series.x[k]) + x.place(series.x[k + 1])) / 2 : x.place(series.x[k]);
        const py = y.place(value);
        const far = Math.hypot(px - at.x, bars ? 0 : py - at.y);
        if (!best || far < best.far) best = { far, px, py, series, k };
      });
    }
    if (!best || best.far > 40) {
      mark.setAttribute("visibility", "hidden");
      tip.hidden = true;
      return;
    }
    const { series, k } = best;
    mark.setAttribute("cx", best.px);
    mark.setAttribute("cy", Math.min(Math.max(best.py, 0), inner.height));
    mark.setAttribute("visibility", "visible");
    const where = series.kind === "bars" ? `${shown(series.x[k])} to ${shown(series.x[k + 1])}` : shown(series.x[k]);
    const range = series.low && Number.isFinite(series.low[k]) && Number.isFinite(series.high[k])
      ? ` (${shown(series.low[k])} to ${shown(series.high[k])})` : "";
    const lines = [`${chart.y.label}: ${shown(series.y[k])}${range}`, `${chart.x.label}: ${where}`];
    tell(event, series.label ? [series.label, ...lines] : lines);
  }

  function tell(event, lines) {
    tip.replaceChildren(...lines.map((line) => {
      const made = document.createElement("div");
      made.textContent = line;
      return made;
    }));
    tip.hidden = false;
    const room = tip.getBoundingClientRect();
    const left = Math.min(event.clientX + 14, window.innerWidth - room.width - 6);
    const below = event.clientY + 16;
    const top = below + room.height > window.innerHeight ? event.clientY - room.height - 12 : below;
    tip.style.left = `${Math.max(left, 4)}px`;
    tip.style.top = `${Math.max(top, 4)}px`;
  }

  // ---------------------------------------------------------------- maps

  async function inflate(text) {
    const bytes = Uint8Array.from(atob(text), (each) => each.charCodeAt(0));
    const stream = new Blob([bytes]).stream().pipeThrough(new DecompressionStream("deflate"));
    return new Uint8Array(await new Response(stream).arrayBuffer());
  }

  async function unpack(layer, cells) {
    const bytes = await inflate(layer.packed.data);
    if (layer.packed.bits === 8) return { codes: bytes, value: (cell) => bytes[cell] };
    const codes = new Uint16Array(cells);
    for (let k = 0; k < cells; k++) codes[k] = (bytes[k] << 8) | bytes[cells + k];
    const { scale, offset } = layer.packed;
    return { codes, value: (cell) => (codes[cell] === NONE ? NaN : offset + scale * codes[cell]) };
  }

  function rgb(hex) {
    return [1, 3, 5].map((at) => parseInt(hex.slice(at, at + 2), 16));
  }

  function pictureOf(layer, rows, cols) {
    const canvas = document.createElement("canvas");
    canvas.width = cols;
    canvas.height = rows;
    const pen = canvas.getContext("2d"), image = pen.createImageData(cols, rows);
    const ramp = (layer.signed ? data.ramps.signed : data.ramps.up).map(rgb);
    const flags = new Map((layer.flags || []).map((each) => [each.code, rgb(each.colour)]));
    const { low, high } = layer;
    for (let cell = 0; cell < rows * cols; cell++) {
      let colour;
      if (layer.flags) colour = flags.get(layer.codes[cell]) || [0, 0, 0];
      else {
        const value = layer.value(cell);
        colour = Number.isNaN(value) ? [222, 222, 222]
          : ramp[Math.min(Math.max(Math.round(((value - low) / (high - low)) * 255), 0), 255)];
      }
      image.data.set([...colour, 255], 4 * cell);
    }
    pen.putImageData(image, 0, 0);
    return canvas;
  }

  function tellValue(layer, cell) {
    if (layer.flags) {
      const found = layer.flags.find((each) => each.code === layer.codes[cell]);
      return found ? found.name : `code ${layer.codes[cell]}`;
    }
    const value = layer.value(cell);
    if (Number.isNaN(value)) return "none";
    const step = layer.packed.scale * layer.factor;
    const digits = step >= 1 ? 0 : Math.min(Math.max(Math.ceil(-Math.log10(step)), 0), 5);
    return grouped((value * layer.factor).toFixed(digits)) + (layer.unit ? " " + layer.unit : "");
  }

  const AXIS = { left: 46, bottom: 40, top: 8, right: 8 };

  function paintMap(pen, width, height, layer, view, rows, cols, cursor) {
    const w = width - AXIS.left - AXIS.right, h = height - AXIS.top - AXIS.bottom;
    pen.clearRect(0, 0, width, height);
    pen.fillStyle = "#fff";
    pen.fillRect(0, 0, width, height);
    pen.imageSmoothingEnabled = false;
    pen.drawImage(layer.picture, view.col, view.row, view.cols, view.rows, AXIS.left, AXIS.top, w, h);
    pen.strokeStyle = "#555";
    pen.lineWidth = 1;
    pen.strokeRect(AXIS.left - 0.5, AXIS.top - 0.5, w + 1, h + 1);
    pen.fillStyle = "#333";
    pen.font = "12px system-ui, sans-serif";
    pen.textAlign = "center";
    for (const each of cellTicks(view.col, view.cols, w / 60)) {
      pen.fillText(String(each), AXIS.left + ((each + 0.5 - view.col) / view.cols) * w, height - AXIS.bottom + 16);
    }
    pen.fillText("column", AXIS.left + w / 2, height - 6);
    pen.textAlign = "right";
    for (const each of cellTicks(view.row, view.rows, h / 45)) {
      pen.fillText(String(each), AXIS.left - 6, AXIS.top + ((each + 0.5 - view.row) / view.rows) * h + 4);
    }
    pen.save();
    pen.translate(12, AXIS.top + h / 2);
    pen.rotate(-Math.PI / 2);
    pen.textAlign = "center";
    pen.fillText("row", 0, 0);
    pen.restore();
    if (!cursor) return;
    const [cw, ch] = [w / view.cols, h / view.rows];
    const [x, y] = [AXIS.left + (cursor.col - view.col) * cw, AXIS.top + (cursor.row - view.row) * ch];
    const pad = Math.max(0, (7 - Math.min(cw, ch)) / 2);
    for (const [colour, grow] of [["#fff", 1.5], ["#000", 0.5]]) {
      pen.strokeStyle = colour;
      pen.lineWidth = colour === "#fff" ? 3 : 1.5;
      pen.strokeRect(x - pad - grow, y - pad - grow, cw + 2 * (pad + grow), ch + 2 * (pad + grow));
    }
  }

  function cellTicks(first, span, wanted) {
    const step = Math.max(niceStep(span, Math.max(wanted, 2)), 1);
    const found = [];
    for (let k = Math.ceil((first - 0.49) / step); k * step < first + span - 0.49; k++) found.push(k * step);
    return found;
  }

  function paintBar(pen, width, height, layer) {
    pen.fillStyle = "#fff";
    pen.fillRect(0, 0, width, height);
    const h = height - AXIS.top - AXIS.bottom;
    const ramp = layer.signed ? data.ramps.signed : data.ramps.up;
    for (let k = 0; k < h; k++) {
      pen.fillStyle = ramp[Math.round((1 - k / (h - 1)) * 255)];
      pen.fillRect(0, AXIS.top + k, 16, 1.5);
    }
    pen.strokeStyle = "#555";
    pen.strokeRect(0.5, AXIS.top - 0.5, 16, h + 1);
    pen.fillStyle = "#333";
    pen.font = "12px system-ui, sans-serif";
    pen.textAlign = "left";
    const [low, high] = [layer.low * layer.factor, layer.high * layer.factor];
    for (const tick of linearTicks(low, high, h / 45)) {
      const at = AXIS.top + (1 - (tick.at - low) / (high - low)) * h;
      pen.fillRect(16, at - 0.5, 4, 1);
      pen.fillText(tick.text, 23, at + 4);
    }
    pen.fillText(layer.unit || "", 2, height - AXIS.bottom + 16);
  }

  function paintFlatBar(pen, width, layer) {
    pen.fillStyle = "#fff";
    pen.fillRect(0, 0, width, 44);
    const long = width - AXIS.left - AXIS.right, ramp = layer.signed ? data.ramps.signed : data.ramps.up;
    for (let k = 0; k < long; k++) {
      pen.fillStyle = ramp[Math.round((k / (long - 1)) * 255)];
      pen.fillRect(AXIS.left + k, 4, 1.5, 14);
    }
    pen.strokeStyle = "#555";
    pen.strokeRect(AXIS.left - 0.5, 3.5, long + 1, 15);
    pen.fillStyle = "#333";
    pen.font = "12px system-ui, sans-serif";
    pen.textAlign = "center";
    const [low, high] = [layer.low * layer.factor, layer.high * layer.factor];
    for (const tick of linearTicks(low, high, long / 60)) {
      const at = AXIS.left + ((tick.at - low) / (high - low)) * long;
      pen.fillRect(at - 0.5, 19, 1, 4);
      pen.fillText(tick.text, at, 36);
    }
    pen.textAlign = "left";
    pen.fillText(layer.unit || "", 6, 16);
  }

  function sized(canvas, width, height) {
    const dense = Math.max(window.devicePixelRatio || 1, 1);
    canvas.width = Math.round(width * dense);
    canvas.height = Math.round(height * dense);
    canvas.style.width = `${width}px`;
    canvas.style.height = `${height}px`;
    const pen = canvas.getContext("2d");
    pen.setTransform(dense, 0, 0, dense, 0, 0);
    return pen;
  }

  async function liveMaps(holder, maps) {
    const { rows, cols, layers } = maps;
    const find = (name) => holder.querySelector(`[data-part="${name}"]`);
    const [canvas, bar, key, glass, readout] = ["map", "bar", "key", "glass", "readout"].map(find);
    const tabs = [...holder.querySelectorAll('[role="tab"]')];
    await Promise.all(layers.map(async (layer) => {
      Object.assign(layer, await unpack(layer, rows * cols));
      layer.picture = pictureOf(layer, rows, cols);
    }));
    const whole = () => ({ row: 0, col: 0, rows, cols });
    let layer = layers[0], view = whole(), cursor = null, size = { width: 0, height: 0 };

    function paint() {
      const room = holder.clientWidth;
      const reserved = room > 560 ? 90 : 0;
      const width = Math.min(room - reserved, 680);
      const stretched = Math.max(rows, cols) > 4 * Math.min(rows, cols);
      const square = (width - AXIS.left - AXIS.right) * (stretched ? 0.5 : rows / cols);
      const height = Math.round(Math.min(square, 900) + AXIS.top + AXIS.bottom);
      size = { width, height };
      paintMap(sized(canvas, width, height), width, height, layer, view, rows, cols, cursor);
      bar.hidden = Boolean(layer.flags);
      if (!layer.flags) {
        if (reserved) paintBar(sized(bar, 84, height), 84, height, layer);
        else paintFlatBar(sized(bar, width, 44), width, layer);
      }
      glass.hidden = !cursor;
      paintGlass();
    }

    function paintGlass() {
      const pen = sized(glass, 135, 135), across = 15, pixel = 9;
      pen.fillStyle = "#fff";
      pen.fillRect(0, 0, 135, 135);
      if (!cursor) return;
      pen.imageSmoothingEnabled = false;
      const [row, col] = [cursor.row - 7, cursor.col - 7];
      const from = { row: Math.max(row, 0), col: Math.max(col, 0) };
      const to = { row: Math.min(row + across, rows), col: Math.min(col + across, cols) };
      pen.drawImage(layer.picture, from.col, from.row, to.col - from.col, to.row - from.row,
        (from.col - col) * pixel, (from.row - row) * pixel, (to.col - from.col) * pixel, (to.row - from.row) * pixel);
      pen.lineWidth = 3;
      pen.strokeStyle = "#fff";
      pen.strokeRect(7 * pixel, 7 * pixel, pixel, pixel);
      pen.lineWidth = 1.5;
      pen.strokeStyle = "#000";
      pen.strokeRect(7 * pixel, 7 * pixel, pixel, pixel);
    }

    function readOut() {
      if (!cursor) return;
      const cell = cursor.row * cols + cursor.col;
      const head = document.createElement("p");
      head.textContent = `row ${cursor.row}, column ${cursor.col}`;
      const list = document.createElement("dl");
      for (const each of layers) {
        const name = document.createElement("dt"), value = document.createElement("dd");
        name.textContent = each.label;
        value.textContent = tellValue(each, cell);
        if (each === layer) name.className = value.className = "chosen";
        list.append(name, value);
      }
      readout.replaceChildren(head, list);
    }

    function at(event) {
      const box = canvas.getBoundingClientRect();
      const x = (event.clientX - box.left - AXIS.left) / (size.width - AXIS.left - AXIS.right);
      const y = (event.clientY - box.top - AXIS.top) / (size.height - AXIS.top - AXIS.bottom);
      if (x < -0.01 || y < -0.01 || x > 1.01 || y > 1.01) return null;
      return {
        row: Math.min(Math.max(Math.floor(view.row + y * view.rows), 0), rows - 1),
        col: Math.min(Math.max(Math.floor(view.col + x * view.cols), 0), cols - 1),
      };
    }

    function moveTo(cell, event) {
      cursor = cell;
      paint();
      readOut();
      if (event) tell(event, [`row ${cell.row}, column ${cell.col}`, `${layer.label}: ${tellValue(layer, cell.row * cols + cell.col)}`]);
    }

    function zoom(factor, around) {
      const middle = around || cursor || { row: view.row + view.rows / 2, col: view.col + view.cols / 2 };
      const high = Math.min(Math.max(view.rows / factor, Math.min(8, rows)), rows);
      const wide = Math.min(Math.max(view.cols / factor, Math.min(8, cols)), cols);
      const inside = (first, span, all) => Math.min(Math.max(first, 0), all - span);
      const part = { row: (middle.row + 0.5 - view.row) / view.rows, col: (middle.col + 0.5 - view.col) / view.cols };
      view = {
        row: inside(middle.row + 0.5 - part.row * high, high, rows),
        col: inside(middle.col + 0.5 - part.col * wide, wide, cols),
        rows: high,
        cols: wide,
      };
      paint();
    }

    function pan(row, col) {
      view.row = Math.min(Math.max(view.row + row, 0), rows - view.rows);
      view.col = Math.min(Math.max(view.col + col, 0), cols - view.cols);
      paint();
    }

    function choose(number, focused) {
      layer = layers[number];
      tabs.forEach((tab, k) => {
        tab.setAttribute("aria-selected", String(k === number));
        tab.tabIndex = k === number ? 0 : -1;
      });
      find("panel").setAttribute("aria-labelledby", tabs[number].id);
      canvas.setAttribute("aria-label", layer.told);
      find("note").textContent = layer.note;
      key.replaceChildren(...(layer.flags || []).filter((each) => each.count).map((each) => {
        const item = document.createElement("li"), swatch = document.createElement("span");
        swatch.className = "swatch";
        swatch.style.background = each.colour;
        item.append(swatch, `${each.name}: ${grouped(String(each.count))}`);
        return item;
      }));
      if (focused) tabs[number].focus();
      paint();
      readOut();
    }

    tabs.forEach((tab, number) => {
      tab.addEventListener("click", () => choose(number));
      tab.addEventListener("keydown", (event) => {
        const move = { ArrowRight: 1, ArrowLeft: -1 }[event.key];
        const next = move ? (number + move + tabs.length) % tabs.length
          : event.key === "Home" ? 0 : event.key === "End" ? tabs.length - 1 : -1;
        if (next < 0) return;
        event.preventDefault();
        choose(next, true);
      });
    });
    let held = null;
    canvas.addEventListener("pointermove", (event) => {
      if (held) {
        const perPixel = { row: view.rows / (size.height - AXIS.top - AXIS.bottom), col: view.cols / (size.width - AXIS.left - AXIS.right) };
        pan((held.y - event.clientY) * perPixel.row, (held.x - event.clientX) * perPixel.col);
        held = { x: event.clientX, y: event.clientY };
        return;
      }
      const cell = at(event);
      if (cell) moveTo(cell, event);
      else tip.hidden = true;
    });
    canvas.addEventListener("pointerdown", (event) => {
      const cell = at(event);
      if (cell) moveTo(cell, event);
      if (view.rows < rows || view.cols < cols) {
        held = { x: event.clientX, y: event.clientY };
        canvas.setPointerCapture(event.pointerId);
      }
    });
    for (const name of ["pointerup", "pointercancel"]) canvas.addEventListener(name, () => (held = null));
    canvas.addEventListener("pointerleave", () => (tip.hidden = true));
    canvas.addEventListener("dblclick", (event) => zoom(3, at(event)));
    canvas.addEventListener("wheel", (event) => {
      if (!event.ctrlKey && !event.metaKey && document.activeElement !== canvas) return;
      event.preventDefault();
      zoom(event.deltaY < 0 ? 1.25 : 0.8, at(event));
    }, { passive: false });
    canvas.addEventListener("keydown", (event) => {
      const step = { ArrowUp: [-1, 0], ArrowDown: [1, 0], ArrowLeft: [0, -1], ArrowRight: [0, 1] }[event.key];
      if (step) {
        const from = cursor || { row: 0, col: 0 }, far = event.shiftKey ? 10 : 1;
        const bound = (value, all) => Math.min(Math.max(value, 0), all - 1);
        const to = { row: bound(from.row + step[0] * far, rows), col: bound(from.col + step[1] * far, cols) };
        if (to.row < view.row || to.row >= view.row + view.rows) pan(step[0] * far, 0);
        if (to.col < view.col || to.col >= view.col + view.cols) pan(0, step[1] * far);
        moveTo(to);
      } else if (event.key === "+" || event.key === "=") zoom(1.5);
      else if (event.key === "-") zoom(1 / 1.5);
      else if (event.key === "0") zoom(1e-9);
      else return;
      event.preventDefault();
    });
    find("closer").addEventListener("click", () => zoom(1.6));
    find("further").addEventListener("click", () => zoom(1 / 1.6));
    find("whole").addEventListener("click", () => zoom(1e-9));
    find("go").addEventListener("submit", (event) => {
      event.preventDefault();
      const [row, col] = ["row", "col"].map((name) => Number(event.target.elements[name].value));
      if (row >= 0 && row < rows && col >= 0 && col < cols) moveTo({ row: Math.floor(row), col: Math.floor(col) });
    });
    choose(0);
    printed(find("sheet"), layers, rows, cols);
    return paint;
  }

  /* Every map once more, side by side, for paper. */
  function printed(sheet, layers, rows, cols) {
    sheet.replaceChildren(...layers.map((layer) => {
      const figure = document.createElement("figure"), words = document.createElement("figcaption");
      const canvas = document.createElement("canvas"), bar = 84;
      const stretched = Math.max(rows, cols) > 4 * Math.min(rows, cols);
      const width = 360, height = Math.round(306 * (stretched ? 0.5 : Math.min(rows / cols, 2)) + AXIS.top + AXIS.bottom);
      canvas.width = 2 * (width + bar);
      canvas.height = 2 * height;
      const pen = canvas.getContext("2d");
      pen.scale(2, 2);
      paintMap(pen, width, height, layer, { row: 0, col: 0, rows, cols }, rows, cols, null);
      if (!layer.flags) {
        pen.translate(width, 0);
        paintBar(pen, bar, height, layer);
      }
      canvas.setAttribute("role", "img");
      canvas.setAttribute("aria-label", layer.told);
      words.textContent = layer.label + (layer.unit ? ` (${layer.unit})` : "");
      figure.append(words, canvas);
      for (const each of (layer.flags || []).filter((each) => each.count)) {
        const item = document.createElement("span"), swatch = document.createElement("span");
        item.className = "keyed";
        swatch.className = "swatch";
        swatch.style.background = each.colour;
        item.append(swatch, `${each.name}: ${grouped(String(each.count))}`);
        figure.append(item);
      }
      return figure;
    }));
  }

  // ---------------------------------------------------------------- the page

  const repaints = [], forPaper = [];
  document.documentElement.classList.add("scripted");
  try {
    for (const [number, maps] of data.maps.entries()) {
      repaints.push(await liveMaps(document.querySelector(`[data-maps="${number}"]`), maps));
    }
    for (const holder of document.querySelectorAll("[data-chart]")) {
      const chart = data.charts[Number(holder.dataset.chart)];
      repaints.push(() => drawChart(holder, chart, Math.min(Math.max(holder.clientWidth, 280), 760)));
      repaints.at(-1)();
      forPaper.push(() => drawChart(holder, chart, 380));
    }
  } catch (problem) {
    document.documentElement.classList.remove("scripted"); // the still figures say it too
    throw problem;
  }
  let due = 0, wide = document.documentElement.clientWidth;
  window.addEventListener("resize", () => {
    if (document.documentElement.clientWidth === wide) return;
    wide = document.documentElement.clientWidth;
    cancelAnimationFrame(due);
    due = requestAnimationFrame(() => repaints.forEach((each) => each()));
  });
  window.addEventListener("beforeprint", () => {
    document.querySelectorAll("details").forEach((each) => (each.open = true));
    forPaper.forEach((each) => each());
  });
  window.addEventListener("afterprint", () => repaints.forEach((each) => each()));
  document.documentElement.dataset.drawn = "yes";
})();
