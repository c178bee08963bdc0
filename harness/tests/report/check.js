// What is wrong with the page as it is shown now.
(() => {
  const problems = [];
  const root = document.documentElement;
  if (root.scrollWidth > root.clientWidth) {
    problems.push(`the page is ${root.scrollWidth - root.clientWidth} px wider than the window`);
  }
  // Relative luminance and contrast of WCAG 2.
  const luminance = (color) => {
    const [r, g, b] = color.match(/[\d.]+/g).map(Number).map((value) => {
      const part = value / 255;
      return part <= 0.03928 ? part / 12.92 : ((part + 0.055) / 1.055) ** 2.4;
    });
    return 0.2126 * r + 0.7152 * g + 0.0722 * b;
  };
  const ground = getComputedStyle(document.body).backgroundColor;
  const contrast = (color) => {
    const [low, high] = [luminance(color), luminance(ground)].sort((one, other) => one - other);
    return (high + 0.05) / (low + 0.05);
  };
  // Boxes are of whole lines of the font: ink stays a little inside.
  const meet = (one, other) =>
    Math.min(one.right, other.right) - Math.max(one.left, other.left) > 0.5 &&
    Math.min(one.bottom, other.bottom) - Math.max(one.top, other.top) > 0.5;
  // The color that the page gives a series.
  const colorOf = (series) => {
    const probe = document.body.appendChild(document.createElement("i"));
    probe.style.color = `var(--${series})`;
    const { color } = getComputedStyle(probe);
    probe.remove();
    return color;
  };
  const figures = [...document.querySelectorAll("figure")];
  for (const figure of figures) {
    const box = figure.getBoundingClientRect();
    if (!(box.width > 0 && box.height > 0)) {
      problems.push(`${figure.id} is not visible`);
      continue;
    }
    const marks = [...figure.querySelectorAll("svg .mark")];
    if (marks.length !== Number(figure.dataset.marks)) {
      problems.push(`${figure.id} has ${marks.length} marks, not ${figure.dataset.marks}`);
    }
    for (const mark of marks) {
      const { width, height } = mark.getBoundingClientRect();
      if (!(width + height > 0)) problems.push(`${figure.id}: a mark is empty`);
      const series = [...mark.classList].find((name) => /^c\d$/.test(name));
      if (series && getComputedStyle(mark).color !== colorOf(series)) {
        problems.push(`${figure.id}: a mark of ${series} has the wrong color`);
      }
    }
    const frame = figure.querySelector("svg")?.getBoundingClientRect();
    const texts = [...figure.querySelectorAll("svg text")].map((text) => [text, text.getBoundingClientRect()]);
    texts.forEach(([text, box], at) => {
      const name = `${figure.id}: "${text.textContent}"`;
      if (box.left < frame.left || box.right > frame.right || box.top < frame.top || box.bottom > frame.bottom) {
        problems.push(`${name} leaves its figure`);
      }
      if (contrast(getComputedStyle(text).fill) < 4.5) problems.push(`${name} has too little contrast`);
      for (const [other, place] of texts.slice(at + 1)) {
        if (meet(box, place)) problems.push(`${name} and "${other.textContent}" overlap`);
      }
    });
  }
  return { problems, figures: figures.map((figure) => figure.id), dark: luminance(ground) < 0.5 };
})();
