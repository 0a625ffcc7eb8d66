/** Colours of experts. */

// Okabe and Ito, "Color Universal Design", 2008: told apart with any colour
// vision. The second colour is the text on it.
const OKABE_ITO = [
  ["#e69f00", "#000"],
  ["#56b4e9", "#000"],
  ["#009e73", "#000"],
  ["#f0e442", "#000"],
  ["#0072b2", "#fff"],
  ["#d55e00", "#000"],
  ["#cc79a7", "#000"],
  ["light-dark(#000, #fff)", "light-dark(#fff, #000)"],
];

/** Whether colours alone tell so many experts apart. */
export function fewExperts(count) {
  return count <= OKABE_ITO.length;
}

/** Returns [background, text] of one of `count` experts. */
export function coloursOf(expert, count) {
  if (fewExperts(count)) return OKABE_ITO[expert];
  // Neighbours on the wheel of hues also differ in lightness.
  const lightness = expert % 2 ? 0.88 : 0.72;
  return [`oklch(${lightness} 0.13 ${(360 * expert) / count})`, "#000"];
}

/** Gives an element the colours and the number of an expert, or takes them. */
export function paint(element, expert, count) {
  if (expert === undefined || expert < 0) {
    delete element.dataset.expert;
    element.style.removeProperty("--expert");
    element.style.removeProperty("--on-expert");
    return;
  }
  const [background, text] = coloursOf(expert, count);
  element.dataset.expert = expert;
  element.style.setProperty("--expert", background);
  element.style.setProperty("--on-expert", text);
}
