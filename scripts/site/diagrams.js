// Draws the Mermaid diagrams of a page, with the copy of Mermaid beside this file. Without that copy
// (`make docs` installs it) the page shows the text of the diagram.
const blocks = [...document.querySelectorAll("pre.diagram")].map((pre) => [pre, pre.textContent]);
const here = document.currentScript.src;

async function draw() {
  const dark = document.body.dataset.mdColorScheme === "slate";
  const theme = dark ? "dark" : "neutral";
  // A flow chart keeps the size of its letters; a wide one is scrolled.
  mermaid.initialize({ startOnLoad: false, theme, flowchart: { useMaxWidth: false } });
  for (const [number, [pre, text]] of blocks.entries()) {
    const { svg } = await mermaid.render(`diagram-${number}`, text);
    pre.innerHTML = svg;
  }
}

if (blocks.length) {
  const script = document.createElement("script");
  script.src = new URL("mermaid.js", here);
  script.onload = () => {
    draw();
    const attributes = { attributeFilter: ["data-md-color-scheme"] };
    new MutationObserver(draw).observe(document.body, attributes);
  };
  document.head.append(script);
}
