// Draws the figures of a page: when they come into view, in the colours of the reader's theme, and no more than the browser can hold.
(() => {
  const root = document.documentElement;
  const plotly = new URL("plotly.min.js", document.currentScript.src);

  function palette() {
    const style = getComputedStyle(root);
    const read = (name, otherwise) => style.getPropertyValue(name).trim() || otherwise;
    return {
      text: read("--pst-color-text-base", "#777"),
      muted: read("--pst-color-text-muted", "#777"),
      surface: read("--pst-color-surface", "#eee"),
      grid: root.dataset.theme === "dark" ? "#3d4450" : "#dcdfe4", // opaque: 3D scenes ignore transparency in lines
      clear: "rgba(0,0,0,0)",
    };
  }

  function themeAxis(axis, colours, inScene) {
    Object.assign(axis, { gridcolor: colours.grid, zerolinecolor: colours.grid, linecolor: colours.grid });
    if (inScene) axis.backgroundcolor = colours.clear;
  }

  // Give a layout the colours of the theme. Colours that mean something (traces, shapes) are the figure's own business.
  function themeLayout(layout) {
    const colours = palette();
    Object.assign(layout, { paper_bgcolor: colours.clear, plot_bgcolor: colours.clear });
    layout.font = Object.assign({}, layout.font, { color: colours.text });
    layout.modebar = { bgcolor: colours.clear, color: colours.muted, activecolor: colours.text };
    layout.legend = Object.assign({}, layout.legend, { bgcolor: colours.clear });
    for (const name of Object.keys(layout)) {
      if (/^[xy]axis\d*$/.test(name)) themeAxis(layout[name], colours, false);
      if (/^scene\d*$/.test(name)) {
        layout[name].bgcolor = colours.clear;
        for (const axis of ["xaxis", "yaxis", "zaxis"]) themeAxis((layout[name][axis] ||= {}), colours, true);
      }
    }
    for (const menu of layout.updatemenus || []) Object.assign(menu, { bgcolor: colours.surface, bordercolor: colours.grid });
    for (const slider of layout.sliders || []) Object.assign(slider, { bgcolor: colours.surface, bordercolor: colours.grid });
    return layout;
  }

  // The axes that traces use without the layout naming them must be there to be coloured.
  function nameAxes(figure) {
    for (const trace of figure.data) {
      if (/3d$|surface|cone|isosurface|volume/.test(trace.type || "")) figure.layout[trace.scene || "scene"] ||= {};
      else if (trace.type !== "pie" && trace.type !== "table") {
        for (const side of ["x", "y"]) figure.layout[(trace[side + "axis"] || side).replace(side, side + "axis")] ||= {};
      }
    }
    return figure;
  }

  function read(element) {
    const figure = JSON.parse(element.querySelector("script").textContent);
    figure.layout = Object.assign({}, figure.layout, { autosize: true });
    delete figure.layout.width;
    return nameAxes(figure);
  }

  function draw(element) {
    if (element.figure?.drawn) return;
    const figure = (element.figure ||= read(element));
    if (!element.canvas) {
      element.canvas = document.createElement("div");
      element.canvas.className = "probpose-canvas";
      element.append(element.canvas);
    }
    figure.drawn = true;
    // the wheel scrolls the page: a scene is turned by dragging and enlarged with the buttons of its bar
    const options = { responsive: true, displaylogo: false, scrollZoom: false };
    Plotly.newPlot(element.canvas, figure.data, themeLayout(figure.layout), options);
    makeRoom(element);
  }

  // A browser holds about sixteen scenes; when more are drawn, those farthest from the reader give way.
  const MOST_CONTEXTS = 12;
  function makeRoom(newest) {
    const contexts = (element) => Object.keys(element.canvas?.layout || {}).filter((name) => /^scene\d*$/.test(name)).length;
    const distance = (element) => Math.abs(element.getBoundingClientRect().top - innerHeight / 2);
    const held = [...document.querySelectorAll(".probpose-figure")].filter((element) => element.figure?.drawn && contexts(element));
    held.sort((a, b) => distance(b) - distance(a));
    let count = held.reduce((sum, element) => sum + contexts(element), 0);
    for (const element of held) {
      if (count <= MOST_CONTEXTS) return;
      if (element === newest) continue;
      count -= contexts(element);
      release(element);
    }
  }

  // A scene that is far away gives its place to others; the viewpoint that the reader chose is kept.
  function release(element) {
    if (!element.figure?.drawn) return;
    element.figure.layout = element.canvas.layout || element.figure.layout;
    element.figure.drawn = false;
    Plotly.purge(element.canvas);
  }

  // plotly is large, so only pages with figures load it.
  function start() {
    const elements = [...document.querySelectorAll(".probpose-figure")];
    if (!elements.length) return;
    const script = document.createElement("script");
    script.src = plotly;
    script.onload = () => show(elements);
    document.head.append(script);
  }

  function show(elements) {
    const watch = (margin, act) => {
      const observer = new IntersectionObserver((entries) => entries.forEach(act), { rootMargin: margin });
      elements.forEach((element) => observer.observe(element));
    };
    // what flies past is not drawn: a figure has to stay near for a moment
    watch("400px 0px", (entry) => {
      const element = entry.target;
      clearTimeout(element.waiting);
      if (entry.isIntersecting) element.waiting = setTimeout(() => draw(element), 120);
    });
    watch("2500px 0px", (entry) => entry.isIntersecting || release(entry.target));
    document.addEventListener("click", (event) => {
      const touched = event.target.closest?.(".probpose-figure");
      for (const element of elements) element.classList.toggle("touched", element === touched);
    });
    new MutationObserver(() => {
      for (const element of elements) {
        if (!element.figure?.drawn) continue;
        element.figure.layout = themeLayout(element.canvas.layout);
        Plotly.react(element.canvas, element.canvas.data, element.figure.layout);
      }
    }).observe(root, { attributes: true, attributeFilter: ["data-theme"] });
  }

  if (document.readyState === "loading") document.addEventListener("DOMContentLoaded", start);
  else start();
})();
