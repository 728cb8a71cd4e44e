// Draws the report's plots when they come near, in the page's colours; filters and sorts its table of trials.
"use strict";
(() => {
  const colour = (name) => getComputedStyle(document.documentElement).getPropertyValue("--" + name).trim();
  // every text "$name" within a figure is a colour of the page
  const coloured = (value) => {
    if (typeof value === "string") return value.startsWith("$") ? colour(value.slice(1)) || value : value;
    if (Array.isArray(value)) return value.every((each) => typeof each === "number") ? value : value.map(coloured);
    if (value && typeof value === "object")
      return Object.fromEntries(Object.entries(value).map(([key, each]) => [key, coloured(each)]));
    return value;
  };
  const told = (plot) => JSON.parse(plot.querySelector("script").textContent);
  const plots = [...document.querySelectorAll(".plot")];
  const coarse = matchMedia("(pointer: coarse)").matches;

  const drawFigure = (plot) => {
    const { data, layout } = told(plot);
    const style = coloured({ ...layout, height: plot.clientHeight, dragmode: coarse ? false : "zoom" });
    // no tool bar, which would lie over the data: dragging zooms, a double click shows all again
    return Plotly.react(plot.querySelector(".canvas"), coloured(data), style, { responsive: true, displayModeBar: false });
  };

  // Parallel coordinates on a canvas: plotly's need WebGL, which a machine without a graphics card draws in seconds.
  const drawParallel = (plot) => {
    const { axes, trials } = told(plot);
    const canvas = plot.querySelector("canvas"), note = plot.querySelector(".chosen");
    const width = Math.max(canvas.parentElement.clientWidth, 92 * axes.length), height = 360;
    const [left, right, top, bottom] = [44, 60, 34, 14], ratio = devicePixelRatio || 1;
    canvas.width = width * ratio; canvas.height = height * ratio;
    canvas.style.width = width + "px"; canvas.style.height = height + "px";
    const x = (axis) => left + (axis * (width - left - right)) / (axes.length - 1);
    const y = (at) => (at === null ? height - bottom : top + (1 - at) * (height - top - bottom - 22));
    const brushes = (plot.brushes ||= {});
    const kept = (trial) => Object.entries(brushes).every(([axis, [low, high]]) => {
      const at = y(axes[axis].at[trial]);
      return at >= low && at <= high;
    });
    const paint = () => {
      const pen = canvas.getContext("2d");
      const [ink, soft, line, accent, warn, card] = ["ink", "soft", "line", "accent", "warn", "card"].map(colour);
      pen.setTransform(ratio, 0, 0, ratio, 0, 0);
      pen.clearRect(0, 0, width, height);
      pen.font = "11px system-ui, sans-serif"; pen.lineJoin = "round";
      const chosen = new Set(trials.map((_, place) => place).filter(kept));
      const thin = Math.max(0.12, Math.min(0.7, 60 / trials.length));
      for (let place = trials.length - 1; place >= 0; place--) { // the best last, on top
        pen.globalAlpha = chosen.has(place) ? thin + (1 - thin) * (1 - place / trials.length) ** 6 : 0.03;
        pen.strokeStyle = place === 0 ? warn : place < trials.length / 2 ? accent : soft;
        pen.lineWidth = place === 0 ? 2.5 : 1;
        pen.beginPath();
        axes.forEach((axis, index) => pen[index ? "lineTo" : "moveTo"](x(index), y(axis.at[place])));
        pen.stroke();
      }
      pen.globalAlpha = 1; pen.textBaseline = "middle";
      axes.forEach((axis, index) => {
        const last = index === axes.length - 1;
        pen.strokeStyle = soft; pen.lineWidth = 1;
        pen.beginPath(); pen.moveTo(x(index), top); pen.lineTo(x(index), height - bottom - 22); pen.stroke();
        if (brushes[index]) {
          pen.fillStyle = accent; pen.globalAlpha = 0.35;
          pen.fillRect(x(index) - 6, brushes[index][0], 12, brushes[index][1] - brushes[index][0]);
          pen.globalAlpha = 1;
        }
        pen.textAlign = index ? (last ? "right" : "center") : "left";
        pen.fillStyle = ink;
        pen.fillText(cut(pen, axis.name, 88), index ? (last ? width - 4 : x(index)) : 4, 10);
        pen.textAlign = "left"; pen.fillStyle = ink;
        const ticks = axis.at.includes(null) ? [...axis.ticks, [null, "not set"]] : axis.ticks;
        for (const [at, text] of ticks) {
          const shown = cut(pen, text, 60), wide = pen.measureText(shown).width;
          pen.globalAlpha = 0.75; pen.fillStyle = card; pen.fillRect(x(index) + 4, y(at) - 7, wide + 4, 14);
          pen.globalAlpha = 1; pen.fillStyle = ink; pen.fillText(shown, x(index) + 6, y(at));
        }
      });
      const some = Object.keys(brushes).length > 0, first = [...chosen].slice(0, 12).map((place) => trials[place]);
      note.textContent = some
        ? `${chosen.size} of ${trials.length} trials: ${first.join(", ")}${chosen.size > 12 ? " ..." : ""}`
        : coarse ? "" : "Drag along an axis to choose trials, click it to choose all again.";
    };
    const cut = (pen, text, most) => {
      while (text.length > 1 && pen.measureText(text).width > most) text = text.replace(/.…?$/u, "…");
      return text;
    };
    canvas.onpointerdown = (event) => {
      if (event.pointerType === "touch") return; // which scrolls
      const axis = axes.findIndex((_, index) => Math.abs(x(index) - event.offsetX) < 14), from = event.offsetY;
      if (axis < 0) return;
      delete brushes[axis];
      canvas.setPointerCapture(event.pointerId);
      canvas.onpointermove = (move) => {
        brushes[axis] = [Math.min(from, move.offsetY), Math.max(from, move.offsetY)];
        paint();
      };
      canvas.onpointerup = () => { canvas.onpointermove = null; paint(); };
    };
    paint();
  };

  const draw = async (plot) => {
    await (plot.classList.contains("parallel") ? drawParallel(plot) : drawFigure(plot));
    plot.dataset.drawn = "yes";
  };
  const near = new IntersectionObserver((entries) => {
    for (const { isIntersecting, target } of entries) {
      if (!isIntersecting) continue;
      near.unobserve(target);
      draw(target);
    }
  }, { rootMargin: "200px" });
  plots.forEach((plot) => near.observe(plot));
  const again = () => plots.filter((plot) => plot.dataset.drawn).map(draw);
  matchMedia("(prefers-color-scheme: dark)").addEventListener("change", again);
  addEventListener("resize", () => plots.filter((plot) => plot.matches(".parallel[data-drawn]")).map(draw));
  window.drawAll = () => Promise.all(plots.filter((plot) => !plot.dataset.drawn).map(draw));
  addEventListener("beforeprint", () => window.drawAll());

  // -- the table of trials --------------------------------------------------------------------------------------------
  const table = document.getElementById("trials-table");
  if (!table) return;
  const rows = [...table.tBodies[0].rows], heads = [...table.tHead.rows[0].cells];
  const state = heads.findIndex((head) => head.textContent === "state");
  const words = document.getElementById("find"), shown = document.getElementById("shown");
  const boxes = [...document.querySelectorAll("#states input[type=checkbox]")];
  const texts = rows.map((row) => [...row.cells].map((cell) => cell.textContent).join(" ").toLowerCase());
  const filter = () => {
    const states = new Set(boxes.filter((box) => box.checked).map((box) => box.value));
    const asked = words.value.toLowerCase().split(/\s+/).filter(Boolean);
    let count = 0;
    rows.forEach((row, index) => {
      row.hidden = !states.has(row.cells[state].textContent) || !asked.every((word) => texts[index].includes(word));
      count += !row.hidden;
    });
    shown.textContent = `${count} of ${rows.length}`;
  };
  words.addEventListener("input", filter);
  boxes.forEach((box) => box.addEventListener("change", filter));
  filter();

  const key = (row, column) => {
    const text = row.cells[column].textContent, value = Number(text);
    return text === "" || text === "-" ? null : Number.isNaN(value) ? text : value;
  };
  const order = (one, other) => {
    if (one === null || other === null) return (one === null) - (other === null); // empty cells stand last
    return typeof one === typeof other ? (one > other) - (one < other) : typeof one === "string" ? 1 : -1;
  };
  heads.forEach((head, column) => {
    const button = document.createElement("button");
    button.textContent = head.textContent;
    head.replaceChildren(button);
    button.addEventListener("click", () => {
      const down = head.getAttribute("aria-sort") === "ascending";
      heads.forEach((each) => each.removeAttribute("aria-sort"));
      head.setAttribute("aria-sort", down ? "descending" : "ascending");
      const keyed = [...table.tBodies[0].rows].map((row) => [key(row, column), row]);
      keyed.sort(([one], [other]) => {
        const found = order(one, other);
        return down && one !== null && other !== null ? -found : found;
      });
      table.tBodies[0].append(...keyed.map(([, row]) => row));
    });
  });
})();
