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
    Plotly.newPlot(element.canvas, figure.data, themeLayout(figure.layout), { responsive: true, displaylogo: false });
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
    watch("400px 0px", (entry) => entry.isIntersecting && draw(entry.target));
    watch("2500px 0px", (entry) => entry.isIntersecting || release(entry.target));
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
