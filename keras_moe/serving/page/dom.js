/** Short ways to make elements and to go through them. */

/** Makes an element; `children` are elements or strings. */
export function make(tag, properties = {}, ...children) {
  const element = Object.assign(document.createElement(tag), properties);
  element.append(...children);
  return element;
}

// Rows down and items to the right.
const STEPS = {
  ArrowLeft: [0, -1],
  ArrowRight: [0, 1],
  ArrowUp: [-1, 0],
  ArrowDown: [1, 0],
};

/**
 * Lets the pointer and the arrow keys choose one of the items in a container.
 *
 * The container is one stop for the tabulator key, however many items it has.
 *
 * Args:
 *   container: focusable element; its items have the class `item`.
 *   rows: function that returns the items as an array of rows of elements.
 *   show: function that gets the item that was chosen.
 */
export function browse(container, rows, show) {
  let chosen = null;

  function choose(item) {
    if (!item || item === chosen) return;
    chosen?.classList.remove("chosen");
    item.classList.add("chosen");
    chosen = item;
    show(item);
  }

  function neighbour(key) {
    const grid = rows().filter((row) => row.length);
    if (!grid.length) return null;
    const row = grid.findIndex((each) => each.includes(chosen));
    if (row < 0 || key === "Home") return grid[0][0];
    if (key === "End") return grid.at(-1).at(-1);
    const [down, right] = STEPS[key];
    const next = grid[Math.min(Math.max(row + down, 0), grid.length - 1)];
    const column = grid[row].indexOf(chosen) + right;
    return next[Math.min(Math.max(column, 0), next.length - 1)];
  }

  for (const type of ["pointerover", "click"]) {
    container.addEventListener(type, (event) => {
      choose(event.target.closest(".item"));
    });
  }
  container.addEventListener("keydown", (event) => {
    const known = event.key in STEPS || ["Home", "End"].includes(event.key);
    if (!known || event.ctrlKey || event.altKey || event.metaKey) return;
    const item = neighbour(event.key);
    // At the edge the key scrolls, as everywhere.
    if (!item || item === chosen) return;
    event.preventDefault();
    choose(item);
    item.scrollIntoView({ block: "nearest", inline: "nearest" });
  });
  container.addEventListener("focus", () => {
    if (!chosen?.isConnected) choose(neighbour("Home"));
  });
}
