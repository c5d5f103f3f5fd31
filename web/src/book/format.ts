// What a page's data looks like (format "mulligan/page/1"). src/mulligan/reports/page/ writes it.

export interface Quantity {
  value: number;
  unit: string;
  low: number | null;
  high: number | null;
  level: number;
  n: number | null;
}

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

/** Its rows are the series "table:ID", each a list of cells in the order of the columns. */
export interface TableEntry {
  id: string;
  title: string;
  file: string;
  columns: Column[];
  /** Of each row, what addresses it. */
  keys: string[];
}

export interface MapEntry {
  id: string;
  title: string;
  run: number;
  [field: string]: unknown;
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
  atlases: MapEntry[];
  factors: MapEntry[];
  glossary: Record<string, string>;
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
}

export interface Drive {
  site: string;
  unit: number;
  output: string;
  attribution: Quantity;
  ablation: Quantity | null;
  control: Quantity | null;
  confirmed: boolean | null;
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
}

/** A number beside its control, and the row of a table that it came from. */
export interface Figure {
  name: string;
  quantity: Quantity | null;
  control: Quantity | null;
  table: [string, string] | null;
}

export interface FeatureCard {
  key: string;
  site: string;
  unit: number | null;
  meaning: string;
  network: number;
  figures: Figure[];
  range: { mean: number; low: number; high: number } | null;
  labels: Label[];
  portraits: Portrait[];
  sightings: { top: Sighting[]; levels: Sighting[]; bottom: Sighting[] };
  heat: [number, number] | null;
  classes: [string, number, Quantity | null][];
  strongest: number;
  drives: Drive[];
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
  portraits: Portrait[];
  sightings: Sighting[];
  examples: ExampleRef[];
  notes: string[];
  sources: { run: number; file: string }[];
}
