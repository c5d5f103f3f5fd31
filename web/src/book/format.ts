// What a page's data looks like (format "mulligan/page/1"). src/mulligan/reports/page/ writes it.

import type { AtlasEntry, Beside, FactorsEntry, MapEntry } from "./explored";

export interface Quantity {
  value: number;
  unit: string;
  low: number | null;
  high: number | null;
  level: number;
  n: number | null;
}

/** Where a number came from: a table's id and the key of its row. */
export type Reference = [string, string];

/** A list of things that is cut into chunks: chunk `chunks[k]` holds items `starts[k]` up to `starts[k + 1]`. */
export interface Series {
  n: number;
  starts: number[];
  chunks: number[];
}

export interface NetworkEntry {
  name: string;
  identity: string;
  parameters: number;
  classes: number | null;
}

export interface RunEntry {
  id: string;
  procedure: string;
  folder: string;
  network: number | null;
  created: string;
  command: string;
  problems: string[];
  /** Of an audit: what is laid beside another's. */
  audit: {
    verdict: "pass" | "fail" | "inconclusive";
    word: string;
    headline: string;
    data: { source: string; identity: string; n: number };
    figures: Beside[];
  } | null;
}

export interface FindingEntry {
  id: string;
  kind: string;
  severity: "high" | "medium" | "low";
  claim: string;
  run: number;
  lead: boolean;
}

export interface Column {
  key: string;
  title: string;
  unit: string;
  kind: "text" | "number" | "quantity" | "feature" | "class" | "picture";
}

/**
 * Its rows are the series "table:ID", each a list of cells in the order of the columns; what addresses each of them is
 * the series "keys:ID".
 */
export interface TableEntry {
  id: string;
  title: string;
  file: string;
  columns: Column[];
  n: number;
}

export interface Index {
  format: "mulligan/page/1";
  mulligan: string;
  title: string;
  created: string;
  networks: NetworkEntry[];
  runs: RunEntry[];
  sites: { name: string[]; meaning: string[]; units: (number | null)[]; network: number[] };
  /** Feature i is item i of the series "features". */
  features: {
    key: string[];
    site: number[];
    unit: (number | null)[];
    label: (string | null)[];
    picture: (number | null)[];
    /** For which class it is selective, by the number of its name. */
    selective: { names: string[]; of: (number | null)[] };
    scores: Record<string, (number | null)[]>;
  };
  /** Class i is item i of the series "classes". */
  classes: {
    key: string[];
    name: string[];
    network: number[];
    n: (number | null)[];
    recall: (number | null)[];
    picture: (number | null)[];
  };
  findings: FindingEntry[];
  tables: TableEntry[];
  maps: MapEntry[];
  atlases: AtlasEntry[];
  factors: FactorsEntry[];
  links: { n: number };
  glossary: Record<string, string>;
  /** Colours of heat maps, from the lowest value to the highest. */
  heat: string[];
  series: Record<string, Series>;
  /** Pictures that did not fit into the page. */
  left_out: number;
  review?: { base: string; writable?: boolean } | null;
}

export interface Picture {
  w: number;
  h: number;
  src: string;
}

export interface ExampleRef {
  id: string;
  label: string | null;
  answer: string | null;
  activation: number | null;
  image: number | null;
  tokens: string[] | null;
  weights: number[] | null;
}

export interface Sighting {
  example: ExampleRef;
  peak: number[];
  box: [number, number, number, number] | null;
  crop: number | null;
  heat: number | null;
  table: Reference | null;
}

export interface Portrait {
  objective: string;
  image: number | null;
  alpha: number | null;
  reached: number;
  steps: number;
  best: number | null;
  best_example: string | null;
  examples: number;
  twin: number | null;
  twin_best: number | null;
  natural: Quantity | null;
  marks: string[];
  table: Reference | null;
}

export interface Drive {
  site: string;
  unit: number;
  output: string;
  attribution: Quantity;
  ablation: Quantity | null;
  control: Quantity | null;
  confirmed: boolean | null;
  table: Reference | null;
}

export interface Label {
  text: string;
  overseer: string;
  auc: Quantity | null;
  twin: Quantity | null;
  agreement: Quantity | null;
  author: string | null;
  date: string | null;
  random: Quantity | null;
  explained: Quantity | null;
  strong: Quantity | null;
  ordinary: Quantity | null;
  p: number | null;
  beats: boolean | null;
  judged: number | null;
  note: string | null;
  table: Reference | null;
}

/** A number beside its control, and the row of a table that it came from. */
export interface Figure {
  name: string;
  quantity: Quantity | null;
  control: Quantity | null;
  /** What the control is, where that needs to be said. */
  against: string;
  table: Reference | null;
}

/** Classes that stand together as one source. */
export interface Group {
  name: string;
  classes: string[];
}

export interface Causal {
  edit: string;
  before: Quantity;
  after: Quantity;
  control: Quantity | null;
  clean_before: Quantity | null;
  clean_after: Quantity | null;
}

/** Item i of the series "findings" is finding i of the index. */
export interface Finding {
  id: string;
  kind: string;
  severity: "high" | "medium" | "low";
  confidence: number | null;
  claim: string;
  sources: (string | Group)[];
  absent: (string | Group)[];
  target: string | null;
  trigger: {
    family: string; description: string; generator: string | null; image: number | null; mask: number | null;
    box: [number, number, number, number] | null;
  } | null;
  where: { site: string | null; units: number[] | null; rows: number[] | null } | null;
  effect: Quantity | null;
  placebo: Quantity | null;
  baseline: Quantity | null;
  p: number | null;
  p_adjusted: number | null;
  /** Over how many claims p was corrected; null: a run of before that was counted. */
  corrected_for: number | null;
  causal: Causal | null;
  action: string;
  reproduce: string;
  run: number;
  network: number;
  lead: boolean;
  table: Reference;
}

export interface FeatureCard {
  key: string;
  site: string;
  unit: number | null;
  meaning: string;
  network: number;
  figures: Figure[];
  range: { mean: number; low: number; high: number; table: Reference | null } | null;
  selective: string | null;
  labels: Label[];
  portraits: Portrait[];
  sightings: { top: Sighting[]; levels: Sighting[]; bottom: Sighting[] };
  heat: [number, number] | null;
  /** Classes among its `strongest` examples: name, how many, how many by chance. */
  classes: [string, number, Quantity | null, Reference][];
  strongest: number;
  drives: Drive[];
  /** How many edges of what drives what it stands at. */
  links: number;
  notes: string[];
  sources: { run: number; file: string }[];
}

export interface ClassCard {
  key: string;
  name: string;
  network: number;
  n: number | null;
  figures: Figure[];
  confused: [string, number][];
  drives: Drive[];
  links: number;
  portraits: Portrait[];
  sightings: Sighting[];
  examples: ExampleRef[];
  notes: string[];
  sources: { run: number; file: string }[];
}
