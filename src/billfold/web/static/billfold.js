"use strict";
(() => {
  const root = document.documentElement;
  const dark = matchMedia("(prefers-color-scheme: dark)");
  const isDark = () => (root.dataset.theme ? root.dataset.theme === "dark" : dark.matches);
  // The stylesheet defines a colour for both themes; only an element with the colour resolves it.
  const probe = document.body.appendChild(document.createElement("span"));
  probe.hidden = true;
  const colour = (name) => { probe.style.color = `var(${name})`; return getComputedStyle(probe).color; };

  // Theme: the system's, until the reader chooses one.
  for (const button of document.querySelectorAll("[data-theme-toggle]")) {
    button.addEventListener("click", () => {
      root.dataset.theme = isDark() ? "light" : "dark";
      try { localStorage.setItem("billfold-theme", root.dataset.theme); } catch { /* Then the choice lasts for this page. */ }
      drawAll();
    });
  }
  dark.addEventListener("change", () => drawAll());

  // Times: the page shows UTC, hover shows the reader's own time zone.
  const local = new Intl.DateTimeFormat(undefined, { dateStyle: "medium", timeStyle: "long" });
  for (const time of document.querySelectorAll("time[datetime]")) {
    const moment = new Date(time.dateTime);
    if (!Number.isNaN(moment.getTime())) time.title = local.format(moment);
  }

  // Empty fields stay out of the URL.
  for (const form of document.querySelectorAll("form[method=get]")) {
    form.addEventListener("submit", () => {
      for (const field of form.elements) if (field.name && field.value === "") field.disabled = true;
      // Going back shows the form as it was: its fields must be enabled then.
      setTimeout(() => { for (const field of form.elements) field.disabled = false; }, 0);
    });
    if ("submitOnChange" in form.dataset) {
      // Each arrow key changes a closed select, so keyboard users submit with the button.
      let isKeyboard = false;
      form.addEventListener("keydown", (event) => { isKeyboard = event.key !== "Tab"; });
      form.addEventListener("pointerdown", () => { isKeyboard = false; });
      form.addEventListener("change", () => {
        if (isKeyboard) form.querySelector("[type=submit]").classList.remove("without-script");
        else form.requestSubmit();
      });
    }
  }
  for (const form of document.querySelectorAll("form[data-confirm]")) {
    form.addEventListener("submit", (event) => { if (!confirm(form.dataset.confirm)) event.preventDefault(); });
  }

  // Hover shows what screen readers say for a day of the calendar.
  for (const day of document.querySelectorAll("a.day")) day.title = day.getAttribute("aria-label");

  // A calendar wider than the screen starts at its newest day, which is the last column.
  for (const table of document.querySelectorAll("table.calendar")) table.parentElement.scrollLeft = table.offsetWidth;

  // Charts.
  const colours = () => Array.from({ length: 10 }, (_, place) => colour(`--series-${place}`));

  // Width of a legend entry and height of a legend row, in pixels.
  const ENTRY = 285;
  const ROW = 20;
  // A narrower waterfall has no room for amounts beside its bars: the table and a tap show them.
  const ROOM_FOR_AMOUNTS = 480;
  // Width of a chart on paper; it fits A4 and Letter.
  const PAPER = 660;

  function themed(chart, height, width) {
    const entries = chart.data.filter((trace) => trace.name && trace.showlegend !== false).length;
    const rows = entries > 1 ? Math.ceil(entries / Math.max(1, Math.floor((width - 20) / ENTRY))) : 0;
    const axis = {
      gridcolor: colour("--line"), zerolinecolor: colour("--line-strong"), linecolor: colour("--line"),
      tickfont: { color: colour("--ink-soft") }, automargin: true,
      // In bills a thousand million is B, not G.
      exponentformat: "B", separatethousands: true,
    };
    const layout = chart.layout || {};
    return {
      ...layout,
      height: height - 60 + ROW * rows, width, autosize: false,
      paper_bgcolor: "rgba(0,0,0,0)", plot_bgcolor: "rgba(0,0,0,0)",
      font: { family: getComputedStyle(document.body).fontFamily, size: 13, color: colour("--ink") },
      colorway: colours(),
      margin: { l: 8, r: 8, t: 8, b: 48 + ROW * rows, ...layout.margin },
      showlegend: entries > 1,
      hoverlabel: { bgcolor: colour("--panel"), bordercolor: colour("--line-strong"), font: { color: colour("--ink") }, namelength: -1 },
      legend: { orientation: "h", x: 0, yref: "container", y: 0, yanchor: "bottom", entrywidth: ENTRY - 45, entrywidthmode: "pixels", font: { color: colour("--ink-soft") }, ...layout.legend },
      xaxis: { ...axis, gridcolor: "rgba(0,0,0,0)", ...layout.xaxis },
      yaxis: { ...axis, nticks: 6, ...layout.yaxis },
    };
  }

  function traces(chart, width) {
    return chart.data.map((trace) => {
      if (trace.type !== "waterfall") return trace;
      return {
        connector: { line: { color: colour("--line-strong"), width: 1 } },
        increasing: { marker: { color: colour("--more") } }, decreasing: { marker: { color: colour("--less") } },
        totals: { marker: { color: colour("--series-8") } }, ...trace,
        ...(width < ROOM_FOR_AMOUNTS && { textposition: "none" }),
      };
    });
  }

  async function draw(figure, width) {
    const area = figure.querySelector(".chart-area");
    const chart = JSON.parse(document.getElementById(figure.dataset.chart).textContent);
    const still = matchMedia("(max-width: 40rem)").matches;
    try {
      const config = { displayModeBar: false, displaylogo: false, staticPlot: false, scrollZoom: false };
      area.querySelector(".state")?.remove();
      figure.dataset.width = width;
      const layout = themed(chart, Number(figure.dataset.height), width);
      // Scrolling the page with a finger must not zoom a chart.
      if (still) layout.dragmode = false;
      await Plotly.react(area, traces(chart, width), layout, config);
      if (!area.dataset.bound) {
        area.dataset.bound = "yes";
        area.on("plotly_click", (event) => {
          const { data, pointNumber } = event.points[0] ?? {};
          const address = data?.meta?.href ?? data?.meta?.hrefs?.[pointNumber];
          if (address) location.assign(address);
        });
      }
      figure.dataset.drawn = "yes";
    } catch (error) {
      area.textContent = "This chart cannot be drawn; the table has the numbers.";
      area.classList.add("state", "error");
      throw error;
    }
  }

  const figures = typeof Plotly === "undefined" ? [] : document.querySelectorAll("[data-chart]");

  function drawAll(width) {
    for (const figure of figures) draw(figure, width ?? figure.querySelector(".chart-area").clientWidth);
  }
  drawAll();

  let isPrinting = false;
  let chosenTheme;

  // Another width gives the legend more or fewer rows; Plotly alone would keep the old height.
  const resized = new ResizeObserver((entries) => {
    for (const { target } of entries) {
      const figure = target.parentElement;
      if (!isPrinting && target.clientWidth && target.clientWidth !== Number(figure.dataset.width)) draw(figure, target.clientWidth);
    }
  });
  for (const figure of figures) resized.observe(figure.querySelector(".chart-area"));

  // Paper is white, and narrower than most windows.
  addEventListener("beforeprint", () => {
    isPrinting = true;
    chosenTheme = root.dataset.theme;
    root.dataset.theme = "light";
    drawAll(PAPER);
  });
  addEventListener("afterprint", () => {
    isPrinting = false;
    if (chosenTheme) root.dataset.theme = chosenTheme; else delete root.dataset.theme;
    drawAll();
  });
})();
