// Which edges are drawn around a unit or a class, and where: units by site from left to right, outputs at the right.

import { Graph, layout } from "@dagrejs/dagre";
import type { LinkRow } from "../../book/explored";

export const MOST = 40;
const FEW = 12;
const WIDE = { node: 124, apart: 46 };
const NARROW = { node: 70, apart: 16 };
const HEIGHT = 40;
const APART = 8; // pixels between edges at a node
const HEAD = 28; // pixels above all, for the names of the columns

export interface Place {
  key: string;
  x: number;
  y: number;
  height: number;
}

export interface Edge {
  row: LinkRow;
  points: { x: number; y: number }[];
}

export interface Drawn {
  width: number;
  height: number;
  /** How wide a node is. */
  node: number;
  nodes: Place[];
  edges: Edge[];
  /** Where each column of units stands, by the rank of its site. */
  columns: { rank: number; x: number }[];
}

/** How much an edge weighs: what was measured, else what was estimated. */
export function strength(row: LinkRow): number {
  return Math.abs((row[3] ?? row[2]).value);
}

/** Which way a unit moves an output. Taking out what raises it lowers it. */
export function raises(row: LinkRow): boolean {
  return row[3] ? row[3].value < 0 : row[2].value > 0;
}

/** The edges of one node, the strongest first, then as many of its neighbours' as there is room for; and what is left. */
export function around(rows: LinkRow[], at: string): { rows: LinkRow[]; left: number } {
  const heavy = [...rows].sort((a, b) => strength(b) - strength(a));
  const own = heavy.filter(([from, to]) => from === at || to === at);
  const beside = new Set(own.slice(0, MOST).flatMap(([from, to]) => [from, to]));
  beside.delete(at);
  const others = heavy.filter(([from, to]) => from !== at && to !== at && (beside.has(from) || beside.has(to)));
  const all = [...own, ...others];
  // No more of its neighbours' edges than of its own, so that the eye finds these.
  const shown = Math.min(MOST, all.length, Math.max(FEW, 2 * own.length));
  return { rows: all.slice(0, shown), left: all.length - shown };
}

/** `rankOf`: in which column a unit stands; `last` is the outputs'. `narrow`: for a phone. */
export function drawn(rows: LinkRow[], rankOf: (unit: string) => number, last: number, narrow = false): Drawn {
  const { node: width, apart } = narrow ? NARROW : WIDE;
  const graph = new Graph();
  graph.setGraph({ rankdir: "LR", nodesep: 10, ranksep: apart, edgesep: 8, marginx: 4, marginy: HEAD });
  graph.setDefaultEdgeLabel(() => ({}));
  // A unit and an output may share a name: what they are begins the name of their node.
  const unit = (key: string): string => `u ${key}`;
  const output = (key: string): string => `o ${key}`;
  const columns = [...new Set([...rows.map(([from]) => rankOf(from)), last])].sort((a, b) => a - b);
  const degree = new Map<string, number>();
  for (const name of rows.flatMap(([from, to]) => [unit(from), output(to)])) degree.set(name, (degree.get(name) ?? 0) + 1);
  for (const [name, n] of degree) graph.setNode(name, { width, height: Math.max(HEIGHT, APART * (n + 1)) });
  for (const [from, to] of rows) {
    // As long as there are columns between them, so that each site keeps to one.
    graph.setEdge(unit(from), output(to), { minlen: columns.length - 1 - columns.indexOf(rankOf(from)) });
  }
  layout(graph);
  const size = graph.graph() as { width?: number; height?: number };
  const nodes = graph.nodes().map((key): Place => {
    const { x, y, height } = graph.node(key) as Place;
    return { key, x, y, height };
  });
  const edges = rows.map((row) => ({ row, points: (graph.edge(unit(row[0]), output(row[1])) as Edge).points }));
  const at = new Map(nodes.map((place) => [place.key, place]));
  for (const { key, x, y } of nodes) {
    // Edges leave a unit at its right and enter an output at its left, next to each other, in the order of where they go.
    const leaves = key.startsWith("u ");
    const mine = edges.filter(({ row }) => (leaves ? unit(row[0]) : output(row[1])) === key);
    const towards = (edge: Edge): number => edge.points[leaves ? 1 : edge.points.length - 2]!.y;
    mine.sort((a, b) => towards(a) - towards(b));
    mine.forEach(({ points }, k) => {
      points[leaves ? 0 : points.length - 1] = { x: leaves ? x + width / 2 : x - width / 2, y: y + (k - (mine.length - 1) / 2) * APART };
    });
  }
  const columnOf = new Map(rows.map(([from]) => [rankOf(from), at.get(unit(from))!.x]));
  return {
    width: Math.ceil(size.width ?? 0), height: Math.ceil(size.height ?? 0), node: width, nodes, edges,
    columns: [...columnOf].map(([rank, x]) => ({ rank, x })),
  };
}
