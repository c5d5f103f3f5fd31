// What maps, atlases, factors and links look like in a page. src/mulligan/reports/page/sources/ writes them.

import type { ExampleRef, Portrait, Quantity, Reference, Sighting } from "./format";

/** A figure beside the same figure of its controls, by name; each with the row that it came from. */
export interface Beside {
  name: string;
  shown: Quantity;
  table: Reference;
  controls: [string, Quantity, Reference][];
}

/** Points of site k are the series "map:ID:k" (x and y by turns, 0 to FINEST, in blocks), groups "map:ID:groups", examples "map:ID:examples". */
export interface MapEntry {
  id: string;
  title: string;
  run: number;
  network: number;
  n: number;
  laid_out: number;
  groups: string[];
  sites: { site: string; meaning: string; units: number; figures: Beside[] }[];
}

export const FINEST = 65535;

export interface AtlasTile {
  row: number;
  column: number;
  rows: number;
  columns: number;
  picture: number | null;
}

/** `cells` names the series of its `AtlasCell`s; `named`: cells are purer in labels than by chance; `why`: what is missing. */
export interface AtlasLevel {
  side: number;
  pixels: number;
  tiles: AtlasTile[];
  cells: string;
  kept: number;
  drawn: number;
  thin: number;
  thin_activations: number;
  figures: Beside[];
  named: boolean;
  why: string;
}

export interface AtlasCell {
  row: number;
  column: number;
  n: number;
  labels: [string, number][];
  effects: [string, Quantity][];
  drawn: boolean;
  reached: number | null;
}

export interface AtlasPane {
  network: number;
  site: string;
  activations: number;
  levels: AtlasLevel[];
}

export interface AtlasEntry {
  id: string;
  title: string;
  run: number;
  network: number;
  target: string | null;
  meaning: string;
  panes: AtlasPane[];
  against: { map: string; pairs: string; outside: number; figures: Beside[] } | null;
  figures: Beside[];
}

/** Cards are the series "factors:ID:cards", pictures "factors:ID:pictures". */
export interface FactorsEntry {
  id: string;
  title: string;
  run: number;
  network: number;
  site: string;
  kind: string;
  output: string;
  of_one: boolean;
  explained: Quantity;
  twin: Quantity | null;
  shuffled: Quantity | null;
  table: Reference;
  elbow: { counts: number[]; explained: number[]; suggested: number | null } | null;
  factors: { number: number; colour: string; hatch: string }[];
}

export interface FactorEffect {
  output: string;
  attribution: Quantity;
  taken_out: Quantity;
  control: Quantity;
  confirmed: boolean | null;
}

export interface FactorCard {
  number: number;
  colour: string;
  hatch: string;
  feature: string;
  share: Quantity;
  twin: Quantity | null;
  shuffled: Quantity | null;
  size: Quantity | null;
  largest: number | null;
  units: [number, number][];
  portrait: Portrait | null;
  strongest: Sighting[];
  effect: FactorEffect | null;
  here: FactorEffect | null;
  classes: { name: string; change: Quantity; control: Quantity; table: Reference }[];
  notes: string[];
  table: Reference;
}

export interface FactoredPicture {
  example: ExampleRef;
  overlay: number | null;
  shares: number[];
  alone: (number | null)[];
}

/** Unit, output, attribution, ablation, control, confirmed, and the row that they came from: the series "links". */
export type LinkRow = [string, string, Quantity, Quantity | null, Quantity | null, boolean | null, Reference | null];
