// The shapes and colours of groups, told apart twice: colours that people who do not tell red from green tell apart, and a
// shape of its own. Shapes are drawn around 0, 0 within about 1.6.

export const SHAPES = [
  "M1.25 0A1.25 1.25 0 1 1-1.25 0A1.25 1.25 0 1 1 1.25 0Z",
  "M-1.1-1.1H1.1V1.1H-1.1Z",
  "M0-1.5 1.4 1.1-1.4 1.1Z",
  "M0-1.6 1.2 0 0 1.6-1.2 0Z",
  "M-.45-1.4H.45V-.45H1.4V.45H.45V1.4H-.45V.45H-1.4V-.45H-.45Z",
  "M0 1.5 1.4-1.1-1.4-1.1Z",
  "M0-1.6.5-.5 1.6-.5.7.3 1 1.4 0 .8-1 1.4-.7.3-1.6-.5-.5-.5Z",
  "M-1.5-.5H1.5V.5H-1.5Z",
  "M-.5-1.5H.5V1.5H-.5Z",
  "M-1.3 0-.65-1.15.65-1.15 1.3 0 .65 1.15-.65 1.15Z",
  "M-1.2-.7-.7-1.2 0-.5.7-1.2 1.2-.7.5 0 1.2.7.7 1.2 0 .5-.7 1.2-1.2.7-.5 0Z",
  "M-1.3 1V0A1.3 1.3 0 0 1 1.3 0V1Z",
];
const LIGHT = ["#0072b2", "#d55e00", "#009e73", "#b8558c", "#8c6d00", "#3f8ac0", "#7a3db8", "#444444", "#c0392b", "#1f8a8a", "#8a6247", "#5b7f00"];
const DARK = ["#4ea8e0", "#f08a3c", "#2fc79a", "#e39ac4", "#d4b13f", "#8cc8f0", "#b48be8", "#c8c8c8", "#ef7f70", "#5fcaca", "#c9a68c", "#9cc23f"];
const NONE = "M.8 0A.8 .8 0 1 1-.8 0A.8 .8 0 1 1 .8 0Z";

export const dark = window.matchMedia("(prefers-color-scheme: dark)");

/** How a group is drawn; -1: an example of none. No two of the first 144 are alike. */
export function mark(group: number): { shape: string; colour: string } {
  if (group < 0) return { shape: NONE, colour: dark.matches ? "#8a8d92" : "#777777" };
  const turn = Math.floor(group / SHAPES.length);
  const colours = dark.matches ? DARK : LIGHT;
  return { shape: SHAPES[(group + 5 * turn) % SHAPES.length]!, colour: colours[group % colours.length]! };
}
