/** Sorts tables by the column whose head is pressed; the only script of a report. */
export const SCRIPT = `
for (const head of document.querySelectorAll("main thead th")) {
  const button = document.createElement("button");
  button.type = "button";
  button.textContent = head.textContent;
  head.replaceChildren(button);
  button.onclick = () => {
    const body = head.closest("table").tBodies[0];
    const isUp = head.getAttribute("aria-sort") === "ascending";
    for (const other of head.parentNode.cells) other.removeAttribute("aria-sort");
    head.setAttribute("aria-sort", isUp ? "descending" : "ascending");
    const text = (row) => row.cells[head.cellIndex].textContent;
    const order = (a, b) => {
      const [x, y] = [text(a), text(b)];
      const [m, n] = [Number(x), Number(y)];
      if (isNaN(m) !== isNaN(n)) return isNaN(m) ? -1 : 1;
      return isNaN(m) ? x.localeCompare(y) : m - n;
    };
    const rows = [...body.rows].sort(order);
    body.append(...(isUp ? rows.reverse() : rows));
  };
}
`;
