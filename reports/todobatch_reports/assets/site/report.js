// Charts are drawn when the site is built. The first touch of one fetches what makes it live.
(() => {
  "use strict";
  const here = new URL(".", document.currentScript.src);
  const scripts = new Map();

  function load(name) {
    if (!scripts.has(name)) {
      scripts.set(
        name,
        new Promise((resolve, reject) => {
          const script = document.createElement("script");
          script.src = new URL(name, here).href;
          script.addEventListener("load", resolve);
          script.addEventListener("error", () => reject(new Error(`cannot load ${name}`)));
          document.head.append(script);
        }),
      );
    }
    return scripts.get(name);
  }

  async function wake(chart) {
    const size = ["wide", "narrow"].find(
      (name) => chart.querySelector(`:scope > .tb-${name}`)?.offsetParent,
    );
    const panel = size && chart.querySelector(`:scope > .tb-${size}`);
    if (!panel || panel.dataset.live) return;
    panel.dataset.live = "loading";
    try {
      const name = chart.dataset.chart;
      await Promise.all([load("vega.js"), load(`charts/${name}.js`)]);
      // Drawn outside the page, then put in the picture's place: nothing is seen to move.
      const stage = document.createElement("div");
      await todobatchVega.draw(stage, todobatchCharts[name][size], showTooltip);
      panel.replaceChildren(stage);
      panel.dataset.live = "yes";
    } catch (error) {
      // The picture stays, and the next touch tries again.
      scripts.clear();
      delete panel.dataset.live;
      console.warn(`todobatch: this chart stays a picture: ${error.message}`);
    }
  }

  let tooltip;

  function showTooltip(_handler, event, _item, value) {
    if (!tooltip) {
      tooltip = document.createElement("dl");
      tooltip.className = "tb-tooltip";
      document.body.append(tooltip);
    }
    if (value === null || typeof value !== "object") {
      tooltip.hidden = true;
      return;
    }
    tooltip.replaceChildren(
      ...Object.entries(value).flatMap(([name, shown]) => {
        const term = document.createElement("dt");
        const detail = document.createElement("dd");
        term.textContent = name;
        detail.textContent = String(shown);
        return [term, detail];
      }),
    );
    tooltip.hidden = false;
    const gap = 14;
    const { width, height } = tooltip.getBoundingClientRect();
    const right = event.clientX + gap + width < innerWidth;
    const below = event.clientY + gap + height < innerHeight;
    tooltip.style.left = `${Math.max(4, right ? event.clientX + gap : event.clientX - gap - width)}px`;
    tooltip.style.top = `${Math.max(4, below ? event.clientY + gap : event.clientY - gap - height)}px`;
  }

  // Listening on the document serves pages that are swapped in without a reload, too.
  for (const type of ["pointerover", "touchstart", "focusin"]) {
    document.addEventListener(
      type,
      (event) => {
        const chart = event.target.closest?.(".tb-chart");
        if (chart) wake(chart);
        else if (tooltip) tooltip.hidden = true;
      },
      { passive: true },
    );
  }

  // What the theme leaves out: a name for its search dialog, and a way to scroll its wide tables
  // without a mouse.
  document.querySelector("[data-md-component=search][role=dialog]")?.setAttribute("aria-label", "Search");
  addEventListener("load", () => {
    for (const box of document.querySelectorAll(".md-typeset__scrollwrap")) box.tabIndex = 0;
  });
})();
