// The curve of precision over the threshold, in a picture and in words.

const NS = "http://www.w3.org/2000/svg";
const WIDTH = 300, HEIGHT = 170, LEFT = 36, BOTTOM = 24, TOP = 8, RIGHT = 8;

function element(name, attributes, text) {
  const made = document.createElementNS(NS, name);
  for (const [key, value] of Object.entries(attributes)) made.setAttribute(key, value);
  if (text !== undefined) made.textContent = text;
  return made;
}

const x = (threshold) => LEFT + threshold * (WIDTH - LEFT - RIGHT);
const y = (precision) => TOP + (1 - precision) * (HEIGHT - TOP - BOTTOM);
const points = (xs, ys) => xs.map((at, i) => `${x(at).toFixed(1)},${y(ys[i]).toFixed(1)}`);
const percent = (share) => `${Math.round(100 * share)} %`;

export function drawCurve(into, found, wanted) {
  const svg = element("svg", { viewBox: `0 0 ${WIDTH} ${HEIGHT}`, role: "img", "aria-labelledby": "curve-words" });
  svg.append(element("path", { class: "axis", d: `M${LEFT},${TOP}V${y(0)}H${WIDTH - RIGHT}` }));
  for (const at of [0, 0.5, 1]) {
    svg.append(element("text", { x: LEFT - 5, y: y(at) + 3, "text-anchor": "end" }, percent(at)));
    svg.append(element("text", { x: x(at), y: HEIGHT - 8, "text-anchor": at === 1 ? "end" : "middle" }, String(at)));
  }
  svg.append(element("text", { x: x(0.75), y: HEIGHT - 8, "text-anchor": "middle" }, "threshold"));
  const { thresholds, precision, low, high, threshold } = found;
  if (thresholds.length) {
    const band = [...points(thresholds, high), ...points(thresholds, low).reverse()];
    svg.append(element("polygon", { class: "band", points: band.join(" ") }));
    svg.append(element("polyline", { class: "line", points: points(thresholds, precision).join(" ") }));
    svg.append(element("line", { class: "wanted", x1: LEFT, x2: WIDTH - RIGHT, y1: y(wanted), y2: y(wanted) }));
    if (threshold !== null) {
      svg.append(element("line", { class: "threshold", x1: x(threshold), x2: x(threshold), y1: TOP, y2: y(0) }));
    }
  }
  into.replaceChildren(svg);
}

export function inWords(found, wanted) {
  const { thresholds, threshold, n_answers, how, at } = found;
  if (!thresholds.length) return "No answer yet that a precision could be counted on.";
  if (threshold === null) {
    return `${n_answers} ${n_answers === 1 ? "answer" : "answers"}. No threshold reaches ${percent(wanted)} yet.`;
  }
  const whose = how.startsWith("pooled") ? " (of all species together, until there are more answers)" : "";
  const says = `From ${threshold.toFixed(3)}${whose} on, ${percent(at.precision)} are right ` +
    `(${percent(at.low)} to ${percent(at.high)}), which keeps ${percent(at.recall)} of the right clips: ` +
    `${at.n_above.toLocaleString("en")} ${at.n_above === 1 ? "clip" : "clips"}.`;
  return `${n_answers} ${n_answers === 1 ? "answer" : "answers"}. ${says}`;
}
